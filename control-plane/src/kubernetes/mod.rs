//! What a control plane does in a Kubernetes cluster beside reading objects ([`crate::source::kubernetes`]): it finds the API
//! server, keeps the mesh's root of trust in a Secret, and as the one replica that leads publishes the root certificates and
//! writes what became of policies into their status.

mod authority;
mod client;
mod config_map;
mod error;
mod lease;
mod roots;
mod status;
mod token_review;
mod waits;

pub use authority::{AuthoritySecret, SecretError};
pub use client::{ClientError, connect};
pub use config_map::follow_key;
pub use error::explain;
pub use lease::{LeaseSettings, stand, while_leading};
pub use roots::{ROOT_CONFIG_MAP, ROOT_KEY, publish_roots};
pub use status::{CONTROLLER_NAME, write_statuses};
pub use token_review::{AUDIENCE, TokenReviews};
pub use waits::Waits;

/// Under which name the control plane writes to objects, for server-side apply.
pub const FIELD_MANAGER: &str = "weft-control-plane";
