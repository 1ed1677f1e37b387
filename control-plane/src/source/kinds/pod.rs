//! Kubernetes' `Pod`, as far as a mesh cares: where it is, who it is, and whether it takes requests
//! (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_model::endpoint::Health;

use crate::inject::PROXY_CONTAINER;
use crate::source::checks;
use crate::source::document::Node;
use crate::source::fields::{Field, Fields};
use crate::source::registry::Scope;

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;

/// What a pod is to the mesh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// The primary address first; empty before the node has given any.
    pub addresses: Vec<IpAddr>,
    /// Where it runs, once that is decided.
    pub node: Option<Arc<str>>,
    /// Its identity's; `default` when the pod names none.
    pub service_account: Arc<str>,
    /// It has the node's network: its address is the node's, and no sidecar can stand before it.
    pub host_network: bool,
    /// The name below a headless service's, and that service: what a `StatefulSet` gives its pods.
    pub host_name: Option<(Arc<str>, Arc<str>)>,
    /// Numbers of its TCP ports by their names.
    pub ports: BTreeMap<Arc<str>, u16>,
    /// What runs it, as telemetry names workloads: a `Deployment` rather than its `ReplicaSet`; itself when nothing
    /// does.
    pub workload: Arc<str>,
    /// It has a sidecar of ours; others, such as Envoy, may also stand before pods.
    pub has_sidecar: bool,
    /// Whether it takes requests.
    pub state: PodState,
}

/// Whether a pod takes requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PodState {
    /// Its containers run, or will.
    Lives(Health),
    /// Nobody has heard of its kubelet for a while, and Kubernetes takes it for not ready; but when last heard of it was.
    /// So it is with every pod after the API server was away, and with those of a node that is cut off or dead.
    OutOfReach,
    /// Its containers have ended and do not come back (phase `Succeeded` or `Failed`).
    Ended,
}

/// Reads the whole object. The API server has checked it: what is not read here is not a mesh's to judge.
pub(crate) fn parse(field: &Field<'_>, scope: Scope<'_>) -> Option<Pod> {
    field.message(|f| {
        f.ignored_rest();
        let metadata = f.required("metadata")?;
        let terminating = metadata.node().get("deletionTimestamp").is_some();
        let workload = workload_name(metadata.node(), scope.name).into();
        let spec = f.required("spec")?;
        let status = f.optional("status").unwrap_or_else(|| field.absent("status"));
        let (addresses, state) = status.message(|s| Some(self::status(s, terminating)))?;
        spec.message(|s| {
            s.ignored_rest();
            let text = |name| s.optional(name).and_then(|field| field.nonempty()).map(Arc::from);
            Some(Pod {
                addresses,
                node: text("nodeName"),
                service_account: text("serviceAccountName").unwrap_or_else(|| "default".into()),
                host_network: s.flag("hostNetwork"),
                host_name: text("hostname").zip(text("subdomain")),
                ports: named_ports(s),
                has_sidecar: has_sidecar(s),
                workload,
                state,
            })
        })
    })
}

/// Addresses, and whether requests are taken. A pod that is being deleted gets no new ones, whatever its readiness
/// says: kubelet takes a moment to notice.
fn status(f: &Fields<'_>, terminating: bool) -> (Vec<IpAddr>, PodState) {
    f.ignored_rest();
    let listed = f.each("podIPs", |item| {
        item.message(|ip| {
            ip.ignored_rest();
            ip.optional("ip")?.parse(checks::address)
        })
    });
    let single = || f.optional("podIP").and_then(|field| field.parse(checks::address));
    let addresses = if listed.is_empty() { single().into_iter().collect() } else { listed };
    let phase = f.optional("phase").and_then(|field| field.text());
    let conditions = Conditions::read(f);
    let state = match (phase, conditions.ready, terminating) {
        (Some("Succeeded" | "Failed"), ..) => PodState::Ended,
        (_, true, true) => PodState::Lives(Health::Draining),
        (_, true, false) => PodState::Lives(Health::Healthy),
        (_, false, false) if conditions.is_marked_by_others() => PodState::OutOfReach,
        (_, false, _) => PodState::Lives(Health::Unhealthy),
    };
    (addresses, state)
}

#[derive(Default)]
struct Conditions {
    ready: bool,
    /// A kubelet that finds a pod not ready says why.
    has_reason: bool,
    containers_ready: bool,
}

impl Conditions {
    fn read(f: &Fields<'_>) -> Self {
        let all = f.each("conditions", |item| {
            let text = |name| item.node().get(name).and_then(Node::as_str);
            let (is_true, has_reason) =
                (text("status") == Some("True"), text("reason").is_some_and(|it| !it.is_empty()));
            match text("type")? {
                "Ready" => Some(Self { ready: is_true, has_reason, containers_ready: false }),
                "ContainersReady" => Some(Self { containers_ready: is_true, ..Self::default() }),
                _ => None,
            }
        });
        all.into_iter().fold(Self::default(), |one, other| Self {
            ready: one.ready || other.ready,
            has_reason: one.has_reason || other.has_reason,
            containers_ready: one.containers_ready || other.containers_ready,
        })
    }

    /// The node's controller changes the status of `Ready` and nothing else; the kubelet, which alone knows, has said
    /// that the containers are ready (<https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller>).
    fn is_marked_by_others(&self) -> bool {
        !self.ready && self.containers_ready && !self.has_reason
    }
}

fn has_sidecar(spec: &Fields<'_>) -> bool {
    let is_it = |container: &Field<'_>| {
        (container.node().get("name").and_then(Node::as_str) == Some(PROXY_CONTAINER)).then_some(())
    };
    !spec.each("initContainers", is_it).is_empty() || !spec.each("containers", is_it).is_empty()
}

/// Of the containers, and of init containers that go on running (`restartPolicy: Always`).
fn named_ports(spec: &Fields<'_>) -> BTreeMap<Arc<str>, u16> {
    let of = |container: &Field<'_>| {
        container.message(|c| {
            c.ignored_rest();
            Some(c.each("ports", |port| {
                port.message(|p| {
                    p.ignored_rest();
                    let is_tcp = p.optional("protocol").is_none_or(|field| field.text() == Some("TCP"));
                    let name = p.optional("name")?.nonempty()?;
                    let number = p.required("containerPort")?.port()?;
                    is_tcp.then(|| (Arc::from(name), number.get()))
                })
            }))
        })
    };
    let stays = |container: &Field<'_>| {
        container.node().get("restartPolicy").and_then(Node::as_str) == Some("Always")
    };
    let mut ports = BTreeMap::new();
    let beside = spec.each("initContainers", |container| stays(container).then(|| of(container)).flatten());
    for (name, number) in spec.each("containers", of).into_iter().chain(beside).flatten() {
        // As Kubernetes: of several of one name the first counts.
        ports.entry(name).or_insert(number);
    }
    ports
}

/// The name of what runs a pod, as Istio's telemetry has it: a `ReplicaSet` stands for its `Deployment`, a `Job` of a
/// `CronJob` for that.
fn workload_name<'a>(metadata: &'a Node, own: &'a str) -> &'a str {
    let owners = metadata.get("ownerReferences").map(|owners| &owners.value);
    let Some(crate::source::document::Value::Sequence(owners)) = owners else { return own };
    let is_controller = |owner: &&Node| {
        owner.get("controller").is_some_and(|it| it.value == crate::source::document::Value::Bool(true))
    };
    let Some(owner) = owners.iter().find(is_controller) else { return own };
    let name = owner.get("name").and_then(Node::as_str).unwrap_or(own);
    match owner.get("kind").and_then(Node::as_str) {
        Some("ReplicaSet") => {
            let hash = metadata.get("labels").and_then(|labels| labels.get("pod-template-hash"));
            let hash = hash.and_then(Node::as_str).unwrap_or_default();
            let deployment = name.strip_suffix(hash).and_then(|rest| rest.strip_suffix('-'));
            deployment.filter(|rest| !rest.is_empty() && !hash.is_empty()).unwrap_or(name)
        }
        // The controller puts the scheduled time, in minutes since 1970, behind the name.
        Some("Job") => match name.rsplit_once('-') {
            Some((cron_job, minutes))
                if (8..=10).contains(&minutes.len()) && minutes.bytes().all(|b| b.is_ascii_digit()) =>
            {
                cron_job
            }
            _ => name,
        },
        _ => name,
    }
}
