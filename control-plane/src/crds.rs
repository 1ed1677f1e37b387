//! The kinds of policies as Kubernetes' CustomResourceDefinitions, made of the registry, so that a kind that is read can be
//! stored. Their schemas leave `spec` open: the webhook checks it with the parser that the compiler uses, which
//! says more than a schema can.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::source::{KINDS, Kind};

#[cfg(test)]
#[path = "crds_tests.rs"]
mod tests;

/// Kubernetes takes a definition below its own domain only with this annotation
/// (<https://github.com/kubernetes/enhancements/pull/1111>).
const APPROVED: &str = "api-approved.kubernetes.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// What the registry does not need to know of a kind.
struct Facts {
    kind: &'static str,
    about: &'static str,
    /// Heading and JSON path of what `kubectl get` shows beside the name.
    columns: &'static [(&'static str, &'static str)],
}

const FACTS: &[Facts] = &[
    Facts {
        kind: "HTTPRoute",
        about: "Routes HTTP requests of a service by host, path, header and method (Gateway API, GAMMA).",
        columns: &[("Hostnames", ".spec.hostnames")],
    },
    Facts {
        kind: "VirtualService",
        about: "Routes requests for hosts: matches, weights, retries, timeouts, faults, mirrors.",
        columns: &[("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts")],
    },
    Facts {
        kind: "DestinationRule",
        about: "How a host's workloads are called: subsets, load balancing, connection pools, outlier detection, TLS.",
        columns: &[("Host", ".spec.host")],
    },
    Facts {
        kind: "ServiceEntry",
        about: "Adds a service to the mesh that Kubernetes does not know.",
        columns: &[
            ("Hosts", ".spec.hosts"),
            ("Location", ".spec.location"),
            ("Resolution", ".spec.resolution"),
        ],
    },
    Facts {
        kind: "WorkloadEntry",
        about: "Adds a workload to the mesh that is no pod.",
        columns: &[("Address", ".spec.address")],
    },
    Facts {
        kind: "PeerAuthentication",
        about: "Whether workloads take mutual TLS only, also plain text, or no mutual TLS.",
        columns: &[("Mode", ".spec.mtls.mode")],
    },
];

/// Whether a kind is one that Kubernetes has itself.
#[must_use]
pub fn is_built_in(kind: &Kind) -> bool {
    !kind.group.contains('.') || (kind.group.ends_with(".k8s.io") && kind.group != GATEWAY_API)
}

/// The kinds that are policies, in the registry's order.
pub fn policies() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| !is_built_in(kind))
}

/// The definitions of all kinds that are policies.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    policies().map(definition).collect()
}

/// One kind's definition.
#[must_use]
pub fn definition(kind: &Kind) -> CustomResourceDefinition {
    let annotations = (kind.group == GATEWAY_API).then(|| {
        let value =
            "unapproved, an open schema that Weft brings where the Gateway API's own is not installed";
        [(APPROVED.to_owned(), value.to_owned())].into()
    });
    let labels = [("app.kubernetes.io/name", "weft"), ("app.kubernetes.io/part-of", "weft")];
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", kind.plural, kind.group)),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations,
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: kind.group.to_owned(),
            names: names(kind),
            scope: "Namespaced".to_owned(),
            versions: kind
                .versions
                .iter()
                .enumerate()
                .map(|(place, name)| version(kind, name, place == 0))
                .collect(),
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn names(kind: &Kind) -> CustomResourceDefinitionNames {
    let short: Vec<String> = kind.short.iter().map(|&name| name.to_owned()).collect();
    // As their authors' definitions have it, so that `kubectl get istio-io` and `gateway-api` list them.
    let category = if kind.group == GATEWAY_API { "gateway-api" } else { "istio-io" };
    CustomResourceDefinitionNames {
        kind: kind.name.to_owned(),
        list_kind: Some(format!("{}List", kind.name)),
        plural: kind.plural.to_owned(),
        singular: Some(kind.name.to_ascii_lowercase()),
        short_names: (!short.is_empty()).then_some(short),
        categories: Some(vec![category.to_owned(), "weft".to_owned()]),
    }
}

fn version(kind: &Kind, name: &str, stored: bool) -> CustomResourceDefinitionVersion {
    let facts = FACTS.iter().find(|facts| facts.kind == kind.name);
    let column = |name: &str, path: &str, r#type: &str| CustomResourceColumnDefinition {
        name: name.to_owned(),
        json_path: path.to_owned(),
        type_: r#type.to_owned(),
        ..CustomResourceColumnDefinition::default()
    };
    let mut columns: Vec<_> = facts
        .iter()
        .flat_map(|facts| facts.columns)
        .map(|(name, path)| column(name, path, "string"))
        .collect();
    columns.push(column("Age", ".metadata.creationTimestamp", "date"));
    CustomResourceDefinitionVersion {
        name: name.to_owned(),
        served: true,
        storage: stored,
        additional_printer_columns: Some(columns),
        schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema(facts)) }),
        subresources: Some(CustomResourceSubresources {
            status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
            scale: None,
        }),
        ..CustomResourceDefinitionVersion::default()
    }
}

fn schema(facts: Option<&Facts>) -> JSONSchemaProps {
    let open = |about: &str| JSONSchemaProps {
        type_: Some("object".to_owned()),
        description: Some(about.to_owned()),
        x_kubernetes_preserve_unknown_fields: Some(true),
        ..JSONSchemaProps::default()
    };
    JSONSchemaProps {
        type_: Some("object".to_owned()),
        description: facts.map(|facts| facts.about.to_owned()),
        properties: Some(
            [
                ("spec".to_owned(), open("What is asked for; the webhook `weft-validator` checks it.")),
                ("status".to_owned(), open("What became of it, as the control plane says.")),
            ]
            .into(),
        ),
        ..JSONSchemaProps::default()
    }
}
