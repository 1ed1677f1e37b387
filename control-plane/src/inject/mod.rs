//! Injection: a pod becomes one with a sidecar, by functions without I/O. The admission webhook and `weft inject`
//! both call [`Injector::inject`], so that a pod is the same by either way.
//!
//! The way of a pod: [`decide`] whether it is to have a sidecar; [`restore`](status::restore) what it was before an
//! earlier injection, so that doing it twice is doing it once; read its [`annotations`]; [`probes`] are asked through
//! the sidecar; the [`template`] adds the sidecar; custom templates and the user's own `weft-proxy` container are
//! [merged](merge) over it; the result is [checked](check).
//!
//! Pods are JSON here and not typed: what this version does not know of a pod must come out as it went in.

mod annotations;
mod check;
mod configuration;
mod decide;
mod diff;
mod injector;
mod merge;
mod pod;
mod probes;
mod proxy_config;
mod quantity;
mod status;
mod template;
mod values;

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden_tests;
#[cfg(test)]
#[path = "property_tests.rs"]
mod property_tests;

pub use configuration::InjectionConfiguration;
pub use decide::{Scope, SkipReason};
pub use injector::{Injected, Injector, Outcome, Request, placed};
pub use merge::key_of;
pub use status::{STATUS_ANNOTATION, restore};
pub use values::{Image, InjectionValues, InterceptionValues, ProxyValues, PullPolicy, Quantity, Resources};

/// Name of the sidecar's container.
pub const PROXY_CONTAINER: &str = "weft-proxy";
/// Name of the container that sets the interception rules.
pub const INIT_CONTAINER: &str = "weft-init";
/// Name of the container that finds out whether the CNI plugin has set them.
pub const VALIDATION_CONTAINER: &str = "weft-validation";
/// User and group of the sidecar; interception lets its packets pass.
pub const PROXY_UID: i64 = 1337;
