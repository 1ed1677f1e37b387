//! Who asks: the node that a control plane chooses the configuration by.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weft_model::node::ProxyId;
use weft_proto::xds::core;
use weft_proto::xds::protobuf::{ListValue, Struct, Value, value::Kind};

/// One proxy, as it names itself. Keys of the metadata are Istio's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Unique.
    pub id: ProxyId,
    /// The service it belongs to, such as `reviews.default`.
    pub cluster: String,
    /// Of the workload.
    pub labels: BTreeMap<String, String>,
    /// Of the workload.
    pub service_account: String,
    /// What else is told of the workload, by Istio's keys such as `NODE_NAME`.
    pub metadata: BTreeMap<&'static str, String>,
    /// Ports that the workload listens on.
    pub ports: Vec<u16>,
    /// `REDIRECT`, `TPROXY` or `NONE` (explicit mode).
    pub interception_mode: String,
    /// Explicit mode: the workload's forward proxy, and where calls to its ports arrive.
    pub explicit: Option<(Option<SocketAddr>, BTreeMap<u16, SocketAddr>)>,
}

impl Node {
    /// As it travels.
    #[must_use]
    pub fn to_proto(&self) -> core::Node {
        let labels = self.labels.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        let ports = self.ports.iter().map(|port| value(Kind::NumberValue(f64::from(*port)))).collect();
        let version = env!("CARGO_PKG_VERSION");
        let mut metadata = vec![
            ("LABELS", value(Kind::StructValue(Struct { fields: labels }))),
            ("NAME", text(&self.id.workload)),
            ("NAMESPACE", text(&self.id.namespace)),
            ("SERVICE_ACCOUNT", text(&self.service_account)),
            ("APP_PORTS", value(Kind::ListValue(ListValue { values: ports }))),
            ("INTERCEPTION_MODE", text(&self.interception_mode)),
            ("WEFT_VERSION", text(version)),
        ];
        metadata.extend(self.metadata.iter().map(|(key, value)| (*key, text(value))));
        if let Some((outbound, inbound)) = &self.explicit {
            let ports = inbound
                .iter()
                .map(|(port, address)| (port.to_string(), text(&address.to_string())))
                .collect();
            metadata.push(("WEFT_EXPLICIT_INBOUND", value(Kind::StructValue(Struct { fields: ports }))));
            metadata.extend(outbound.map(|address| ("WEFT_EXPLICIT_OUTBOUND", text(&address.to_string()))));
        }
        core::Node {
            id: self.id.to_string(),
            cluster: self.cluster.clone(),
            metadata: Some(Struct {
                fields: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            }),
            user_agent_name: "weft-proxy".to_owned(),
            user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentVersion(
                version.to_owned(),
            )),
            ..Default::default()
        }
    }
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn text(text: &str) -> Value {
    value(Kind::StringValue(text.to_owned()))
}
