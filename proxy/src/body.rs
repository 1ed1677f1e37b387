//! One body type for every protocol.
