//! The control plane's Deployment and Service.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    HTTPGetAction, ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, SeccompProfile, SecurityContext, Service, ServicePort, ServiceSpec,
    TopologySpreadConstraint, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Objects;
use crate::install::names::{CONTROL_PLANE, port};
use crate::install::values::InstallValues;

const COMPONENT: &str = "control-plane";
/// The user that distroless images call `nonroot`.
const USER: i64 = 65532;
/// What the process may write: nothing that has to last is there.
const STATE: &str = "/var/lib/weft";

pub(super) fn add(values: &InstallValues, objects: &mut Objects) {
    objects.add(&service(values));
    objects.add(&deployment(values));
}

fn service(values: &InstallValues) -> Service {
    let port = |name: &str, number: i32, target: i32| ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(target)),
        ..ServicePort::default()
    };
    Service {
        metadata: values.metadata(&values.revised(CONTROL_PLANE), COMPONENT, true),
        spec: Some(ServiceSpec {
            selector: Some(values.selector(COMPONENT)),
            ports: Some(vec![
                port("grpc-xds", port::XDS, port::XDS),
                port("https-webhook", 443, port::WEBHOOK),
                port("http-monitoring", port::MONITORING, port::MONITORING),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn deployment(values: &InstallValues) -> Deployment {
    let chosen = &values.control_plane;
    Deployment {
        metadata: values.metadata(&values.revised(CONTROL_PLANE), COMPONENT, true),
        spec: Some(DeploymentSpec {
            // Left to the autoscaler, which an apply would else fight.
            replicas: (!chosen.autoscaling.enabled).then_some(chosen.replicas),
            selector: values.label_selector(COMPONENT),
            // A replica goes only when another is ready in its place.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec { metadata: Some(pod_metadata(values)), spec: Some(pod(values)) },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn pod_metadata(values: &InstallValues) -> ObjectMeta {
    let mut labels = values.control_plane.pod_labels.clone();
    labels.extend(values.labels(COMPONENT));
    // Its own pods never get a sidecar, whatever the namespace says.
    labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    let mut annotations = values.control_plane.pod_annotations.clone();
    let scraped = [
        ("scrape", "true".to_owned()),
        ("port", port::MONITORING.to_string()),
        ("path", "/metrics".to_owned()),
    ];
    annotations.extend(scraped.map(|(key, value)| (format!("prometheus.io/{key}"), value)));
    ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() }
}

fn pod(values: &InstallValues) -> PodSpec {
    let chosen = &values.control_plane;
    PodSpec {
        service_account_name: Some(values.revised(CONTROL_PLANE)),
        priority_class_name: (!chosen.priority_class_name.is_empty())
            .then(|| chosen.priority_class_name.clone()),
        node_selector: some(&chosen.node_selector),
        tolerations: (!chosen.tolerations.is_empty()).then(|| chosen.tolerations.clone()),
        affinity: Some(apart(values)),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "topology.kubernetes.io/zone".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(values.label_selector(COMPONENT)),
            ..TopologySpreadConstraint::default()
        }]),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        // Streams are drained on SIGTERM.
        termination_grace_period_seconds: Some(30),
        containers: vec![container(values)],
        volumes: Some(vec![Volume {
            name: "state".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

/// Replicas prefer different nodes.
fn apart(values: &InstallValues) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: PodAffinityTerm {
                    topology_key: "kubernetes.io/hostname".to_owned(),
                    label_selector: Some(values.label_selector(COMPONENT)),
                    ..PodAffinityTerm::default()
                },
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn container(values: &InstallValues) -> Container {
    let port = |name: &str, number: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: "control-plane".to_owned(),
        image: Some(values.image("weft-control-plane")),
        image_pull_policy: Some(values.image.pull_policy.clone()),
        args: Some(arguments(values)),
        env: Some(vec![
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_IP", "status.podIP"),
            field("NODE_NAME", "spec.nodeName"),
        ]),
        ports: Some(vec![
            port("grpc-xds", port::XDS),
            port("https-webhook", port::WEBHOOK),
            port("http-monitoring", port::MONITORING),
        ]),
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(60),
            ..probe("/ready")
        }),
        readiness_probe: Some(Probe { period_seconds: Some(3), ..probe("/ready") }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(6),
            ..probe("/live")
        }),
        resources: Some(values.control_plane.resources.clone()),
        security_context: Some(confined()),
        volume_mounts: Some(vec![VolumeMount {
            name: "state".to_owned(),
            mount_path: STATE.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn arguments(values: &InstallValues) -> Vec<String> {
    let mut arguments = vec![
        "run".to_owned(),
        "--kubernetes".to_owned(),
        format!("--state-dir={STATE}"),
        format!("--mesh={}", values.mesh.name),
        format!("--trust-domain={}", values.mesh.trust_domain),
        format!("--cluster-domain={}", values.mesh.cluster_domain),
        format!("--listen-tls=[::]:{}", port::XDS),
        format!("--listen-api=127.0.0.1:{}", port::API),
        format!("--monitoring=[::]:{}", port::MONITORING),
        format!("--webhook=[::]:{}", port::WEBHOOK),
        format!("--certificate-lifetime={}", values.control_plane.certificate_lifetime),
        format!("--log={}", values.control_plane.log),
    ];
    if !values.revision.is_empty() {
        arguments.push(format!("--revision={}", values.revision));
    }
    let selectors = values.mesh.discovery_selectors.iter();
    arguments.extend(selectors.map(|selector| format!("--discovery-selector={selector}")));
    arguments.extend(values.control_plane.extra_args.iter().cloned());
    arguments
}

fn probe(path: &str) -> Probe {
    let http = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::Int(port::MONITORING),
        ..HTTPGetAction::default()
    };
    Probe { http_get: Some(http), timeout_seconds: Some(5), ..Probe::default() }
}

/// An environment variable with a field of the pod.
pub(super) fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// No power at all beyond that of an ordinary user who cannot write.
fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

/// The container runtime's own filter of system calls.
pub(super) fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

fn some(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}
