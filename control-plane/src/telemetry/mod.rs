//! Take sidecars' reports; answer queries.
