//! The story of a request that the workload sends.
