//! Why the authority cannot start, or cannot do what its owner asked.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the authority itself; what a peer did wrong is a [`tonic::Status`].
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file or directory.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, such as `read`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key that is no secret any more.
    #[error(
        "{} is readable by others (mode {mode:o}): whoever can read the key can be any workload of the mesh; \
         `chmod 600` it if nobody has, else make a new root", path.display())]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The root certificate, its key or its chain; every mistake found.
    #[error("{place} cannot be the mesh's root of trust: {}", problems.join("; "))]
    Root {
        /// The certificate's file, or the Secret.
        place: String,
        /// One sentence each.
        problems: Vec<String>,
    },
    /// A name of the workload that a token was asked for.
    #[error(transparent)]
    Identity(#[from] weft_model::identity::IdentityError),
    /// The journal of join tokens holds what this version does not understand.
    #[error("line {line} of {} cannot be read: {reason}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// The cryptography refused.
    #[error("cannot {action}: {reason}")]
    Crypto {
        /// What was tried.
        action: &'static str,
        /// Why not.
        reason: String,
    },
}

impl AuthorityError {
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    pub(super) fn crypto<E: std::fmt::Display>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Crypto { action, reason: error.to_string() }
    }
}
