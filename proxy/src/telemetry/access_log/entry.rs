//! What a line can tell: a request or a connection, by one interface.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderName, Version};

use crate::error::ResponseFlags;
use crate::telemetry::labels;
use crate::telemetry::record::{ConnectionRecord, RequestRecord, TcpRecord, UpstreamRecord};

use weft_model::format::{GrpcForm, Header, Operator, Part};
use weft_model::identity::WorkloadIdentity;
use weft_model::provenance::Provenance;

const X_ENVOY_UPSTREAM_SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is logged.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A request and its response.
    Request(&'a RequestRecord<'a>, Option<&'a WorkloadIdentity>),
    /// A connection that was passed on byte by byte.
    Tcp(&'a TcpRecord<'a>, Option<&'a WorkloadIdentity>),
}

/// What an operator stands for in one line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// `-`, or null.
    None,
    /// From outside: may be anything.
    Bytes(&'a [u8]),
    Number(u64),
    Address(SocketAddr, Part),
    Time(SystemTime),
    Flags(ResponseFlags),
    Identity(&'a WorkloadIdentity),
    Provenance(&'a [Provenance]),
    /// 32 hexadecimal digits.
    Trace(u128),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        if text.is_empty() { Self::None } else { Self::Bytes(text.as_bytes()) }
    }
}

impl<'a> Entry<'a> {
    fn connection(&self) -> &'a ConnectionRecord {
        match self {
            Self::Request(record, _) => record.connection,
            Self::Tcp(record, _) => record.connection,
        }
    }

    fn upstream(&self) -> Option<&'a UpstreamRecord> {
        match self {
            Self::Request(record, _) => record.upstream,
            Self::Tcp(record, _) => record.upstream,
        }
    }

    fn request(&self) -> Option<&'a RequestRecord<'a>> {
        match self {
            Self::Request(record, _) => Some(record),
            Self::Tcp(..) => None,
        }
    }

    fn own(&self) -> Option<&'a WorkloadIdentity> {
        match self {
            Self::Request(_, own) | Self::Tcp(_, own) => *own,
        }
    }

    fn duration(&self) -> Duration {
        match self {
            Self::Request(record, _) => record.duration,
            Self::Tcp(record, _) => record.duration,
        }
    }

    pub(super) fn started_at(&self) -> SystemTime {
        match self {
            Self::Request(record, _) => record.started_at,
            Self::Tcp(record, _) => record.started_at,
        }
    }

    fn bytes(&self) -> (u64, u64) {
        match self {
            Self::Request(record, _) => (record.bytes_received, record.bytes_sent),
            Self::Tcp(record, _) => (record.bytes_received, record.bytes_sent),
        }
    }

    fn flags(&self) -> ResponseFlags {
        match self {
            Self::Request(record, _) => record.flags,
            Self::Tcp(record, _) => record.flags,
        }
    }

    fn status(&self) -> u64 {
        let status = self.request().and_then(|record| record.status);
        status.map_or(0, |status| u64::from(status.as_u16()))
    }

    pub(super) fn value(&self, operator: &'a Operator) -> Value<'a> {
        match operator {
            Operator::StartTime(_) => Value::Time(self.started_at()),
            Operator::BytesReceived => Value::Number(self.bytes().0),
            Operator::BytesSent => Value::Number(self.bytes().1),
            Operator::Duration => Value::Number(self.duration().as_millis() as u64),
            Operator::ResponseFlags => Value::Flags(self.flags()),
            Operator::DownstreamRemoteAddress(part) => Value::Address(self.connection().remote, *part),
            Operator::DownstreamDirectRemoteAddress(part) => {
                Value::Address(self.connection().direct_remote, *part)
            }
            Operator::DownstreamLocalAddress(part) => Value::Address(self.connection().local, *part),
            Operator::RequestedServerName => {
                self.connection().server_name.as_deref().unwrap_or_default().into()
            }
            Operator::DownstreamPeerUriSan => identity(self.connection().peer_identity.as_deref()),
            Operator::DownstreamLocalUriSan => {
                identity(self.own().filter(|_| self.connection().peer_identity.is_some()))
            }
            Operator::ConnectionTerminationDetails => match self {
                Self::Tcp(record, _) => record.details.into(),
                Self::Request(..) => Value::None,
            },
            Operator::Hostname => hostname().into(),
            Operator::Environment(value) => (&**value).into(),
            // Envoy writes 0 for connections, too.
            Operator::ResponseCode => Value::Number(self.status()),
            Operator::UpstreamHost(_)
            | Operator::UpstreamLocalAddress(_)
            | Operator::UpstreamCluster
            | Operator::UpstreamRequestAttemptCount
            | Operator::UpstreamPeerUriSan
            | Operator::UpstreamLocalUriSan => self.upstream_value(operator),
            _ => self.request().map_or(Value::None, |record| request_value(record, operator)),
        }
    }

    fn upstream_value(&self, operator: &Operator) -> Value<'a> {
        let Some(upstream) = self.upstream() else {
            return match (operator, self.request()) {
                (Operator::UpstreamCluster, Some(record)) => record.cluster.into(),
                (Operator::UpstreamRequestAttemptCount, _) => Value::Number(0),
                _ => Value::None,
            };
        };
        match operator {
            Operator::UpstreamHost(part) => Value::Address(upstream.address, *part),
            Operator::UpstreamLocalAddress(part) => {
                upstream.local.map_or(Value::None, |local| Value::Address(local, *part))
            }
            Operator::UpstreamCluster => Value::from(&*upstream.cluster),
            Operator::UpstreamRequestAttemptCount => Value::Number(u64::from(upstream.attempts)),
            Operator::UpstreamPeerUriSan => identity(upstream.identity.as_deref()),
            Operator::UpstreamLocalUriSan => identity(self.own().filter(|_| upstream.identity.is_some())),
            _ => Value::None,
        }
    }
}

/// Name of this machine; asked for once.
fn hostname() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| {
        nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
    })
}

fn identity(identity: Option<&WorkloadIdentity>) -> Value<'_> {
    identity.map_or(Value::None, Value::Identity)
}

fn request_value<'a>(record: &'a RequestRecord<'a>, operator: &'a Operator) -> Value<'a> {
    match operator {
        Operator::Request(first, second) => {
            let found = request_header(record, first);
            match (found, second) {
                (Value::None, Some(second)) => request_header(record, second),
                (found, _) => found,
            }
        }
        Operator::Response(first, second) => {
            let found = response_header(record, first);
            match (found, second) {
                (Value::None, Some(second)) => response_header(record, second),
                (found, _) => found,
            }
        }
        Operator::Protocol => match record.protocol {
            Version::HTTP_09 => "HTTP/0.9".into(),
            Version::HTTP_10 => "HTTP/1.0".into(),
            Version::HTTP_2 => "HTTP/2".into(),
            Version::HTTP_3 => "HTTP/3".into(),
            _ => "HTTP/1.1".into(),
        },
        Operator::ResponseCodeDetails => record.details.into(),
        Operator::UpstreamTransportFailureReason => record.transport_failure.into(),
        Operator::RouteName => record.route.into(),
        Operator::GrpcStatus(form) => grpc(record, *form),
        Operator::TraceId => record.span.map_or(Value::None, |span| Value::Trace(span.trace)),
        Operator::Provenance if !record.provenance.is_empty() => Value::Provenance(record.provenance),
        _ => Value::None,
    }
}

fn request_header<'a>(record: &'a RequestRecord<'a>, header: &Header) -> Value<'a> {
    match header {
        Header::Method => record.method.as_str().into(),
        Header::Path => record.path.into(),
        Header::Authority => record.authority.into(),
        Header::Scheme => match record.request_headers.get(X_FORWARDED_PROTO) {
            Some(scheme) => Value::Bytes(scheme.as_bytes()),
            None if record.connection.peer_identity.is_some() => "https".into(),
            None => "http".into(),
        },
        Header::Status => Value::None,
        Header::Named(name) => match record.request_headers.get(name) {
            Some(value) => Value::Bytes(value.as_bytes()),
            None => Value::None,
        },
    }
}

fn response_header<'a>(record: &'a RequestRecord<'a>, header: &Header) -> Value<'a> {
    match header {
        Header::Status => {
            record.status.map_or(Value::None, |status| Value::Number(u64::from(status.as_u16())))
        }
        Header::Named(name) => match record.response_headers.get(name) {
            Some(value) => Value::Bytes(value.as_bytes()),
            // Known even where the header was removed on the way to the client.
            None if *name == X_ENVOY_UPSTREAM_SERVICE_TIME => {
                let time = record.upstream.and_then(|upstream| upstream.service_time);
                time.map_or(Value::None, |time| Value::Number(time.as_millis() as u64))
            }
            None => Value::None,
        },
        _ => Value::None,
    }
}

/// Names of gRPC's status codes, as Envoy writes them.
const GRPC_CAMEL: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const GRPC_SNAKE: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn grpc<'a>(record: &RequestRecord<'_>, form: GrpcForm) -> Value<'a> {
    let Some(status) = labels::grpc_status(record) else { return Value::None };
    let name =
        |names: &'static [&'static str; 17]| names.get(usize::from(status)).copied().unwrap_or_default();
    match form {
        GrpcForm::Camel => name(&GRPC_CAMEL).into(),
        GrpcForm::Snake => name(&GRPC_SNAKE).into(),
        GrpcForm::Number => Value::Number(u64::from(status)),
    }
}
