//! The built-in template `sidecar`: what is added to a pod. Names, paths and ports are those that `weft-proxy run
//! --from-pod` expects.

use serde_json::{Map, Value, json};

use super::annotations::PodSettings;
use super::pod::in_order;
use super::values::{InjectionValues, PullPolicy, Resources};
use super::{INIT_CONTAINER, PROXY_CONTAINER, PROXY_UID, VALIDATION_CONTAINER};

/// Where the sidecar tells kubelet that it is ready.
const READY_PORT: u16 = 15021;
/// Where Prometheus asks the sidecar.
pub(super) const METRICS_PORT: u16 = 15090;
/// Any user but the sidecar's, whose packets would pass unseen.
const VALIDATION_UID: i64 = 65532;
/// A sidecar outlives its application by so much: callers that have not heard yet are told at once, and provably, that
/// nobody has looked at their request. Without the sidecar they would wait for an answer from an address that is gone.
const MINIMUM_DRAIN_TIME: &str = "3s";
/// Before kubelet kills what has not ended, in seconds: for what the sidecar has to write.
const LAST_SECOND: u64 = 1;
/// How long kubelet lets a sidecar wait for its control plane: 600 probes, one each second.
const START_PROBES: u32 = 600;

/// What the template says of the pod.
pub(super) struct Facts<'a> {
    /// Settings of the pod's sidecar.
    pub settings: &'a PodSettings,
    /// Settings of the mesh.
    pub values: &'a InjectionValues,
    /// Name of the workload: the pod's owner's.
    pub workload: &'a str,
    /// Ports of the application's containers.
    pub ports: &'a [u64],
    /// It runs until it is deleted, and others may call it; else it ends by itself, as a Job's pod.
    pub serves: bool,
    /// How long its containers may take to end, in seconds.
    pub grace: u64,
    /// What kubelet's checks were.
    pub probes: &'a Map<String, Value>,
}

/// What is put into a pod, each list before the pod's own.
pub(super) struct Additions {
    /// First of the init containers.
    pub init_containers: Vec<Value>,
    /// First of the containers.
    pub containers: Vec<Value>,
    /// Volumes.
    pub volumes: Vec<Value>,
    /// Secrets for fetching images.
    pub pull_secrets: Vec<Value>,
}

impl Facts<'_> {
    /// The sidecar and what belongs to it.
    pub(super) fn additions(&self) -> Additions {
        let mut init_containers = vec![self.interception()];
        let mut containers = Vec::new();
        if self.settings.native { &mut init_containers } else { &mut containers }.push(self.sidecar());
        let secret = |name: &String| json!({"name": name});
        Additions {
            init_containers,
            containers,
            volumes: self.volumes(),
            pull_secrets: self.values.image.pull_secrets.iter().map(secret).collect(),
        }
    }

    fn sidecar(&self) -> Value {
        let mut container = json!({
            "name": PROXY_CONTAINER,
            "image": self.settings.image,
            "imagePullPolicy": self.pull_policy(),
            "args": self.arguments(),
            "ports": [
                {"name": "http-weft-prom", "containerPort": METRICS_PORT, "protocol": "TCP"},
                {"name": "http-weft-ready", "containerPort": READY_PORT, "protocol": "TCP"},
            ],
            "env": self.environment(),
            "resources": self.settings.resources,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": PROXY_UID,
                "runAsNonRoot": true,
                "runAsUser": PROXY_UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "readinessProbe": {
                "httpGet": {"path": "/ready", "port": READY_PORT},
                "periodSeconds": 15,
                "timeoutSeconds": 3,
                "failureThreshold": 4,
            },
            "volumeMounts": self.mounts(),
        });
        if self.settings.native {
            container["restartPolicy"] = json!("Always");
        }
        // Of a native sidecar the application waits for the start-up probe.
        if self.settings.hold && self.settings.native {
            container["startupProbe"] = json!({
                "httpGet": {"path": "/ready", "port": READY_PORT},
                "periodSeconds": 1,
                "timeoutSeconds": 3,
                "failureThreshold": START_PROBES,
            });
        }
        // The containers behind an ordinary one start when its hook has ended.
        if self.settings.hold && !self.settings.native {
            let wait = json!({"exec": {"command": ["/usr/local/bin/weft-proxy", "wait"]}});
            container["lifecycle"] = json!({"postStart": wait});
        }
        container
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["run".to_owned(), "--from-pod".to_owned()];
        let mut add = |name: &str, value: String| arguments.push(format!("--{name}={value}"));
        add("discovery-address", self.values.discovery_address.clone());
        match self.settings.worker_threads() {
            0 => {}
            threads => add("concurrency", threads.to_string()),
        }
        add("drain-time", self.drain_time());
        if self.serves || !self.settings.native {
            add("minimum-drain-time", MINIMUM_DRAIN_TIME.to_owned());
        }
        if let Some(per_cent) = self.settings.sampling {
            add("trace-share", format!("{}", per_cent / 100.0));
        }
        arguments
    }

    /// An ordinary container is told to end together with the application, which may go on calling for as long as
    /// Kubernetes lets it: so long it is served.
    fn drain_time(&self) -> String {
        match &self.settings.drain {
            Some(asked) => asked.clone(),
            None if self.settings.native => self.settings.default_drain.clone(),
            None => format!("{}s", self.grace.saturating_sub(LAST_SECOND).max(LAST_SECOND)),
        }
    }

    fn environment(&self) -> Vec<Value> {
        let field =
            |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let text = |name: &str, value: &str| json!({"name": name, "value": value});
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        let mut all = vec![
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_IP", "status.podIP"),
            field("POD_IPS", "status.podIPs"),
            field("HOST_IP", "status.hostIP"),
            field("NODE_NAME", "spec.nodeName"),
            field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            text("WEFT_WORKLOAD_NAME", self.workload),
            text("WEFT_MESH", &self.values.mesh),
            text("WEFT_TRUST_DOMAIN", &self.values.trust_domain),
            text("WEFT_CLUSTER_DOMAIN", &self.values.cluster_domain),
            text("WEFT_REVISION", &self.values.revision),
            text("WEFT_APP_PORTS", &ports.join(",")),
            text("WEFT_LOG", &self.settings.log_level),
        ];
        if !self.probes.is_empty() {
            all.push(text("WEFT_APP_PROBES", &in_order(&Value::Object(self.probes.clone())).to_string()));
        }
        for (name, value) in &self.settings.environment {
            all.retain(|variable| variable["name"] != name.as_str());
            all.push(text(name, value));
        }
        all
    }

    fn mounts(&self) -> Vec<Value> {
        let mut mounts = vec![
            json!({"name": "weft-token", "mountPath": "/var/run/secrets/weft/tokens", "readOnly": true}),
            json!({"name": "weft-ca-root", "mountPath": "/var/run/secrets/weft/ca", "readOnly": true}),
            json!({"name": "weft-pod", "mountPath": "/etc/weft/pod", "readOnly": true}),
            json!({"name": "weft-state", "mountPath": "/var/lib/weft"}),
        ];
        mounts.extend(self.settings.volume_mounts.iter().cloned());
        mounts
    }

    fn volumes(&self) -> Vec<Value> {
        let file = |name: &str| json!({"path": name, "fieldRef": {"fieldPath": format!("metadata.{name}")}});
        let token = json!({"audience": "weft-ca", "expirationSeconds": 43200, "path": "token"});
        let mut volumes = vec![
            json!({"name": "weft-token", "projected": {"sources": [{"serviceAccountToken": token}]}}),
            json!({"name": "weft-ca-root", "configMap": {"name": "weft-ca-root-cert"}}),
            json!({"name": "weft-pod", "downwardAPI": {"items": [file("labels"), file("annotations")]}}),
            json!({"name": "weft-state", "emptyDir": {"medium": "Memory"}}),
        ];
        volumes.extend(self.settings.volumes.iter().cloned());
        volumes
    }

    /// The container that sets the rules, or with the CNI plugin the one that finds out whether they are set: a pod
    /// that runs without them would be a pod without a mesh.
    fn interception(&self) -> Value {
        let by_cni = self.settings.interception.cni;
        let (name, action, user) = if by_cni {
            (VALIDATION_CONTAINER, "check", VALIDATION_UID)
        } else {
            (INIT_CONTAINER, "apply", 0)
        };
        let mut arguments = vec!["intercept".to_owned(), action.to_owned()];
        arguments.extend(self.interception_arguments());
        let capabilities = if by_cni {
            json!({"drop": ["ALL"]})
        } else {
            json!({"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]})
        };
        json!({
            "name": name,
            "image": self.settings.image,
            "imagePullPolicy": self.pull_policy(),
            "args": arguments,
            "resources": Resources::to_json(&self.settings.interception.resources),
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": capabilities,
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": user,
                "runAsNonRoot": by_cni,
                "runAsUser": user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        })
    }

    fn interception_arguments(&self) -> Vec<String> {
        let (settings, interception) = (self.settings, &self.settings.interception);
        let mut arguments = vec![format!("--proxy-uid={PROXY_UID}"), format!("--proxy-gid={PROXY_UID}")];
        if !interception.dns {
            arguments.push("--no-dns".to_owned());
        }
        let mut add = |name: &str, value: &str, default: &str| {
            if value != default {
                arguments.push(format!("--{name}={value}"));
            }
        };
        add("include-inbound-ports", &interception.include_inbound_ports, "*");
        add("exclude-inbound-ports", &interception.exclude_inbound_ports, "");
        add("include-outbound-ports", &interception.include_outbound_ports, "");
        add("exclude-outbound-ports", &interception.exclude_outbound_ports, "");
        add("include-outbound-ranges", &interception.include_outbound_ip_ranges, "*");
        add("exclude-outbound-ranges", &interception.exclude_outbound_ip_ranges, "");
        add("exclude-interfaces", &interception.exclude_interfaces, "");
        add("exclude-uids", &settings.exclude_uids, "");
        add("exclude-gids", &settings.exclude_gids, "");
        arguments
    }

    fn pull_policy(&self) -> &'static str {
        match self.values.image.pull_policy {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
}

/// The path and port that Prometheus is told of.
pub(super) fn prometheus_annotations() -> [(&'static str, String); 3] {
    [
        ("prometheus.io/scrape", "true".to_owned()),
        ("prometheus.io/port", METRICS_PORT.to_string()),
        ("prometheus.io/path", "/stats/prometheus".to_owned()),
    ]
}
