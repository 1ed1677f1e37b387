//! The wire: Weft's own protobuf services, Istio's certificate and name-table messages, and the xDS v3 types
//! (from `envoy-types`) under short names.
//!
//! Nothing here decides anything: checked types live in `weft-model`.

#![allow(missing_docs, unreachable_pub, reason = "generated code carries the comments of its .proto file")]

pub mod descriptors;
pub mod local_socket;

/// Generated code refers to itself by its packages' names.
mod weft {
    pub mod api {
        pub mod v1alpha1 {
            tonic::include_proto!("weft.api.v1alpha1");
        }
    }
    pub mod telemetry {
        pub mod v1alpha1 {
            tonic::include_proto!("weft.telemetry.v1alpha1");
        }
    }
}

/// What `weft` asks the control plane.
pub use weft::api::v1alpha1 as api;
/// What sidecars report to the control plane.
pub use weft::telemetry::v1alpha1 as telemetry;

/// Istio's wire formats that Weft speaks.
pub mod istio {
    /// `IstioCertificateService`: how workloads get their certificates.
    pub mod ca {
        tonic::include_proto!("istio.v1.auth");
    }
    /// The name table a sidecar's resolver answers from.
    pub mod nds {
        tonic::include_proto!("istio.networking.nds.v1");
    }
}

/// The xDS v3 types.
pub mod xds {
    /// Where access logs go.
    pub mod access_loggers {
        pub use envoy_types::pb::envoy::extensions::access_loggers::file::v3 as file;
        pub use envoy_types::pb::envoy::extensions::access_loggers::stream::v3 as stream;
    }
    pub use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
    pub use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
    pub use envoy_types::pb::envoy::config::cluster::v3 as cluster;
    pub use envoy_types::pb::envoy::config::common::mutation_rules::v3 as mutation_rules;
    pub use envoy_types::pb::envoy::config::core::v3 as core;
    pub use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
    pub use envoy_types::pb::envoy::config::listener::v3 as listener;
    pub use envoy_types::pb::envoy::config::rbac::v3 as rbac_rules;
    pub use envoy_types::pb::envoy::config::route::v3 as route;
    pub use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as fault_common;
    pub use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as fault;
    pub use envoy_types::pb::envoy::extensions::filters::http::router::v3 as router;
    pub use envoy_types::pb::envoy::extensions::filters::http::{
        buffer::v3 as buffer, cors::v3 as cors, ext_authz::v3 as ext_authz,
        header_mutation::v3 as header_mutation, health_check::v3 as health_check, jwt_authn::v3 as jwt_authn,
        local_ratelimit::v3 as local_rate_limit, rbac::v3 as rbac,
    };
    pub use envoy_types::pb::envoy::extensions::filters::listener::{
        http_inspector::v3 as http_inspector, original_dst::v3 as original_dst,
        proxy_protocol::v3 as proxy_protocol, tls_inspector::v3 as tls_inspector,
    };
    pub use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    pub use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as network_rbac;
    pub use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
    pub use envoy_types::pb::envoy::extensions::retry::{
        host::omit_host_metadata::v3 as omit_host_metadata,
        priority::previous_priorities::v3 as previous_priorities,
    };
    pub use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3 as upstream_proxy_protocol;
    pub use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3 as raw_buffer;
    pub use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
    pub use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream_http;
    pub use envoy_types::pb::envoy::service::auth::v3 as auth_service;
    pub use envoy_types::pb::envoy::service::discovery::v3 as discovery;

    /// Configurations of `load_balancing_policy`.
    pub mod load_balancing {
        pub use envoy_types::pb::envoy::extensions::load_balancing_policies::{
            cluster_provided::v3 as cluster_provided, common::v3 as common,
            least_request::v3 as least_request, maglev::v3 as maglev, random::v3 as random,
            ring_hash::v3 as ring_hash, round_robin::v3 as round_robin, subset::v3 as subset,
            wrr_locality::v3 as wrr_locality,
        };
    }

    pub use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
    pub use envoy_types::pb::envoy::r#type::v3 as kind;
    pub use envoy_types::pb::google::protobuf;
    pub use envoy_types::pb::google::rpc::Status;
}

/// Type URLs of the resources Weft exchanges.
pub mod type_url {
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    pub const NAME_TABLE: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";

    /// All, in the order in which a change must be applied so that nothing refers to what is not there yet
    /// (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>, "eventual consistency considerations").
    pub const IN_ORDER: [&str; 5] = [CLUSTER, ENDPOINT, LISTENER, ROUTE, NAME_TABLE];
}
