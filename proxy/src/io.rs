//! One byte stream type: plain or TLS.
