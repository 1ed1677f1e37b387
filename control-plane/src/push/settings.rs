//! How long changes are gathered, and what one proxy may ask for.

use std::time::Duration;

use super::debounce::Debounce;

/// Everything about pushing that an operator may want to change.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// For changes of services, routes and policy.
    pub configuration: Debounce,
    /// For changes of endpoints: a new or a leaving instance is known within milliseconds.
    pub endpoints: Debounce,
    /// How long a response may stay unanswered before a newer one is sent after it anyway.
    pub patience: Duration,
    /// How long a new stream may take to say who it is.
    pub hello_timeout: Duration,
    /// Bytes of resources in one response, well below gRPC's default limit of 4 MiB a message. A single resource
    /// larger than that still goes out, alone.
    pub response_bytes: usize,
    /// What one proxy may ask for.
    pub limits: Limits,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            configuration: Debounce { quiet: Duration::from_millis(50), ceiling: Duration::from_secs(1) },
            endpoints: Debounce { quiet: Duration::from_millis(10), ceiling: Duration::from_millis(100) },
            patience: Duration::from_secs(30),
            hello_timeout: Duration::from_secs(15),
            response_bytes: 2 << 20,
            limits: Limits::default(),
        }
    }
}

/// Beyond these a stream is closed with RESOURCE_EXHAUSTED.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one request.
    pub request_bytes: usize,
    /// Names subscribed to per type, and versions presented at a reconnect.
    pub names: usize,
    /// Bytes of one resource name.
    pub name_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes: 4 << 20, names: 50_000, name_bytes: 2048 }
    }
}
