//! Mutual TLS on both sides, with the proxy's own certificate.
//!
//! Certificates are named as Istio names them, `default` and `ROOTCA`, and come from the proxy's own SDS server at the
//! cluster `sds-grpc`; our proxy takes the names as "my own identity". A peer must be of the trust domain by the
//! proxy's own rule, so that matchers of the whole trust domain need not be looked at.

use std::sync::Arc;
use std::time::Duration;

use weft_proto::xds::core::transport_socket::ConfigType;
use weft_proto::xds::core::{self, config_source::ConfigSourceSpecifier, grpc_service};
use weft_proto::xds::matcher::{StringMatcher, string_matcher::MatchPattern};
use weft_proto::xds::raw_buffer::RawBuffer;
use weft_proto::xds::tls as pb;
use weft_proto::xds::tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use weft_proto::xds::tls::downstream_tls_context::SessionTicketKeysType;
use weft_proto::xds::tls::subject_alt_name_matcher::SanType;

use super::reader::{Reader, fields};
use super::tls_context;
use super::wire::{duration, flag, number, pack};
use crate::cluster::{UpstreamHttp, UpstreamTls};
use crate::listener::{DownstreamTls, MeshTls};
use crate::tls::{ClientContext, ServerContext};

const OWN_CERTIFICATE: &str = "default";
const TRUST_BUNDLE: &str = "ROOTCA";
const TLS_SOCKET: &str = "envoy.transport_sockets.tls";
const RAW_SOCKET: &str = "envoy.transport_sockets.raw_buffer";

pub(super) fn encode_plain() -> core::TransportSocket {
    core::TransportSocket {
        name: RAW_SOCKET.to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&RawBuffer {}))),
    }
}

fn socket<M: prost::Message + prost::Name>(context: &M) -> core::TransportSocket {
    core::TransportSocket {
        name: TLS_SOCKET.to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(context))),
    }
}

pub(super) fn encode_downstream(tls: &DownstreamTls) -> core::TransportSocket {
    match tls {
        DownstreamTls::Mesh(tls) => socket(&pb::DownstreamTlsContext {
            common_tls_context: Some(encode_common(&tls.application_protocols, Vec::new())),
            require_client_certificate: flag(tls.require_client_certificate),
            ..Default::default()
        }),
        DownstreamTls::Context(context) => socket(&pb::DownstreamTlsContext {
            common_tls_context: Some(tls_context::encode(&context.tls)),
            require_client_certificate: flag(context.require_client_certificate),
            disable_stateful_session_resumption: !context.resumption,
            session_ticket_keys_type: (!context.resumption)
                .then_some(SessionTicketKeysType::DisableStatelessSessionResumption(true)),
            ..Default::default()
        }),
    }
}

/// A client's TLS with certificates of the user's own.
pub(super) fn encode_client(context: &ClientContext) -> core::TransportSocket {
    socket(&pb::UpstreamTlsContext {
        common_tls_context: Some(tls_context::encode(&context.tls)),
        sni: context.sni.to_string(),
        max_session_keys: if context.resumption { None } else { number(0) },
        ..Default::default()
    })
}

/// ALPN says that a sidecar speaks, and, where it is known, which protocol is inside.
pub(super) fn encode_upstream(tls: &UpstreamTls, http: UpstreamHttp) -> core::TransportSocket {
    let protocols: &[&str] = match http {
        UpstreamHttp::SameAsDownstream => &["istio-peer-exchange", "istio"],
        UpstreamHttp::Http1 => &["istio-http/1.1", "istio"],
        UpstreamHttp::Http2 => &["istio-h2", "istio"],
    };
    let protocols: Vec<Arc<str>> = protocols.iter().map(|protocol| Arc::from(*protocol)).collect();
    let names = tls.identities.iter().map(|identity| pb::SubjectAltNameMatcher {
        san_type: SanType::Uri as i32,
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(identity.to_string())),
            ..Default::default()
        }),
        ..Default::default()
    });
    socket(&pb::UpstreamTlsContext {
        common_tls_context: Some(encode_common(&protocols, names.collect())),
        sni: tls.sni.to_string(),
        ..Default::default()
    })
}

fn encode_common(protocols: &[Arc<str>], names: Vec<pb::SubjectAltNameMatcher>) -> pb::CommonTlsContext {
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(pb::CertificateValidationContext {
            match_typed_subject_alt_names: names,
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret(TRUST_BUNDLE)),
        ..Default::default()
    };
    pb::CommonTlsContext {
        tls_params: Some(pb::TlsParameters {
            tls_minimum_protocol_version: pb::tls_parameters::TlsProtocol::TlSv12 as i32,
            tls_maximum_protocol_version: pb::tls_parameters::TlsProtocol::TlSv13 as i32,
            ..Default::default()
        }),
        alpn_protocols: protocols.iter().map(ToString::to_string).collect(),
        tls_certificate_sds_secret_configs: vec![secret(OWN_CERTIFICATE)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

fn secret(name: &str) -> pb::SdsSecretConfig {
    let service = core::GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
            cluster_name: "sds-grpc".to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc as i32,
        transport_api_version: core::ApiVersion::V3 as i32,
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..Default::default()
    };
    pb::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(core::ConfigSource {
            initial_fetch_timeout: duration(Duration::ZERO),
            resource_api_version: core::ApiVersion::V3 as i32,
            config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(source)),
            ..Default::default()
        }),
    }
}

/// What a transport socket stands for.
pub(super) enum Socket<T> {
    Plain,
    Tls(T),
}

/// Unpacks a transport socket; `M` is the kind of TLS context that fits.
pub(super) fn unpack<M: prost::Message + prost::Name + Default>(
    reader: &mut Reader,
    socket: core::TransportSocket,
) -> Option<Socket<M>> {
    let Some(ConfigType::TypedConfig(any)) = socket.config_type else {
        return if socket.name == RAW_SOCKET { Some(Socket::Plain) } else { reader.missing("typed_config") };
    };
    reader.within("typed_config", |reader| {
        if any.type_url.ends_with(".RawBuffer") {
            return Some(Socket::Plain);
        }
        reader.unpack(&any).map(Socket::Tls)
    })
}

pub(super) fn decode_downstream(
    reader: &mut Reader,
    context: pb::DownstreamTlsContext,
) -> Option<DownstreamTls> {
    fields!(reader, context => pb::DownstreamTlsContext {
        common_tls_context, require_client_certificate, disable_stateful_session_resumption,
        session_ticket_keys_type;
        ignored: session_timeout, prefer_client_ciphers, full_scan_certs_on_sni_mismatch;
        refused: require_sni, ocsp_staple_policy
    });
    let require_client_certificate = require_client_certificate.is_some_and(|require| require.value);
    let Some(common) = common_tls_context else { return reader.missing("common_tls_context") };
    if !tls_context::is_own(&common, [OWN_CERTIFICATE, TRUST_BUNDLE]) {
        let common = reader.within("common_tls_context", |reader| decode_common(reader, common))?;
        let application_protocols = common.application_protocols;
        return Some(DownstreamTls::Mesh(MeshTls { require_client_certificate, application_protocols }));
    }
    let tls = reader.within("common_tls_context", |reader| {
        let tls = tls_context::decode(reader, common)?;
        if tls.certificates.is_empty() {
            return reader.missing("tls_certificates");
        }
        let trusts = tls.validation.as_ref().is_some_and(|validation| !validation.trusted.is_empty());
        if require_client_certificate && !trusts {
            let message = "is missing, so that any certificate of a client would do";
            return reader.refuse_at("validation_context.trusted_ca", message);
        }
        Some(tls)
    })?;
    let stateless =
        session_ticket_keys_type != Some(SessionTicketKeysType::DisableStatelessSessionResumption(true));
    let resumption = stateless || !disable_stateful_session_resumption;
    Some(DownstreamTls::Context(Arc::new(ServerContext { tls, require_client_certificate, resumption })))
}

/// How a client speaks TLS.
pub(super) enum Client {
    Mesh(UpstreamTls),
    Context(ClientContext),
}

pub(super) fn decode_upstream(reader: &mut Reader, context: pb::UpstreamTlsContext) -> Option<Client> {
    fields!(reader, context => pb::UpstreamTlsContext {
        common_tls_context, sni, max_session_keys;
        ignored: allow_renegotiation, enforce_rsa_key_usage;
        refused: auto_host_sni, auto_sni_san_validation
    });
    let common = common_tls_context.unwrap_or_default();
    reader.within("common_tls_context", |reader| {
        if !tls_context::is_own(&common, [OWN_CERTIFICATE, TRUST_BUNDLE]) {
            let common = decode_common(reader, common)?;
            return Some(Client::Mesh(UpstreamTls { identities: common.identities.into(), sni: sni.into() }));
        }
        let tls = tls_context::decode(reader, common)?;
        if tls.validation.as_ref().is_none_or(|validation| validation.trusted.is_empty()) {
            reader.note("has no trusted_ca: any server is believed");
        }
        let resumption = max_session_keys.is_none_or(|most| most.value > 0);
        Some(Client::Context(ClientContext { tls, sni: sni.into(), resumption }))
    })
}

struct Common {
    application_protocols: Vec<Arc<str>>,
    identities: Vec<Arc<str>>,
}

fn decode_common(reader: &mut Reader, common: pb::CommonTlsContext) -> Option<Common> {
    // Which versions and ciphers are spoken is the proxy's own choice, and never weaker.
    fields!(reader, common => pb::CommonTlsContext {
        tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type;
        ignored: tls_params, key_log;
        refused: tls_certificates, tls_certificate_provider_instance, custom_tls_certificate_selector,
            tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance, custom_handshaker
    });
    if tls_certificate_sds_secret_configs.is_empty() {
        reader.missing::<()>("tls_certificate_sds_secret_configs");
    }
    reader.each(
        "tls_certificate_sds_secret_configs",
        tls_certificate_sds_secret_configs,
        |reader, secret| named(reader, &secret, OWN_CERTIFICATE),
    );
    let identities = match validation_context_type {
        None => Vec::new(),
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
            reader.within("validation_context_sds_secret_config", |reader| {
                named(reader, &secret, TRUST_BUNDLE)
            });
            Vec::new()
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            reader.within("combined_validation_context", |reader| decode_validation(reader, combined))
        }
        Some(_) => {
            let message = "is not supported: peers are verified by the SDS secret `ROOTCA`";
            reader.refuse_at::<()>("validation_context_type", message);
            Vec::new()
        }
    };
    let application_protocols = alpn_protocols.into_iter().map(Into::into).collect();
    Some(Common { application_protocols, identities })
}

fn named(reader: &mut Reader, secret: &pb::SdsSecretConfig, name: &str) -> Option<()> {
    if secret.name == name {
        return Some(());
    }
    let message = format!("`{}` is not supported: only `{name}`, the proxy's own", secret.name);
    reader.refuse_at("name", message)
}

fn decode_validation(reader: &mut Reader, combined: CombinedCertificateValidationContext) -> Vec<Arc<str>> {
    fields!(reader, combined => CombinedCertificateValidationContext {
        default_validation_context, validation_context_sds_secret_config;
        refused: validation_context_certificate_provider, validation_context_certificate_provider_instance
    });
    reader.required(
        "validation_context_sds_secret_config",
        validation_context_sds_secret_config,
        |reader, secret| named(reader, &secret, TRUST_BUNDLE),
    );
    let Some(context) = default_validation_context else { return Vec::new() };
    reader.within("default_validation_context", |reader| {
        fields!(reader, context => pb::CertificateValidationContext {
            match_typed_subject_alt_names, match_subject_alt_names;
            ignored: suppress_client_ca_list, max_verify_depth;
            refused: trusted_ca, ca_certificate_provider_instance, system_root_certs, watched_directory,
                verify_certificate_spki, verify_certificate_hash, require_signed_certificate_timestamp, crl,
                allow_expired_certificate, trust_chain_verification, custom_validator_config,
                only_verify_leaf_cert_crl
        });
        let typed = match_typed_subject_alt_names.into_iter().filter_map(|name| name.matcher);
        let mut identities = reader.each("match_typed_subject_alt_names", typed, decode_name);
        identities.extend(reader.each("match_subject_alt_names", match_subject_alt_names, decode_name));
        identities.into_iter().flatten().collect()
    })
}

/// An identity; none for "all of a trust domain", which holds anyway.
fn decode_name(reader: &mut Reader, name: StringMatcher) -> Option<Option<Arc<str>>> {
    match name.match_pattern {
        Some(MatchPattern::Exact(identity)) if identity.starts_with("spiffe://") => {
            Some(Some(identity.into()))
        }
        Some(MatchPattern::Exact(name)) => reader.refuse(format!("`{name}` is no SPIFFE identity")),
        Some(MatchPattern::Prefix(prefix)) if is_trust_domain(&prefix) => Some(None),
        _ => reader.refuse("is not supported: only exact SPIFFE identities, or the prefix of a trust domain"),
    }
}

/// `spiffe://DOMAIN/`
fn is_trust_domain(prefix: &str) -> bool {
    prefix
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.strip_suffix('/'))
        .is_some_and(|domain| !domain.is_empty() && !domain.contains('/'))
}
