//! Services, workloads and policies, indexed and immutable.
