//! Health, metrics, debug pages.
