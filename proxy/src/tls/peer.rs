//! Who is at the other end, once it is proven; and who may be.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use weft_model::identity::WorkloadIdentity;

/// The identity that the peer has proven in a handshake.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerIdentity(WorkloadIdentity);

impl PeerIdentity {
    /// For the code that has made the checks, and for tests.
    pub(crate) fn vouched(identity: WorkloadIdentity) -> Self {
        Self(identity)
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &WorkloadIdentity {
        &self.0
    }
}

impl Deref for PeerIdentity {
    type Target = WorkloadIdentity;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identities a destination may have. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ExpectedIdentities(Arc<[WorkloadIdentity]>);

impl ExpectedIdentities {
    /// Every identity of our trust domain.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// These only; every identity of our trust domain when there are none.
    #[must_use]
    pub fn of(identities: impl IntoIterator<Item = WorkloadIdentity>) -> Self {
        let mut identities: Vec<_> = identities.into_iter().collect();
        identities.sort_unstable();
        identities.dedup();
        Self(identities.into())
    }

    /// Whether the destination may be this.
    #[must_use]
    pub fn accepts(&self, identity: &WorkloadIdentity) -> bool {
        self.0.is_empty() || self.0.binary_search(identity).is_ok()
    }
}

/// At most three of them, then how many more: a message stays readable.
impl fmt::Display for ExpectedIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        if self.0.is_empty() {
            return f.write_str("any identity of the trust domain");
        }
        for (index, identity) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{identity}", if index == 0 { "" } else { " or " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " or {more} more"),
        }
    }
}
