//! The story of a request that comes to the workload.
