//! Send the request: pools, connections, attempts.
