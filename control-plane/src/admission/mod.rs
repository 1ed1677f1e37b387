//! Refuse early, with the parser that the compiler uses; report every mistake at once.
