//! Terminate and originate mutual TLS; verify SPIFFE identities.
