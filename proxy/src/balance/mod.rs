//! Choose the endpoint.
