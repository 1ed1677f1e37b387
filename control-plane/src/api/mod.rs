//! What the command line asks.
