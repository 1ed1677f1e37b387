//! Istio's `PeerAuthentication`
//! (<https://istio.io/latest/docs/reference/config/security/peer_authentication/>).

use super::istio;
use crate::source::fields::Field;
use crate::source::registry::Scope;
use crate::source::words::{FieldPath, Labels, Port};

/// Whether workloads take plain text. The namespace `istio-system` (the root namespace) without a selector: the
/// whole mesh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAuthentication {
    /// The workloads it is for; absent: all of the namespace.
    pub selector: Option<Labels>,
    /// `mtls.mode`; [`MtlsMode::Unset`] inherits from the parent (namespace, then mesh), at last PERMISSIVE.
    pub mode: MtlsMode,
    /// By port of the workload (not of the service); only with a selector.
    pub port_level: Vec<PortMtls>,
}

/// The mode of one port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortMtls {
    /// Where it stands, such as `spec.portLevelMtls.8080`.
    pub field: FieldPath,
    /// Of the workload.
    pub port: Port,
    /// The mode.
    pub mode: MtlsMode,
}

/// What is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MtlsMode {
    /// Inherited.
    #[default]
    Unset,
    /// Plain text only.
    Disable,
    /// Both.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

pub(crate) fn parse(field: &Field<'_>, _: Scope<'_>) -> Option<PeerAuthentication> {
    field.message(|f| {
        let selector = f.optional("selector").map(|field| istio::selector(&field, "matchLabels"));
        let mode = f.optional("mtls").map_or(Some(MtlsMode::Unset), |field| mode(&field));
        let port_level = f.optional("portLevelMtls").map(|field| {
            if selector.as_ref().is_none_or(|labels| labels.as_ref().is_none_or(Labels::is_empty)) {
                field.invalid(
                    "`portLevelMtls` needs a `selector`",
                    "ports are those of the selected workloads",
                );
            }
            field.entries().into_iter().filter_map(port).collect()
        });
        Some(PeerAuthentication {
            // A selector without labels selects all, as none does.
            selector: selector
                .map_or(Some(None), |labels| labels.map(Some))?
                .filter(|labels| !labels.is_empty()),
            mode: mode?,
            port_level: port_level.unwrap_or_default(),
        })
    })
}

fn mode(field: &Field<'_>) -> Option<MtlsMode> {
    field.message(|f| match f.optional("mode") {
        None => Some(MtlsMode::Unset),
        Some(mode) => mode.choice(&[
            ("UNSET", MtlsMode::Unset),
            ("DISABLE", MtlsMode::Disable),
            ("PERMISSIVE", MtlsMode::Permissive),
            ("STRICT", MtlsMode::Strict),
        ]),
    })
}

fn port((key, field): (&str, Field<'_>)) -> Option<PortMtls> {
    let port = key.parse::<u16>().ok().and_then(Port::new);
    if port.is_none() {
        field.invalid(format!("`{key}` is no port"), "a number from 1 to 65535");
    }
    let mode = mode(&field);
    Some(PortMtls { field: field.path(), port: port?, mode: mode? })
}
