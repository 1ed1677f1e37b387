//! Ready, health, configuration dump, stats, drain.
