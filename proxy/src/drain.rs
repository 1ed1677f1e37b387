//! Stop taking new work, finish what is under way.
