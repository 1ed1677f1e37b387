//! The workload's key and certificate: request, renew, never export.
