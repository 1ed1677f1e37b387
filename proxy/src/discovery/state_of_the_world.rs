//! The older form of ADS, in which each answer is the whole state of a type, in terms of the newer one: what the client
//! asks is translated on its way out, what is answered on its way in
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview>).

use std::collections::{BTreeSet, HashMap};

use prost::Message;
use weft_proto::type_url;
use weft_proto::xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};

#[cfg(test)]
#[path = "state_of_the_world_tests.rs"]
mod tests;

/// What one stream has said and heard.
#[derive(Debug, Default)]
pub(super) struct Translation {
    types: HashMap<String, Type>,
}

#[derive(Debug, Default)]
struct Type {
    /// Asked for by name.
    names: BTreeSet<String>,
    /// The version that was acknowledged last.
    accepted: String,
    /// Version and nonce of the answer that was heard last.
    heard: (String, String),
    /// What the last answer held, of types whose answers are complete.
    known: BTreeSet<String>,
}

/// Any resource of Envoy's: its name is its first field.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

impl Translation {
    /// What to send for a request.
    pub(super) fn request(&mut self, request: DeltaDiscoveryRequest) -> DiscoveryRequest {
        let known = self.types.entry(request.type_url.clone()).or_default();
        known.names.extend(request.resource_names_subscribe);
        for name in &request.resource_names_unsubscribe {
            known.names.remove(name);
        }
        if !request.response_nonce.is_empty() && request.error_detail.is_none() {
            known.accepted.clone_from(&known.heard.0);
        }
        DiscoveryRequest {
            version_info: known.accepted.clone(),
            node: request.node,
            resource_names: known.names.iter().cloned().collect(),
            type_url: request.type_url,
            response_nonce: known.heard.1.clone(),
            error_detail: request.error_detail,
            ..Default::default()
        }
    }

    /// What an answer says. Of listeners and clusters an answer is complete, so that what it does not hold is gone; of
    /// other types it holds what changed.
    pub(super) fn response(&mut self, response: DiscoveryResponse) -> DeltaDiscoveryResponse {
        let known = self.types.entry(response.type_url.clone()).or_default();
        known.heard = (response.version_info.clone(), response.nonce.clone());
        let resources: Vec<Resource> = response
            .resources
            .into_iter()
            .map(|any| Resource {
                name: Named::decode(any.value.as_slice()).map(|named| named.name).unwrap_or_default(),
                version: response.version_info.clone(),
                resource: Some(any),
                ..Default::default()
            })
            .collect();
        let is_complete = [type_url::LISTENER, type_url::CLUSTER].contains(&response.type_url.as_str());
        let removed_resources = if is_complete {
            let now: BTreeSet<String> = resources.iter().map(|resource| resource.name.clone()).collect();
            let before = std::mem::replace(&mut known.known, now);
            before.difference(&known.known).cloned().collect()
        } else {
            Vec::new()
        };
        DeltaDiscoveryResponse {
            system_version_info: response.version_info,
            type_url: response.type_url,
            nonce: response.nonce,
            resources,
            removed_resources,
            ..Default::default()
        }
    }
}
