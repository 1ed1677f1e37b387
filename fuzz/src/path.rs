//! The proxy's normal form of paths.

#[path = "../../proxy/src/filters/path.rs"]
mod path;

pub use path::normalised;
