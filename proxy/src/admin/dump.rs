//! The configuration that is served, in the shape of Envoy's `/config_dump`
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump.proto>), so that tools that read Envoy's read
//! ours. Resources stand in it as they would travel: what was ignored when they came is not shown, and where each rule
//! came from is, in its metadata.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value, json};
use weft_model::json::Messages;
use weft_model::xds::Resource;

use super::AdminState;

type Versions = BTreeMap<(String, String), String>;

/// What of the configuration is wanted.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    /// With endpoints: `include_eds`.
    pub(super) endpoints: bool,
    /// One list only, such as `dynamic_listeners`: `resource`.
    pub(super) list: Option<&'a str>,
    /// Those whose names match: `name_regex`.
    pub(super) names: Option<Regex>,
}

/// One kind of resources.
struct Kind {
    /// The message that holds them.
    message: &'static str,
    /// Its list of those that stand in the bootstrap, and of those that came later.
    lists: [&'static str; 2],
    /// What a resource is called in an entry of the lists.
    field: &'static str,
}

const CLUSTERS: Kind = Kind {
    message: "ClustersConfigDump",
    lists: ["static_clusters", "dynamic_active_clusters"],
    field: "cluster",
};
const LISTENERS: Kind = Kind {
    message: "ListenersConfigDump",
    lists: ["static_listeners", "dynamic_listeners"],
    field: "listener",
};
const ROUTES: Kind = Kind {
    message: "RoutesConfigDump",
    lists: ["static_route_configs", "dynamic_route_configs"],
    field: "route_config",
};
const ENDPOINTS: Kind = Kind {
    message: "EndpointsConfigDump",
    lists: ["static_endpoint_configs", "dynamic_endpoint_configs"],
    field: "endpoint_config",
};

/// Everything that is wanted.
pub(super) fn config(state: &AdminState, wanted: &Wanted<'_>) -> Value {
    let snapshot = state.discovery.snapshot.load();
    let dump = Dump { messages: Messages::envoy(), versions: state.discovery.status.versions(), wanted };
    let mut kinds = vec![
        (CLUSTERS, snapshot.clusters.values().cloned().map(Resource::Cluster).collect()),
        (LISTENERS, snapshot.listeners.values().cloned().map(Resource::Listener).collect()),
        (ROUTES, snapshot.routes.values().cloned().map(Resource::Routes).collect::<Vec<_>>()),
    ];
    if wanted.endpoints {
        kinds.push((ENDPOINTS, snapshot.endpoints.values().cloned().map(Resource::Endpoints).collect()));
    }
    if let Some(list) = wanted.list {
        let listed = kinds.into_iter().flat_map(|(kind, resources)| dump.list(&kind, resources, list));
        return json!({ "configs": listed.collect::<Vec<_>>() });
    }
    let bootstrap = json!({
        "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
        "bootstrap": { "node": { "id": state.node, "user_agent_name": "weft-proxy" } },
    });
    let kinds = kinds.into_iter().map(|(kind, resources)| dump.kind(&kind, resources));
    json!({ "configs": std::iter::once(bootstrap).chain(kinds).collect::<Vec<_>>() })
}

struct Dump<'a> {
    messages: Messages,
    versions: Versions,
    wanted: &'a Wanted<'a>,
}

impl Dump<'_> {
    /// Resources that came later, with their versions; the others have none.
    fn version(&self, resource: &Resource) -> Option<&String> {
        self.versions.get(&(resource.type_url().to_owned(), resource.name().to_owned()))
    }

    fn entries(&self, kind: &Kind, mut resources: Vec<Resource>) -> [Vec<Value>; 2] {
        if let Some(names) = &self.wanted.names {
            resources.retain(|resource| names.is_match(resource.name()));
        }
        resources.sort_by(|a, b| a.name().cmp(b.name()));
        let mut entries = [Vec::new(), Vec::new()];
        for resource in &resources {
            let shown = self.messages.show(&resource.encode());
            let entry = match self.version(resource) {
                None => json!({ kind.field: shown }),
                // A listener that is being replaced would stand beside this one.
                Some(version) if kind.field == LISTENERS.field => {
                    let state = json!({ "version_info": version, kind.field: shown });
                    json!({ "name": resource.name(), "active_state": state })
                }
                Some(version) => json!({ "version_info": version, kind.field: shown }),
            };
            entries[usize::from(self.version(resource).is_some())].push(entry);
        }
        entries
    }

    fn kind(&self, kind: &Kind, resources: Vec<Resource>) -> Value {
        let mut message = Map::new();
        let name = format!("type.googleapis.com/envoy.admin.v3.{}", kind.message);
        message.insert("@type".to_owned(), name.into());
        for (list, entries) in kind.lists.iter().zip(self.entries(kind, resources)) {
            if !entries.is_empty() {
                message.insert((*list).to_owned(), entries.into());
            }
        }
        Value::Object(message)
    }

    /// The entries of one list, each with its own type, as Envoy gives them when one is asked for.
    fn list(&self, kind: &Kind, resources: Vec<Resource>, list: &str) -> Vec<Value> {
        let types = ["Static", "Dynamic"];
        let entry_name = kind.message.trim_end_matches("sConfigDump");
        let mut found = Vec::new();
        for ((name, entries), origin) in kind.lists.iter().zip(self.entries(kind, resources)).zip(types) {
            if *name != list {
                continue;
            }
            let suffix = if ["Route", "Endpoint"].contains(&entry_name) { "Config" } else { "" };
            let url =
                format!("type.googleapis.com/envoy.admin.v3.{}.{origin}{entry_name}{suffix}", kind.message);
            found.extend(entries.into_iter().map(|mut entry| {
                if let Some(fields) = entry.as_object_mut() {
                    fields.shift_insert(0, "@type".to_owned(), url.clone().into());
                }
                entry
            }));
        }
        found
    }
}
