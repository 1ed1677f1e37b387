//! The packet-filter rules that bring a workload's traffic to the proxy.
