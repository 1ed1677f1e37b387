//! The values of an installation: the one table that checking, the chart's `values.yaml` and `values.schema.json`,
//! and the reference in `docs/install.md` are made of.

use serde_json::{Map, Value, json};

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;

/// What may stand at a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A DNS label, or nothing: what object names are made of.
    Name,
    /// `true` or `false`.
    Flag,
    /// A whole number from the first to the second.
    Count(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// Keys and texts.
    Labels,
    /// An object of the Kubernetes API of this type.
    Object(Shape),
    /// Any YAML below; checked by who uses it.
    Tree,
}

/// Types of the Kubernetes API that values hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `ResourceRequirements`.
    Resources,
    /// A list of `Toleration`.
    Tolerations,
}

/// One value.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Where it stands: `controlPlane.replicas`.
    pub path: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// JSON of what stands there unless said otherwise.
    pub default: &'static str,
    /// What it does, as one sentence or two.
    pub about: &'static str,
}

const fn field(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Field {
    Field { path, kind, default, about }
}

/// Kubernetes' words for what happens when a webhook cannot be asked.
const FAILURE_POLICY: Kind = Kind::Word(&["Fail", "Ignore"]);

/// All values, in the order of `values.yaml`.
pub static FIELDS: &[Field] = &[
    field(
        "revision",
        Kind::Name,
        r#""""#,
        "Name of this control plane beside others of the cluster; empty for the one that `istio-injection=enabled` and `weft.mesh/inject=enabled` mean.",
    ),
    field(
        "namespace.create",
        Kind::Flag,
        "true",
        "Whether the namespace `weft-system` is among the objects; not where Helm or another tool makes it.",
    ),
    field(
        "image.registry",
        Kind::Text,
        r#""localhost""#,
        "Registry and path that the images `weft-control-plane` and `weft-proxy` are pulled from.",
    ),
    field("image.tag", Kind::Text, r#""""#, "Tag of both images; this version's when empty."),
    field(
        "image.pullPolicy",
        Kind::Word(&["Always", "IfNotPresent", "Never"]),
        r#""IfNotPresent""#,
        "When the kubelet pulls them.",
    ),
    field(
        "image.pullSecrets",
        Kind::Texts,
        "[]",
        "Names of Secrets to pull them with, in the pod's namespace.",
    ),
    field("mesh.name", Kind::Name, r#""default""#, "Name of the mesh, in telemetry's `cluster` labels."),
    field(
        "mesh.trustDomain",
        Kind::Text,
        r#""cluster.local""#,
        "Root of all identities: `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`. Cannot be changed while workloads run.",
    ),
    field("mesh.clusterDomain", Kind::Text, r#""cluster.local""#, "The cluster's DNS domain."),
    field(
        "mesh.discoverySelectors",
        Kind::Texts,
        "[]",
        "Label selectors of the namespaces that the mesh sees, such as `team=shop`; a namespace that matches one is seen. All namespaces without any.",
    ),
    field("controlPlane.replicas", Kind::Count(1, 50), "2", "Replicas, unless autoscaling is enabled."),
    field(
        "controlPlane.resources",
        Kind::Object(Shape::Resources),
        r#"{"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}"#,
        "Its container's resources.",
    ),
    field(
        "controlPlane.log",
        Kind::Text,
        r#""info""#,
        "What it logs, such as `info` or `info,weft_control_plane::push=debug`.",
    ),
    field(
        "controlPlane.certificateLifetime",
        Kind::Text,
        r#""24h""#,
        "How long workloads' certificates last at most; sidecars renew them well before.",
    ),
    field(
        "controlPlane.priorityClassName",
        Kind::Text,
        r#""system-cluster-critical""#,
        "Its pods' priority class; none when empty.",
    ),
    field(
        "controlPlane.nodeSelector",
        Kind::Labels,
        r#"{"kubernetes.io/os": "linux"}"#,
        "Labels of the nodes it may run on.",
    ),
    field(
        "controlPlane.tolerations",
        Kind::Object(Shape::Tolerations),
        "[]",
        "Taints of nodes it may run on.",
    ),
    field("controlPlane.podLabels", Kind::Labels, "{}", "Further labels of its pods."),
    field("controlPlane.podAnnotations", Kind::Labels, "{}", "Further annotations of its pods."),
    field("controlPlane.extraArgs", Kind::Texts, "[]", "Further arguments of `weft-control-plane run`."),
    field(
        "controlPlane.autoscaling.enabled",
        Kind::Flag,
        "false",
        "Whether a HorizontalPodAutoscaler sets the number of replicas.",
    ),
    field("controlPlane.autoscaling.minReplicas", Kind::Count(1, 50), "2", "The fewest replicas."),
    field("controlPlane.autoscaling.maxReplicas", Kind::Count(1, 50), "5", "The most replicas."),
    field(
        "controlPlane.autoscaling.targetCPUUtilization",
        Kind::Count(1, 100),
        "80",
        "Percent of the requested CPU that replicas are added at.",
    ),
    field(
        "controlPlane.podDisruptionBudget.enabled",
        Kind::Flag,
        "true",
        "Whether a drain evicts one replica at a time only.",
    ),
    field("injection.enabled", Kind::Flag, "true", "Whether sidecars are injected into pods by webhook."),
    field(
        "injection.istioLabels",
        Kind::Flag,
        "true",
        "Whether Istio's labels ask for a sidecar too: `istio-injection`, `istio.io/rev`, `sidecar.istio.io/inject`. Not where Istio runs in the same cluster.",
    ),
    field(
        "injection.failurePolicy",
        FAILURE_POLICY,
        r#""Fail""#,
        "What becomes of a pod that asks for a sidecar while no control plane answers: `Fail`, it waits; `Ignore`, it starts without.",
    ),
    field(
        "injection.values",
        Kind::Tree,
        "{}",
        "Laid over the injection's values (docs/injection.md): resources, defaults, templates.",
    ),
    field(
        "validation.enabled",
        Kind::Flag,
        "true",
        "Whether policies are checked by webhook when they are written.",
    ),
    field(
        "validation.failurePolicy",
        FAILURE_POLICY,
        r#""Ignore""#,
        "What becomes of a policy that is written while no control plane answers. A bad one is held back and named later all the same.",
    ),
    field(
        "crds.install",
        Kind::Flag,
        "true",
        "Whether the kinds of policies are brought along. Those that the cluster has are never touched.",
    ),
    field(
        "cni.enabled",
        Kind::Flag,
        "false",
        "Whether a CNI plugin sets up interception, so that pods need no capability for it.",
    ),
    field("cni.binDir", Kind::Text, r#""/opt/cni/bin""#, "Where the node's CNI plugins are."),
    field("cni.confDir", Kind::Text, r#""/etc/cni/net.d""#, "Where the node's CNI configuration is."),
    field(
        "cni.repair",
        Kind::Word(&["delete", "label", "none"]),
        r#""delete""#,
        "What the agent does with pods that started without their rules: `delete` them, so that others are made; `label` them `weft.mesh/unprotected=true`.",
    ),
    field(
        "cni.resources",
        Kind::Object(Shape::Resources),
        r#"{"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}"#,
        "Resources of the agent on each node.",
    ),
];

/// The field of a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.path == path)
}

/// What stands at a field unless said otherwise.
#[must_use]
pub fn default_of(field: &Field) -> Value {
    serde_json::from_str(field.default).unwrap_or(Value::Null)
}

/// The tree of all defaults.
#[must_use]
pub fn defaults() -> Value {
    let mut tree = Value::Object(Map::new());
    for field in FIELDS {
        put(&mut tree, field.path, default_of(field));
    }
    tree
}

/// Puts a value at a dotted path, making the objects above it.
pub fn put(tree: &mut Value, path: &str, value: Value) {
    let mut place = tree;
    for key in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(key).or_insert(Value::Null);
    }
    *place = value;
}

/// The keys below a path, in the order of the table; those of the whole for an empty path.
#[must_use]
pub fn keys_below(path: &str) -> Vec<&'static str> {
    let mut keys: Vec<&'static str> = Vec::new();
    for field in FIELDS {
        let rest = if path.is_empty() {
            Some(field.path)
        } else {
            field.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(key) = rest.and_then(|rest| rest.split('.').next())
            && !keys.contains(&key)
        {
            keys.push(key);
        }
    }
    keys
}

/// `values.schema.json` of the Helm chart, by which `helm` refuses what `weft install` refuses.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = object_schema("");
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Values of the Weft chart");
    // Helm hands these to every chart.
    schema["properties"]["global"] = json!({"type": "object"});
    schema
}

fn object_schema(path: &str) -> Value {
    let mut properties = Map::new();
    for key in keys_below(path) {
        let below = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let schema = find(&below).map_or_else(|| object_schema(&below), field_schema);
        properties.insert(key.to_owned(), schema);
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn field_schema(field: &Field) -> Value {
    let mut schema = match field.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Name => {
            json!({"type": "string", "maxLength": 40, "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"})
        }
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Count(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Labels => json!({"type": "object", "additionalProperties": {"type": ["string", "null"]}}),
        Kind::Object(Shape::Resources) | Kind::Tree => json!({"type": "object"}),
        Kind::Object(Shape::Tolerations) => json!({"type": "array", "items": {"type": "object"}}),
    };
    schema["description"] = json!(field.about);
    schema
}
