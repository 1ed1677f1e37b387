//! `spec` of a `DestinationRule`.

use super::policy::{port_policies, settings, traffic_policy};
use super::{DestinationRule, Subset, TrafficPolicy};
use crate::source::checks;
use crate::source::fields::Field;
use crate::source::kinds::istio;
use crate::source::registry::Scope;

pub(crate) fn parse(field: &Field<'_>, scope: Scope<'_>) -> Option<DestinationRule> {
    field.message(|f| {
        let host = f.required("host").and_then(|field| field.parse(checks::host));
        let traffic_policy = policy(f.optional("trafficPolicy"));
        let subsets = f.each("subsets", subset);
        if let Some(field) = f.optional("subsets") {
            for (index, one) in subsets.iter().enumerate() {
                if subsets[..index].iter().any(|other| other.name == one.name) {
                    field.invalid(
                        format!("two subsets have the name `{}`", one.name),
                        "names of subsets are unique in a rule",
                    );
                }
            }
        }
        let export_to = istio::export_to(f, scope.namespace);
        let workload_selector =
            f.optional("workloadSelector").and_then(|field| istio::selector(&field, "matchLabels"));
        Some(DestinationRule {
            host: host?,
            traffic_policy: traffic_policy?,
            subsets,
            export_to,
            workload_selector,
        })
    })
}

fn policy(field: Option<Field<'_>>) -> Option<TrafficPolicy> {
    field.map_or_else(
        || Some(TrafficPolicy::default()),
        |field| field.message(|f| traffic_policy(f, settings(f)?, port_policies(f))),
    )
}

fn subset(item: &Field<'_>) -> Option<Subset> {
    item.message(|f| {
        // Part of the name of a cluster, so as strict as Istio's own check.
        let name = f.required("name").and_then(|field| field.parse(checks::dns_label));
        let labels = f.optional("labels").map(|field| checks::labels(&field)).unwrap_or_default();
        let traffic_policy = policy(f.optional("trafficPolicy"));
        Some(Subset { field: f.path(), name: name?.into(), labels, traffic_policy: traffic_policy? })
    })
}
