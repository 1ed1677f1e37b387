//! What a workload's port accepts, by `PeerAuthentication`
//! (<https://istio.io/latest/docs/reference/config/security/peer_authentication/>).
//!
//! A change has two steps, so that no client calls in a way that its server refuses: in the first a server accepts what
//! the former policy or the new one lets clients do, and clients do what both accept. When every sidecar has
//! acknowledged that, `World::superseded` is empty, and the new policy alone counts.

use crate::source::kinds::peer_authentication::MtlsMode;
use crate::source::words::Labels;
use crate::world::{Policies, World};

/// What is accepted; at least one of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Accepts {
    /// From the mesh, over mutual TLS.
    pub mutual_tls: bool,
    /// From anybody.
    pub plain_text: bool,
}

/// What the policies say of a port; port 0 asks for all that none names.
///
/// `DISABLE` keeps clients from using mutual TLS ([`is_disabled`]). It is accepted all the same: a client that has not
/// heard of the policy yet loses no request, and TLS of an application's own is told apart by its ALPN.
pub(super) fn accepts(world: &World, namespace: &str, labels: &Labels, port: u16) -> Accepts {
    let mut modes = modes(world, namespace, labels, port);
    Accepts { mutual_tls: true, plain_text: modes.any(|mode| mode != MtlsMode::Strict) }
}

/// Whether clients are to call a port in plain text: when the policy says so, and no server can be left that refuses it.
pub(super) fn is_disabled(world: &World, namespace: &str, labels: &Labels, port: u16) -> bool {
    let mut modes = modes(world, namespace, labels, port);
    modes.next() == Some(MtlsMode::Disable) && modes.all(|mode| mode != MtlsMode::Strict)
}

/// The mode in force, then those that some sidecar may still obey.
fn modes<'a>(
    world: &'a World,
    namespace: &'a str,
    labels: &'a Labels,
    port: u16,
) -> impl Iterator<Item = MtlsMode> + 'a {
    let policies = std::iter::once(&world.policies)
        .chain(world.superseded.iter().map(|former| &former.policies))
        .map(AsRef::as_ref);
    policies.map(move |policies: &Policies| policies.mtls_mode(namespace, labels, port).mode)
}
