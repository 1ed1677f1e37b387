//! The kinds that Weft knows, by the names people use for them. A new kind is a file in `kinds/` and a line here.

use super::fields::{Field, did_you_mean};
use super::kinds::{
    destination_rule, endpoint_slice, http_route, peer_authentication, pod, service, service_entry,
    virtual_service, workload_entry,
};
use super::object::Spec;

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;

/// What a kind's parser needs to know of the object it stands in.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The object's namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
}

/// One kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As in YAML, such as `HTTPRoute`.
    pub name: &'static str,
    /// API group; empty for Kubernetes' core.
    pub group: &'static str,
    /// Served versions, the preferred one first.
    pub versions: &'static [&'static str],
    /// In lower case, such as `httproutes`.
    pub plural: &'static str,
    /// Such as `vs`.
    pub short: &'static [&'static str],
    /// Reads `spec`, or the whole object.
    pub(super) parse: fn(&Field<'_>, Scope<'_>) -> Option<Spec>,
    /// Whether `parse` reads the whole object rather than its `spec`.
    pub(super) reads_all: bool,
}

/// All kinds, in the order of `weft get`.
pub static KINDS: &[Kind] = &[
    kind("Service", "", &["v1"], "services", &["svc"], |f, s| service::parse(f, s).map(Spec::Service)),
    kind("HTTPRoute", "gateway.networking.k8s.io", &["v1", "v1beta1"], "httproutes", &[], |f, s| {
        http_route::parse(f, s).map(Spec::HttpRoute)
    }),
    kind("VirtualService", NETWORKING, ISTIO, "virtualservices", &["vs"], |f, s| {
        virtual_service::parse(f, s).map(Spec::VirtualService)
    }),
    kind("DestinationRule", NETWORKING, ISTIO, "destinationrules", &["dr"], |f, s| {
        destination_rule::parse(f, s).map(Spec::DestinationRule)
    }),
    kind("ServiceEntry", NETWORKING, ISTIO, "serviceentries", &["se"], |f, s| {
        service_entry::parse(f, s).map(Spec::ServiceEntry)
    }),
    kind("WorkloadEntry", NETWORKING, ISTIO, "workloadentries", &["we"], |f, s| {
        workload_entry::parse(f, s).map(Spec::WorkloadEntry)
    }),
    kind(
        "PeerAuthentication",
        "security.istio.io",
        &["v1", "v1beta1"],
        "peerauthentications",
        &["pa"],
        |f, s| peer_authentication::parse(f, s).map(Spec::PeerAuthentication),
    ),
];

const NETWORKING: &str = "networking.istio.io";
const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const fn kind(
    name: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
    short: &'static [&'static str],
    parse: fn(&Field<'_>, Scope<'_>) -> Option<Spec>,
) -> Kind {
    Kind { name, group, versions, plural, short, parse, reads_all: false }
}

/// Kinds that only a cluster has: read from its API server, which makes and checks them, and refused in files.
pub static CLUSTER_KINDS: &[Kind] = &[
    cluster_kind("Pod", "", "pods", |f, s| pod::parse(f, s).map(Spec::Pod)),
    cluster_kind("Namespace", "", "namespaces", |f, _| labels_only(f).then_some(Spec::Namespace)),
    cluster_kind("Node", "", "nodes", |f, _| labels_only(f).then_some(Spec::Node)),
    cluster_kind("EndpointSlice", "discovery.k8s.io", "endpointslices", |f, s| {
        endpoint_slice::parse(f, s).map(Spec::EndpointSlice)
    }),
];

const fn cluster_kind(
    name: &'static str,
    group: &'static str,
    plural: &'static str,
    parse: fn(&Field<'_>, Scope<'_>) -> Option<Spec>,
) -> Kind {
    Kind { name, group, versions: &["v1"], plural, short: &[], parse, reads_all: true }
}

/// Of some objects only the labels count.
fn labels_only(field: &Field<'_>) -> bool {
    field
        .message(|f| {
            f.ignored_rest();
            Some(())
        })
        .is_some()
}

/// Kinds of the same APIs that are refused by name rather than as unknown.
const UNSUPPORTED: &[&str] = &[
    "AuthorizationPolicy",
    "BackendTLSPolicy",
    "ConfigMap",
    "Deployment",
    "EndpointSlice",
    "Endpoints",
    "EnvoyFilter",
    "GRPCRoute",
    "Gateway",
    "GatewayClass",
    "Namespace",
    "Pod",
    "ProxyConfig",
    "ReferenceGrant",
    "RequestAuthentication",
    "Secret",
    "ServiceAccount",
    "Sidecar",
    "StatefulSet",
    "TCPRoute",
    "TLSRoute",
    "Telemetry",
    "UDPRoute",
    "WasmPlugin",
    "WorkloadGroup",
];

impl Kind {
    /// Group and preferred version, such as `networking.istio.io/v1`; `v1` for core kinds.
    #[must_use]
    pub fn api_version(&self) -> String {
        self.served().next().unwrap_or_default()
    }

    /// All `apiVersion`s that are read, the preferred one first.
    pub fn served(&self) -> impl Iterator<Item = String> + '_ {
        self.versions.iter().map(|version| {
            if self.group.is_empty() { (*version).to_owned() } else { format!("{}/{version}", self.group) }
        })
    }

    /// The kind of that exact name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The kind of that exact name among those that an API server is asked for.
    #[must_use]
    pub(super) fn watched(name: &str) -> Option<&'static Self> {
        Self::named(name).or_else(|| CLUSTER_KINDS.iter().find(|kind| kind.name == name))
    }

    /// The kind that a person means: name, plural or short name in any case, with the group behind it or not
    /// (`vs`, `VirtualService`, `virtualservices.networking.istio.io`).
    ///
    /// # Errors
    /// A sentence that says what there is instead.
    pub fn find(word: &str) -> Result<&'static Self, String> {
        let lower = word.to_ascii_lowercase();
        let (base, group) = lower.split_once('.').unwrap_or((&lower, ""));
        let matches = |kind: &&Self| {
            (kind.name.eq_ignore_ascii_case(base) || kind.plural == base || kind.short.contains(&base))
                && (group.is_empty() || group == kind.group)
        };
        KINDS.iter().find(matches).ok_or_else(|| {
            let hint = suggestion(word);
            format!("there is no kind `{word}`; {hint}")
        })
    }
}

/// Whether a kind exists that Weft refuses by name.
#[must_use]
pub fn is_unsupported(name: &str) -> bool {
    UNSUPPORTED.contains(&name)
}

/// What to do about a kind that is not there.
#[must_use]
pub fn suggestion(word: &str) -> String {
    let words = KINDS.iter().flat_map(|kind| [kind.name, kind.plural]);
    did_you_mean(word, words).unwrap_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        format!("the kinds are {}", names.join(", "))
    })
}
