//! Who connects: the xDS `Node` of a stream's first request, checked against the connection's verified identity.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value as Json;
use tonic::Status;
use weft_model::identity::WorkloadIdentity;
use weft_model::node::ProxyId;
use weft_proto::xds::core::{Node, node::UserAgentVersionType};
use weft_proto::xds::protobuf::{Struct, Value, value::Kind};

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;

/// How traffic gets to the sidecar; Istio's `INTERCEPTION_MODE`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub enum Interception {
    /// By netfilter REDIRECT.
    #[default]
    Redirect,
    /// By netfilter TPROXY.
    Tproxy,
    /// Not at all: applications use the sidecar's local ports (explicit mode).
    None,
}

/// What a proxy says about itself when it connects.
#[derive(Clone, PartialEq, Debug)]
pub struct ProxyHello {
    /// From the node id.
    pub id: ProxyId,
    /// From the certificate; `None` on a plaintext connection. Never from the proxy's own words.
    pub identity: Option<WorkloadIdentity>,
    /// Labels of the workload (`LABELS`).
    pub labels: BTreeMap<String, String>,
    /// Of the certificate, else as claimed (`SERVICE_ACCOUNT`).
    pub service_account: Option<String>,
    /// Ports the application listens on (`APP_PORTS`: an array or comma-separated text; or Istio's `POD_PORTS`).
    pub app_ports: Vec<u16>,
    /// How traffic gets to the sidecar (`INTERCEPTION_MODE`).
    pub interception: Interception,
    /// Version of the sidecar (`ISTIO_VERSION`, else the user agent's); may be empty.
    pub version: String,
    /// The metadata as sent.
    pub metadata: Json,
    /// Where the connection comes from.
    pub peer: Option<SocketAddr>,
}

impl ProxyHello {
    /// Reads the node of a first request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when there is no node or its id is of another form; PERMISSION_DENIED when the node claims
    /// another namespace or service account than the certificate proves.
    pub fn read(
        node: Option<Node>,
        identity: Option<WorkloadIdentity>,
        peer: Option<SocketAddr>,
    ) -> Result<Self, Status> {
        let node = node.ok_or_else(|| {
            Status::invalid_argument(
                "the first request of a stream must carry a node: set node.id and send it",
            )
        })?;
        let id: ProxyId = shortened(&node.id).parse().map_err(|error| {
            Status::invalid_argument(format!("{error}; set node.id as `weft run` or the injector gave it"))
        })?;
        let metadata = node.metadata.as_ref().map_or(Json::Null, json_of_struct);
        let claimed = metadata.get("SERVICE_ACCOUNT").and_then(Json::as_str).map(str::to_owned);
        if let Some(identity) = &identity {
            agree(identity, &id, claimed.as_deref(), metadata.get("NAMESPACE").and_then(Json::as_str))?;
        }
        let service_account = identity.as_ref().map(|i| i.service_account.to_string()).or(claimed);
        Ok(Self {
            id,
            identity,
            labels: labels(&metadata),
            service_account,
            app_ports: app_ports(&metadata),
            interception: interception(&metadata),
            version: version(&metadata, &node),
            metadata,
            peer,
        })
    }
}

/// The certificate must be of the workload that the node id names.
fn agree(
    identity: &WorkloadIdentity,
    id: &ProxyId,
    account: Option<&str>,
    namespace: Option<&str>,
) -> Result<(), Status> {
    let denied = |what: &str, claimed: &str| {
        let message = format!(
            "node `{id}` claims the {what} `{claimed}`, but its certificate is of {identity}: \
             a sidecar gets only its own workload's configuration"
        );
        Err(Status::permission_denied(message))
    };
    for claimed in [Some(id.namespace.as_str()), namespace].into_iter().flatten() {
        if claimed != &*identity.namespace {
            return denied("namespace", claimed);
        }
    }
    match account {
        Some(claimed) if claimed != &*identity.service_account => denied("service account", claimed),
        _ => Ok(()),
    }
}

/// Enough of a text to recognise it; what a stranger sends is not repeated at length.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(300).map_or(text, |(end, _)| &text[..end])
}

fn labels(metadata: &Json) -> BTreeMap<String, String> {
    let Some(Json::Object(labels)) = metadata.get("LABELS") else { return BTreeMap::new() };
    labels.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn app_ports(metadata: &Json) -> Vec<u16> {
    let port = |value: &Json| match value {
        Json::Number(number) => number.as_f64().filter(|n| (1.0..65536.0).contains(n)).map(|n| n as u16),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let list = |value: &Json| match value {
        Json::Array(ports) => ports.clone(),
        Json::String(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str(text).unwrap_or_default()
        }
        Json::String(text) => text.split(',').map(|part| Json::String(part.to_owned())).collect(),
        _ => Vec::new(),
    };
    let declared = metadata.get("APP_PORTS").map(list).unwrap_or_default();
    let of_pod = metadata.get("POD_PORTS").map(list).unwrap_or_default();
    let mut ports: Vec<u16> = declared
        .iter()
        .filter_map(port)
        .chain(of_pod.iter().filter_map(|entry| port(entry.get("containerPort")?)))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn interception(metadata: &Json) -> Interception {
    match metadata.get("INTERCEPTION_MODE").and_then(Json::as_str) {
        Some("NONE") => Interception::None,
        Some("TPROXY") => Interception::Tproxy,
        _ => Interception::Redirect,
    }
}

fn version(metadata: &Json, node: &Node) -> String {
    let declared = metadata.get("ISTIO_VERSION").and_then(Json::as_str).map(str::to_owned);
    let of_agent = || match node.user_agent_version_type.as_ref()? {
        UserAgentVersionType::UserAgentVersion(text) => Some(text.clone()),
        UserAgentVersionType::UserAgentBuildVersion(build) => {
            let v = build.version.as_ref()?;
            Some(format!("{}.{}.{}", v.major_number, v.minor_number, v.patch))
        }
    };
    declared.or_else(of_agent).unwrap_or_default()
}

fn json_of_struct(fields: &Struct) -> Json {
    let sorted: BTreeMap<_, _> = fields.fields.iter().collect();
    Json::Object(sorted.into_iter().map(|(name, value)| (name.clone(), json_of(value))).collect())
}

fn json_of(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::NumberValue(number)) => {
            serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number)
        }
        Some(Kind::StringValue(text)) => Json::String(text.clone()),
        Some(Kind::BoolValue(truth)) => Json::Bool(*truth),
        Some(Kind::StructValue(fields)) => json_of_struct(fields),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(json_of).collect()),
    }
}
