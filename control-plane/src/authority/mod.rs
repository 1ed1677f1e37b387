//! Attest, sign, renew; keep the root.
