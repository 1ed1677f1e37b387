//! Command line and environment, checked once; every mistake reported.
