//! How many replicas of the control plane there are, and how few there may be.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Objects;
use crate::install::names::CONTROL_PLANE;
use crate::install::values::InstallValues;

const COMPONENT: &str = "control-plane";

pub(super) fn add(values: &InstallValues, objects: &mut Objects) {
    let name = values.revised(CONTROL_PLANE);
    if values.control_plane.pod_disruption_budget.enabled {
        objects.add(&PodDisruptionBudget {
            metadata: values.metadata(&name, COMPONENT, true),
            spec: Some(PodDisruptionBudgetSpec {
                // Not `minAvailable`: with one replica that would keep its node from ever being drained.
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(values.label_selector(COMPONENT)),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        });
    }
    if values.control_plane.autoscaling.enabled {
        objects.add(&autoscaler(values, &name));
    }
}

fn autoscaler(values: &InstallValues, name: &str) -> HorizontalPodAutoscaler {
    let chosen = &values.control_plane.autoscaling;
    HorizontalPodAutoscaler {
        metadata: values.metadata(name, COMPONENT, true),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: name.to_owned(),
            },
            min_replicas: Some(chosen.min_replicas),
            max_replicas: chosen.max_replicas,
            metrics: Some(vec![MetricSpec {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".to_owned(),
                    target: MetricTarget {
                        type_: "Utilization".to_owned(),
                        average_utilization: Some(chosen.target_cpu_utilization),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            ..HorizontalPodAutoscalerSpec::default()
        }),
        ..HorizontalPodAutoscaler::default()
    }
}
