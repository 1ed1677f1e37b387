//! What a workload's port accepts, by `PeerAuthentication`
//! (<https://istio.io/latest/docs/reference/config/security/peer_authentication/>).

use crate::source::kinds::peer_authentication::MtlsMode;
use crate::source::words::Labels;
use crate::world::World;

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
    match world.policies.mtls_mode(namespace, labels, port).mode {
        MtlsMode::Strict => Accepts { mutual_tls: true, plain_text: false },
        MtlsMode::Disable | MtlsMode::Permissive | MtlsMode::Unset => {
            Accepts { mutual_tls: true, plain_text: true }
        }
    }
}

/// Whether clients are to call a port in plain text.
pub(super) fn is_disabled(world: &World, namespace: &str, labels: &Labels, port: u16) -> bool {
    world.policies.mtls_mode(namespace, labels, port).mode == MtlsMode::Disable
}
