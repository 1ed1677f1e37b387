//! Envoy's command operators
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators>).

use http::HeaderName;

/// One operator, checked.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the names are Envoy's")]
pub enum Operator {
    /// With a format of strftime, if any.
    StartTime(Option<Box<str>>),
    /// A header of the request, or the second where there is no first.
    Request(Header, Option<Header>),
    /// A header of the response, or the second where there is no first.
    Response(Header, Option<Header>),
    /// Name of this machine.
    Hostname,
    /// A variable of this process's environment, read when the template is parsed.
    Environment(Box<str>),
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    ConnectionTerminationDetails,
    UpstreamTransportFailureReason,
    BytesReceived,
    BytesSent,
    Duration,
    UpstreamHost(Part),
    UpstreamLocalAddress(Part),
    UpstreamCluster,
    UpstreamRequestAttemptCount,
    UpstreamPeerUriSan,
    UpstreamLocalUriSan,
    DownstreamLocalAddress(Part),
    DownstreamRemoteAddress(Part),
    DownstreamDirectRemoteAddress(Part),
    DownstreamPeerUriSan,
    DownstreamLocalUriSan,
    RequestedServerName,
    RouteName,
    GrpcStatus(GrpcForm),
    TraceId,
    /// Ours: object, generation and field that led to the route.
    Provenance,
}

/// What `%REQ(…)%` and `%RESP(…)%` name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Header {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    Named(HeaderName),
}

/// Which part of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Part {
    Whole,
    Host,
    Port,
}

/// How a gRPC status is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are Envoy's")]
pub enum GrpcForm {
    Camel,
    Snake,
    Number,
}

impl Operator {
    /// `name` and `argument` of `%NAME(ARGUMENT)%`. The error is a sentence without a position.
    ///
    /// # Errors
    /// It is not known or misused.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        match (name, argument) {
            ("START_TIME", argument) => start_time(argument),
            ("REQ", Some(argument)) => headers(argument).map(|(first, second)| Self::Request(first, second)),
            ("RESP", Some(argument)) => {
                headers(argument).map(|(first, second)| Self::Response(first, second))
            }
            ("REQ" | "RESP", None) => {
                Err(format!("%{name}% needs the name of a header, such as %{name}(X-NAME)%"))
            }
            ("ENVIRONMENT", Some(name)) => {
                Ok(Self::Environment(std::env::var(name).unwrap_or_default().into()))
            }
            ("GRPC_STATUS", argument) => match argument {
                None | Some("CAMEL_STRING") => Ok(Self::GrpcStatus(GrpcForm::Camel)),
                Some("SNAKE_STRING") => Ok(Self::GrpcStatus(GrpcForm::Snake)),
                Some("NUMBER") => Ok(Self::GrpcStatus(GrpcForm::Number)),
                Some(other) => Err(format!("`{other}` is none of CAMEL_STRING, SNAKE_STRING, NUMBER")),
            },
            (name, Some(argument)) if Self::plain(name).is_some() => {
                Err(format!("%{name}% takes no argument, but has `{argument}`"))
            }
            (name, _) => Self::plain(name).ok_or_else(|| unknown(name)),
        }
    }

    fn plain(name: &str) -> Option<Self> {
        use Part::{Host, Port, Whole};
        Some(match name {
            "HOSTNAME" => Self::Hostname,
            "PROTOCOL" => Self::Protocol,
            "RESPONSE_CODE" => Self::ResponseCode,
            "RESPONSE_CODE_DETAILS" => Self::ResponseCodeDetails,
            "RESPONSE_FLAGS" => Self::ResponseFlags,
            "CONNECTION_TERMINATION_DETAILS" => Self::ConnectionTerminationDetails,
            "UPSTREAM_TRANSPORT_FAILURE_REASON" => Self::UpstreamTransportFailureReason,
            "BYTES_RECEIVED" => Self::BytesReceived,
            "BYTES_SENT" => Self::BytesSent,
            "DURATION" => Self::Duration,
            "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Self::UpstreamHost(Whole),
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Self::UpstreamHost(Host),
            "UPSTREAM_REMOTE_PORT" => Self::UpstreamHost(Port),
            "UPSTREAM_LOCAL_ADDRESS" => Self::UpstreamLocalAddress(Whole),
            "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Self::UpstreamLocalAddress(Host),
            "UPSTREAM_LOCAL_PORT" => Self::UpstreamLocalAddress(Port),
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Self::UpstreamCluster,
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Self::UpstreamRequestAttemptCount,
            "UPSTREAM_PEER_URI_SAN" => Self::UpstreamPeerUriSan,
            "UPSTREAM_LOCAL_URI_SAN" => Self::UpstreamLocalUriSan,
            "DOWNSTREAM_LOCAL_ADDRESS" => Self::DownstreamLocalAddress(Whole),
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Self::DownstreamLocalAddress(Host),
            "DOWNSTREAM_LOCAL_PORT" => Self::DownstreamLocalAddress(Port),
            "DOWNSTREAM_REMOTE_ADDRESS" => Self::DownstreamRemoteAddress(Whole),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Self::DownstreamRemoteAddress(Host),
            "DOWNSTREAM_REMOTE_PORT" => Self::DownstreamRemoteAddress(Port),
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Self::DownstreamDirectRemoteAddress(Whole),
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Self::DownstreamDirectRemoteAddress(Host),
            "DOWNSTREAM_DIRECT_REMOTE_PORT" => Self::DownstreamDirectRemoteAddress(Port),
            "DOWNSTREAM_PEER_URI_SAN" => Self::DownstreamPeerUriSan,
            "DOWNSTREAM_LOCAL_URI_SAN" => Self::DownstreamLocalUriSan,
            "REQUESTED_SERVER_NAME" => Self::RequestedServerName,
            "ROUTE_NAME" => Self::RouteName,
            "GRPC_STATUS_NUMBER" => Self::GrpcStatus(GrpcForm::Number),
            "TRACE_ID" => Self::TraceId,
            "WEFT_PROVENANCE" => Self::Provenance,
            _ => return None,
        })
    }
}

fn unknown(name: &str) -> String {
    match name {
        "TRAILER" => "%TRAILER% is not supported: of trailers only %GRPC_STATUS% is known".to_owned(),
        "" => "`%` begins an operator: write `%%` for a percent sign".to_owned(),
        _ => format!("unknown operator %{name}%"),
    }
}

fn start_time(argument: Option<&str>) -> Result<Operator, String> {
    let Some(format) = argument else { return Ok(Operator::StartTime(None)) };
    match jiff::fmt::strtime::format(format, &jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC)) {
        Ok(_) => Ok(Operator::StartTime(Some(format.into()))),
        Err(error) => Err(format!("`{format}` is no format of a time: {error}")),
    }
}

/// `X?Y`: Y where there is no X.
fn headers(argument: &str) -> Result<(Header, Option<Header>), String> {
    match argument.split_once('?') {
        None => Ok((header(argument)?, None)),
        Some((first, second)) => Ok((header(first)?, Some(header(second)?))),
    }
}

fn header(name: &str) -> Result<Header, String> {
    let lower = name.to_ascii_lowercase();
    Ok(match &*lower {
        ":method" => Header::Method,
        ":path" => Header::Path,
        ":authority" => Header::Authority,
        ":scheme" => Header::Scheme,
        ":status" => Header::Status,
        name => Header::Named(
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is no name of a header"))?,
        ),
    })
}

impl Operator {
    /// The strftime format of `%START_TIME(FORMAT)%`.
    #[must_use]
    pub fn time_format(&self) -> Option<&str> {
        match self {
            Self::StartTime(format) => format.as_deref(),
            _ => None,
        }
    }
}
