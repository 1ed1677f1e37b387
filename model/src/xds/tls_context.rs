//! TLS with certificates of the user's own: files, texts, and secrets of a bootstrap or a file.

use weft_proto::xds::core::config_source::ConfigSourceSpecifier;
use weft_proto::xds::core::{self, data_source::Specifier};
use weft_proto::xds::tls as pb;
use weft_proto::xds::tls::common_tls_context::ValidationContextType;
use weft_proto::xds::tls::subject_alt_name_matcher::SanType;
use weft_proto::xds::tls::tls_parameters::TlsProtocol;

use super::reader::{Reader, fields};
use super::text;
use crate::bootstrap;
use crate::tls::{
    CertificateSource, DataSource, NameKind, NameMatch, SecretFile, TlsContext, TlsVersions, TrustSource,
    Validation,
};

/// Whether the certificates are the user's own: anything else than the names by which Istio's sidecars know their own.
pub(super) fn is_own(common: &pb::CommonTlsContext, mesh: [&str; 2]) -> bool {
    let mesh_secret = |secret: &pb::SdsSecretConfig| {
        mesh.contains(&secret.name.as_str())
            && secret.sds_config.as_ref().is_none_or(|source| file_of(source).is_none())
    };
    let secrets = &common.tls_certificate_sds_secret_configs;
    let of_mesh = secrets.iter().any(mesh_secret)
        || matches!(&common.validation_context_type, Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) if mesh_secret(secret));
    !of_mesh
}

pub(super) fn decode(reader: &mut Reader, common: pb::CommonTlsContext) -> Option<TlsContext> {
    fields!(reader, common => pb::CommonTlsContext {
        tls_params, tls_certificates, tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type;
        refused: tls_certificate_provider_instance, custom_tls_certificate_selector, key_log, custom_handshaker,
            tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance
    });
    let versions = reader.optional("tls_params", tls_params, decode_versions).unwrap_or_default();
    let mut certificates = reader.each("tls_certificates", tls_certificates, decode_certificate);
    certificates.extend(reader.each(
        "tls_certificate_sds_secret_configs",
        tls_certificate_sds_secret_configs,
        decode_certificate_secret,
    ));
    let validation = match validation_context_type {
        None => None,
        Some(ValidationContextType::ValidationContext(context)) => {
            reader.within("validation_context", |reader| decode_validation(reader, context))
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => reader
            .within("validation_context_sds_secret_config", |reader| {
                decode_validation_secret(reader, secret)
            }),
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            reader.within("combined_validation_context", |reader| decode_combined(reader, combined))
        }
        Some(_) => reader.refuse_at("validation_context_type", "is not supported"),
    };
    let application_protocols = alpn_protocols.into_iter().map(Into::into).collect();
    Some(TlsContext { certificates, validation, application_protocols, versions })
}

fn decode_versions(reader: &mut Reader, parameters: pb::TlsParameters) -> Option<TlsVersions> {
    fields!(reader, parameters => pb::TlsParameters {
        tls_minimum_protocol_version, tls_maximum_protocol_version;
        // What is weak is never spoken.
        ignored: cipher_suites, ecdh_curves, signature_algorithms, compliance_policies
    });
    use TlsProtocol as T;
    let least = TlsProtocol::try_from(tls_minimum_protocol_version).unwrap_or_default();
    let most = TlsProtocol::try_from(tls_maximum_protocol_version).unwrap_or_default();
    match (least, most) {
        (T::TlsAuto | T::TlSv10 | T::TlSv11 | T::TlSv12, T::TlsAuto | T::TlSv13) => Some(TlsVersions::Both),
        (T::TlsAuto | T::TlSv10 | T::TlSv11 | T::TlSv12, T::TlSv12) => Some(TlsVersions::Tls12),
        (T::TlSv13, T::TlsAuto | T::TlSv13) => Some(TlsVersions::Tls13),
        (T::TlSv13, T::TlSv12) => reader.refuse("asks for no version at all"),
        (_, T::TlSv10 | T::TlSv11) => {
            reader.refuse_at("tls_maximum_protocol_version", "is not spoken any more: 1.2 or 1.3 (RFC 8996)")
        }
    }
}

fn decode_certificate(reader: &mut Reader, certificate: pb::TlsCertificate) -> Option<CertificateSource> {
    fields!(reader, certificate => pb::TlsCertificate {
        certificate_chain, private_key;
        ignored: watched_directory, ocsp_staple, signed_certificate_timestamp;
        refused: pkcs12, private_key_provider, password, tls_params
    });
    let chain = reader.required("certificate_chain", certificate_chain, decode_data);
    let key = reader.required("private_key", private_key, decode_data);
    Some(CertificateSource::Pem { chain: chain?, key: key? })
}

fn decode_certificate_secret(reader: &mut Reader, secret: pb::SdsSecretConfig) -> Option<CertificateSource> {
    match decode_secret(reader, secret)? {
        Secret::File(file) => Some(CertificateSource::Secret(file)),
        Secret::Static(found) => match *found {
            pb::secret::Type::TlsCertificate(certificate) => decode_certificate(reader, certificate),
            _ => reader.refuse_at("name", "is not the name of a certificate"),
        },
    }
}

fn decode_validation_secret(reader: &mut Reader, secret: pb::SdsSecretConfig) -> Option<Validation> {
    match decode_secret(reader, secret)? {
        Secret::File(file) => {
            Some(Validation { trusted: vec![TrustSource::Secret(file)], names: Vec::new() })
        }
        Secret::Static(found) => match *found {
            pb::secret::Type::ValidationContext(context) => decode_validation(reader, context),
            _ => reader.refuse_at("name", "is not the name of a validation context"),
        },
    }
}

enum Secret {
    File(SecretFile),
    Static(Box<pb::secret::Type>),
}

fn decode_secret(reader: &mut Reader, secret: pb::SdsSecretConfig) -> Option<Secret> {
    let pb::SdsSecretConfig { name, sds_config } = secret;
    let Some(source) = sds_config else {
        return match reader.secret(&name) {
            Some(found) => Some(Secret::Static(Box::new(found))),
            None => reader.refuse_at("name", format!("there is no static secret `{name}`")),
        };
    };
    match file_of(&source) {
        Some(path) => Some(Secret::File(SecretFile { name: name.into(), path: path.into() })),
        None => reader.refuse_at(
            "sds_config",
            "is not supported: secrets come from a file, or are the sidecar's own, `default` and `ROOTCA`",
        ),
    }
}

fn file_of(source: &core::ConfigSource) -> Option<&str> {
    match source.config_source_specifier.as_ref()? {
        ConfigSourceSpecifier::Path(path) => Some(path),
        ConfigSourceSpecifier::PathConfigSource(file) => Some(&file.path),
        _ => None,
    }
}

fn decode_combined(
    reader: &mut Reader,
    combined: pb::common_tls_context::CombinedCertificateValidationContext,
) -> Option<Validation> {
    fields!(reader, combined => pb::common_tls_context::CombinedCertificateValidationContext {
        default_validation_context, validation_context_sds_secret_config;
        refused: validation_context_certificate_provider, validation_context_certificate_provider_instance
    });
    let named = reader.required(
        "validation_context_sds_secret_config",
        validation_context_sds_secret_config,
        decode_validation_secret,
    );
    let default =
        reader.optional("default_validation_context", default_validation_context, decode_validation);
    let (named, default) = (named?, default.unwrap_or_default());
    Some(Validation {
        trusted: if named.trusted.is_empty() { default.trusted } else { named.trusted },
        names: default.names.into_iter().chain(named.names).collect(),
    })
}

fn decode_validation(reader: &mut Reader, context: pb::CertificateValidationContext) -> Option<Validation> {
    use pb::certificate_validation_context::TrustChainVerification as Chain;
    fields!(reader, context => pb::CertificateValidationContext {
        trusted_ca, match_typed_subject_alt_names, match_subject_alt_names, trust_chain_verification;
        ignored: suppress_client_ca_list, max_verify_depth, watched_directory;
        refused: ca_certificate_provider_instance, system_root_certs, verify_certificate_spki,
            verify_certificate_hash, require_signed_certificate_timestamp, crl, allow_expired_certificate,
            custom_validator_config, only_verify_leaf_cert_crl
    });
    let trusted = reader.optional("trusted_ca", trusted_ca, decode_data);
    let trusted: Vec<TrustSource> = match Chain::try_from(trust_chain_verification) {
        Ok(Chain::AcceptUntrusted) => Vec::new(),
        _ => trusted.map(TrustSource::Pem).into_iter().collect(),
    };
    let mut names = reader.each("match_typed_subject_alt_names", match_typed_subject_alt_names, decode_name);
    let any = reader.each("match_subject_alt_names", match_subject_alt_names, |reader, matcher| {
        Some(NameMatch { kind: NameKind::Any, value: text::decode(reader, matcher)? })
    });
    names.extend(any);
    if trusted.is_empty() && !names.is_empty() {
        return reader.refuse("asks for names, which anyone may claim without a trusted_ca");
    }
    Some(Validation { trusted, names })
}

fn decode_name(reader: &mut Reader, name: pb::SubjectAltNameMatcher) -> Option<NameMatch> {
    fields!(reader, name => pb::SubjectAltNameMatcher { san_type, matcher; refused: oid });
    let kind = match SanType::try_from(san_type) {
        Ok(SanType::Dns) => Some(NameKind::Dns),
        Ok(SanType::Uri) => Some(NameKind::Uri),
        Ok(SanType::Email) => Some(NameKind::Email),
        Ok(SanType::IpAddress) => Some(NameKind::Ip),
        _ => reader.refuse_at("san_type", "is not supported: DNS, URI, EMAIL, IP_ADDRESS"),
    };
    let value = reader.required("matcher", matcher, text::decode);
    Some(NameMatch { kind: kind?, value: value? })
}

pub(super) fn decode_data(reader: &mut Reader, data: core::DataSource) -> Option<DataSource> {
    let core::DataSource { watched_directory, specifier } = data;
    if watched_directory.is_some() {
        reader.has_no_effect("watched_directory");
    }
    match specifier {
        Some(Specifier::Filename(path)) => Some(DataSource::File(path.into())),
        Some(Specifier::InlineString(text)) => Some(DataSource::Inline(text.into_bytes().into())),
        Some(Specifier::InlineBytes(bytes)) => Some(DataSource::Inline(bytes.into())),
        Some(Specifier::EnvironmentVariable(name)) => Some(DataSource::Environment(name.into())),
        None => reader.missing("filename"),
    }
}

pub(super) fn encode(context: &TlsContext) -> pb::CommonTlsContext {
    let (least, most) = match context.versions {
        TlsVersions::Both => (TlsProtocol::TlSv12, TlsProtocol::TlSv13),
        TlsVersions::Tls12 => (TlsProtocol::TlSv12, TlsProtocol::TlSv12),
        TlsVersions::Tls13 => (TlsProtocol::TlSv13, TlsProtocol::TlSv13),
    };
    let mut common = pb::CommonTlsContext {
        tls_params: Some(pb::TlsParameters {
            tls_minimum_protocol_version: least as i32,
            tls_maximum_protocol_version: most as i32,
            ..Default::default()
        }),
        alpn_protocols: context.application_protocols.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    for certificate in &context.certificates {
        match certificate {
            CertificateSource::Pem { chain, key } => common.tls_certificates.push(pb::TlsCertificate {
                certificate_chain: Some(encode_data(chain)),
                private_key: Some(encode_data(key)),
                ..Default::default()
            }),
            CertificateSource::Secret(file) => {
                common.tls_certificate_sds_secret_configs.push(encode_secret(file));
            }
        }
    }
    common.validation_context_type = context.validation.as_ref().map(encode_validation);
    common
}

fn encode_validation(validation: &Validation) -> ValidationContextType {
    let name = |name: &NameMatch| match name.kind {
        NameKind::Any => None,
        kind => Some(pb::SubjectAltNameMatcher {
            san_type: match kind {
                NameKind::Any | NameKind::Dns => SanType::Dns,
                NameKind::Uri => SanType::Uri,
                NameKind::Email => SanType::Email,
                NameKind::Ip => SanType::IpAddress,
            } as i32,
            matcher: Some(text::encode(&name.value)),
            ..Default::default()
        }),
    };
    let any = validation.names.iter().filter(|name| name.kind == NameKind::Any);
    let mut context = pb::CertificateValidationContext {
        match_typed_subject_alt_names: validation.names.iter().filter_map(name).collect(),
        match_subject_alt_names: any.map(|name| text::encode(&name.value)).collect(),
        ..Default::default()
    };
    for trusted in &validation.trusted {
        match trusted {
            TrustSource::Pem(data) => context.trusted_ca = Some(encode_data(data)),
            TrustSource::Secret(file) => {
                return ValidationContextType::CombinedValidationContext(
                    pb::common_tls_context::CombinedCertificateValidationContext {
                        default_validation_context: Some(context),
                        validation_context_sds_secret_config: Some(encode_secret(file)),
                        ..Default::default()
                    },
                );
            }
        }
    }
    ValidationContextType::ValidationContext(context)
}

fn encode_secret(file: &SecretFile) -> pb::SdsSecretConfig {
    let path = core::PathConfigSource { path: file.path.display().to_string(), ..Default::default() };
    pb::SdsSecretConfig {
        name: file.name.to_string(),
        sds_config: Some(core::ConfigSource {
            resource_api_version: core::ApiVersion::V3 as i32,
            config_source_specifier: Some(ConfigSourceSpecifier::PathConfigSource(path)),
            ..Default::default()
        }),
    }
}

fn encode_data(data: &DataSource) -> core::DataSource {
    let specifier = match data {
        DataSource::File(path) => Specifier::Filename(path.display().to_string()),
        DataSource::Environment(name) => Specifier::EnvironmentVariable(name.to_string()),
        DataSource::Inline(bytes) => Specifier::InlineBytes(bytes.to_vec()),
    };
    core::DataSource { specifier: Some(specifier), ..Default::default() }
}

/// A secret of a bootstrap, by its name.
pub(super) type Secrets = std::collections::HashMap<String, pb::secret::Type>;

/// Takes in the secrets of a bootstrap.
pub(super) fn read_secrets(reader: &mut Reader, secrets: Vec<pb::Secret>) -> Secrets {
    let named = reader.each("secrets", secrets, |reader, secret| {
        let pb::Secret { name, r#type } = secret;
        let name = reader.text("name", name);
        match r#type {
            Some(kind) => Some((name?.to_string(), kind)),
            None => reader.missing("type"),
        }
    });
    named.into_iter().collect()
}

/// A secret of a file, by its name.
pub(super) fn decode_secret_of_file(
    reader: &mut Reader,
    secret: pb::Secret,
) -> Option<(String, bootstrap::Secret)> {
    let pb::Secret { name, r#type } = secret;
    let name = reader.text("name", name);
    let secret = match r#type {
        Some(pb::secret::Type::TlsCertificate(certificate)) => reader
            .within("tls_certificate", |reader| decode_certificate(reader, certificate))
            .map(bootstrap::Secret::Certificate),
        Some(pb::secret::Type::ValidationContext(context)) => reader
            .within("validation_context", |reader| decode_validation(reader, context))
            .map(bootstrap::Secret::Validation),
        Some(_) => reader.refuse("is neither a certificate nor a validation context"),
        None => reader.missing("tls_certificate"),
    };
    Some((name?.to_string(), secret?))
}
