//! The agent on each node that sets up interception, so that pods need no capability for it (docs/cni.md).

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, ExecAction, HostPathVolumeSource, PodSpec,
    PodTemplateSpec, Probe, SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Objects, access, control_plane};
use crate::install::names::{CNI, strings};
use crate::install::rbac;
use crate::install::values::InstallValues;

const COMPONENT: &str = "cni";
/// The program within its image.
const PROGRAM: &str = "/usr/local/bin/weft-proxy";
/// Where the plugin, on the host, asks the agent: the same path in the pod.
const SOCKETS: &str = "/run/weft-cni";

/// One agent serves all revisions: it is the first control plane's.
pub(super) fn add(values: &InstallValues, objects: &mut Objects) {
    if !values.cni.enabled || !values.revision.is_empty() {
        return;
    }
    access::add_identity(values, CNI, COMPONENT, &rbac::agent_permissions(values), objects);
    objects.add(&DaemonSet {
        metadata: values.metadata(CNI, COMPONENT, true),
        spec: Some(DaemonSetSpec {
            selector: values.label_selector(COMPONENT),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(IntOrString::Int(1)),
                    max_surge: None,
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(values.labels(COMPONENT)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(values)),
            },
            ..DaemonSetSpec::default()
        }),
        ..DaemonSet::default()
    });
}

fn pod(values: &InstallValues) -> PodSpec {
    PodSpec {
        service_account_name: Some(CNI.to_owned()),
        priority_class_name: Some("system-node-critical".to_owned()),
        host_network: Some(true),
        node_selector: Some(strings([("kubernetes.io/os", "linux")])),
        // Wherever pods can be.
        tolerations: Some(vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }]),
        termination_grace_period_seconds: Some(10),
        containers: vec![container(values)],
        volumes: Some(vec![
            folder("bin", &values.cni.bin_dir, "Directory"),
            folder("conf", &values.cni.conf_dir, "Directory"),
            folder("sockets", SOCKETS, "DirectoryOrCreate"),
            Volume {
                name: "tmp".to_owned(),
                empty_dir: Some(EmptyDirVolumeSource { medium: Some("Memory".to_owned()), size_limit: None }),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

fn folder(name: &str, path: &str, kind: &str) -> Volume {
    let host_path = HostPathVolumeSource { path: path.to_owned(), type_: Some(kind.to_owned()) };
    Volume { name: name.to_owned(), host_path: Some(host_path), ..Volume::default() }
}

fn container(values: &InstallValues) -> Container {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    };
    Container {
        name: "agent".to_owned(),
        image: Some(values.image("weft-proxy")),
        image_pull_policy: Some(values.image.pull_policy.clone()),
        args: Some(["cni".to_owned(), "agent".to_owned(), format!("--repair={}", values.cni.repair)].into()),
        env: Some(vec![control_plane::field("NODE_NAME", "spec.nodeName")]),
        readiness_probe: Some(Probe {
            exec: Some(ExecAction { command: Some([PROGRAM, "cni", "status"].map(str::to_owned).into()) }),
            period_seconds: Some(5),
            timeout_seconds: Some(5),
            ..Probe::default()
        }),
        resources: Some(values.cni.resources.clone()),
        security_context: Some(SecurityContext {
            // Root, for the host's folders; the capabilities to enter a pod's network namespace and set rules there.
            run_as_user: Some(0),
            run_as_group: Some(0),
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(["NET_ADMIN", "NET_RAW", "SYS_ADMIN"].map(str::to_owned).into()),
            }),
            seccomp_profile: Some(control_plane::runtime_default()),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            mount("bin", "/host/opt/cni/bin"),
            mount("conf", "/host/etc/cni/net.d"),
            mount("sockets", SOCKETS),
            mount("tmp", "/tmp"),
        ]),
        ..Container::default()
    }
}
