//! Asks a service whether a request is allowed, over gRPC or HTTP. Nothing of the answer or the request's credentials is
//! logged.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use weft_model::filter::ext_authz::{AuthzService, CheckSettings, ExtAuthz, GrpcCall, HttpAuthz};
use weft_model::matcher::StringMatch;
use weft_model::policy::{AppendAction, HeaderChange, HeaderMutations, HeaderText};
use weft_proto::xds::auth_service::{
    AttributeContext, CheckRequest, CheckResponse, attribute_context, check_response::HttpResponse,
};
use weft_proto::xds::core::{self, header_value_option::HeaderAppendAction};
use weft_proto::xds::protobuf::Timestamp;

use super::call::{self, CallError};
use super::chain::{After, Passage};
use super::{buffer, rewrite};
use crate::body::Body;
use crate::error::ResponseFlag;
use crate::http::context::facts;
use crate::http::reply;
use crate::http1;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const FAILURE_MODE_ALLOWED: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");

/// What the service says.
enum Verdict {
    Allowed {
        /// Changes to the request.
        request: HeaderMutations,
        /// Changes to the response.
        response: HeaderMutations,
        /// Query parameters to take away, and to give a value.
        query: (Vec<String>, Vec<(String, String)>),
    },
    Denied(Box<Response<Body>>),
}

pub(super) async fn decide(
    authz: &ExtAuthz,
    here: Option<&CheckSettings>,
    passage: &mut Passage<'_>,
) -> Option<Response<Body>> {
    if !authz.enabled.includes(fastrand::u32(..)) {
        return None;
    }
    let settings = here.and_then(|here| here.body).or(authz.body);
    let settings = settings.filter(|_| !here.is_some_and(|here| here.disable_request_body_buffering));
    let mut body = Bytes::new();
    if let Some(settings) = settings {
        let most = usize::try_from(settings.max_request_bytes).unwrap_or(usize::MAX);
        match buffer::read(passage.request.body_mut(), most).await {
            Ok(read) if read.whole || settings.allow_partial_message => body = read.bytes,
            Ok(_) => return Some(buffer::too_large(passage)),
            Err(_) => return Some(buffer::broken(passage)),
        }
    }
    let verdict = match &authz.service {
        AuthzService::Grpc(grpc) => {
            let packed = settings.is_some_and(|settings| settings.pack_as_bytes);
            ask_grpc(authz, grpc, here, passage, body, packed).await
        }
        AuthzService::Http(http) => ask_http(authz, http, passage, body).await,
    };
    match verdict {
        Ok(Verdict::Allowed { request, response, query }) => {
            super::headers::change_request(passage.context, &request, passage.request);
            change_query(passage.request, &query);
            if !response.is_empty() {
                passage.context.after.push(After::Headers(Box::new(response)));
            }
            None
        }
        Ok(Verdict::Denied(response)) => {
            passage.context.flags.insert(ResponseFlag::UnauthorizedExternalService);
            passage.context.details = "ext_authz_denied";
            Some(*response)
        }
        Err(error) if authz.failure_mode_allow => {
            tracing::debug!(%error, "let a request through: nobody said whether it is allowed");
            if authz.failure_mode_allow_header_add {
                passage.request.headers_mut().insert(FAILURE_MODE_ALLOWED, HeaderValue::from_static("true"));
            }
            None
        }
        Err(error) => {
            tracing::warn!(%error, "refused a request: nobody said whether it is allowed");
            passage.context.flags.insert(ResponseFlag::UnauthorizedExternalService);
            passage.context.details = "ext_authz_error";
            let status = StatusCode::from_u16(authz.status_on_error).unwrap_or(StatusCode::FORBIDDEN);
            Some(reply::of_status(status, "", passage.context.grpc))
        }
    }
}

async fn ask_grpc(
    authz: &ExtAuthz,
    grpc: &GrpcCall,
    here: Option<&CheckSettings>,
    passage: &Passage<'_>,
    body: Bytes,
    packed: bool,
) -> Result<Verdict, CallError> {
    let attributes = attributes(authz, here, passage, body, packed);
    let question = CheckRequest { attributes: Some(attributes) };
    let worker = passage.context.downstream.worker.clone();
    let answer: CheckResponse = call::unary(&worker, grpc, CHECK, &question).await?;
    let allowed = answer.status.as_ref().is_none_or(|status| status.code == 0);
    match answer.http_response {
        Some(HttpResponse::OkResponse(ok)) if allowed => {
            let remove = ok.headers_to_remove.iter().filter_map(|name| name.parse().ok()).collect();
            let set = ok.query_parameters_to_set.into_iter().map(|one| (one.key, one.value)).collect();
            Ok(Verdict::Allowed {
                request: HeaderMutations { remove, add: changes(ok.headers) },
                response: HeaderMutations { remove: Vec::new(), add: changes(ok.response_headers_to_add) },
                query: (ok.query_parameters_to_remove, set),
            })
        }
        _ if allowed => Ok(Verdict::Allowed {
            request: HeaderMutations::default(),
            response: HeaderMutations::default(),
            query: Default::default(),
        }),
        Some(HttpResponse::DeniedResponse(denied)) => {
            let status = denied.status.and_then(|status| u16::try_from(status.code).ok());
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            let status = status.filter(|status| status.as_u16() >= 200).unwrap_or(StatusCode::FORBIDDEN);
            let mut response = reply::of_status(status, &denied.body, passage.context.grpc);
            let headers = HeaderMutations { remove: Vec::new(), add: changes(denied.headers) };
            headers.apply(response.headers_mut(), |_, _| Vec::new());
            Ok(Verdict::Denied(Box::new(response)))
        }
        Some(HttpResponse::ErrorResponse(_)) => Err(CallError::Answer("the service says that it failed")),
        _ => Ok(Verdict::Denied(Box::new(reply::of_status(StatusCode::FORBIDDEN, "", passage.context.grpc)))),
    }
}

fn attributes(
    authz: &ExtAuthz,
    here: Option<&CheckSettings>,
    passage: &Passage<'_>,
    body: Bytes,
    packed: bool,
) -> AttributeContext {
    let downstream = &passage.context.downstream;
    let connection = downstream.record();
    let facts = facts(passage.request, downstream.scheme);
    let peer = |address, principal: Option<String>| {
        Some(attribute_context::Peer {
            address: Some(socket(address)),
            principal: principal.unwrap_or_default(),
            ..Default::default()
        })
    };
    let own = downstream.worker.shared.own_identity().filter(|_| connection.peer_identity.is_some());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = |name: &str| facts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (body, raw_body) = match packed {
        true => (String::new(), body.to_vec()),
        false => (String::from_utf8_lossy(&body).into_owned(), Vec::new()),
    };
    let http = attribute_context::HttpRequest {
        id: text("x-request-id").to_owned(),
        method: facts.method.to_owned(),
        headers: told(authz, &facts),
        path: facts.path_and_query.to_owned(),
        host: facts.authority.to_owned(),
        scheme: facts.scheme.to_owned(),
        size: text("content-length").parse().unwrap_or(-1),
        protocol: if passage.context.protocol() == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" }
            .to_owned(),
        body,
        raw_body,
        ..Default::default()
    };
    let time = Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    };
    let extensions = here.map(|here| here.context_extensions.clone().into_iter().collect());
    AttributeContext {
        source: peer(connection.remote, connection.peer_identity.as_ref().map(ToString::to_string)),
        destination: peer(connection.local, own.map(|own| own.to_string())),
        request: Some(attribute_context::Request { time: Some(time), http: Some(http) }),
        context_extensions: extensions.unwrap_or_default(),
        ..Default::default()
    }
}

/// The headers that the service sees, several of a name joined by commas, and HTTP/2's pseudo headers.
fn told(authz: &ExtAuthz, facts: &weft_model::matcher::RequestFacts<'_>) -> HashMap<String, String> {
    let pseudo = [
        (":method", facts.method),
        (":path", facts.path_and_query),
        (":authority", facts.authority),
        (":scheme", facts.scheme),
    ];
    let names = facts.headers.keys().filter(|name| **name != header::HOST && authz.tells(name.as_str()));
    let named = names.map(|name| {
        let values: Vec<_> = facts
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (name.to_string(), values.join(","))
    });
    let pseudo = pseudo.into_iter().filter(|(name, _)| authz.tells(name));
    pseudo.map(|(name, value)| (name.to_owned(), value.to_owned())).chain(named).collect()
}

fn socket(address: std::net::SocketAddr) -> core::Address {
    use core::{address, socket_address};
    let socket = core::SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(address.port().into())),
        ..Default::default()
    };
    core::Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// The service's header changes; what is no header is left out. Without a word about others they are replaced.
fn changes(options: Vec<core::HeaderValueOption>) -> Vec<HeaderChange> {
    let change = |option: core::HeaderValueOption| {
        let header = option.header?;
        let name: HeaderName = header.key.parse().ok()?;
        let bytes = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
        let value = HeaderValue::from_bytes(&bytes).ok()?;
        #[allow(deprecated, reason = "services still write it")]
        let append = option.append;
        let action = match (append, HeaderAppendAction::try_from(option.append_action)) {
            (Some(append), _) if append.value => AppendAction::AppendIfExistsOrAdd,
            (None, Ok(HeaderAppendAction::AddIfAbsent)) => AppendAction::AddIfAbsent,
            (None, Ok(HeaderAppendAction::OverwriteIfExists)) => AppendAction::OverwriteIfExists,
            _ => AppendAction::OverwriteIfExistsOrAdd,
        };
        Some(HeaderChange { name, value: HeaderText::Literal(value), action })
    };
    options.into_iter().filter_map(change).collect()
}

fn change_query(request: &mut Request<Body>, (remove, set): &(Vec<String>, Vec<(String, String)>)) {
    if remove.is_empty() && set.is_empty() {
        return;
    }
    let text = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let gone = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        pair.is_empty() || remove.iter().any(|one| one == name) || set.iter().any(|(one, _)| one == name)
    };
    let mut pairs: Vec<String> = query.split('&').filter(|pair| !gone(pair)).map(str::to_owned).collect();
    let encoded = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    pairs.extend(set.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))));
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    if let Ok(uri) = rewrite::with_path(request.uri(), &format!("{path}{query}")) {
        *request.uri_mut() = uri;
    }
}

async fn ask_http(
    authz: &ExtAuthz,
    http: &HttpAuthz,
    passage: &Passage<'_>,
    body: Bytes,
) -> Result<Verdict, CallError> {
    let original = &*passage.request;
    let mut request = Request::new(Body::full(body));
    *request.method_mut() = original.method().clone();
    *request.version_mut() = Version::HTTP_11;
    let path = original.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let path = PathAndQuery::try_from(format!("{}{path}", http.path_prefix));
    *request.uri_mut() = Uri::from(path.map_err(|_| CallError::Answer("the path with its prefix is none"))?);
    let asked = |name: &HeaderName| match &authz.allowed_headers {
        None => *name == header::AUTHORIZATION,
        Some(_) => *name == header::AUTHORIZATION || authz.tells(name.as_str()),
    };
    let framing = |name: &HeaderName| *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING;
    for (name, value) in original.headers().iter().filter(|(name, _)| asked(name) && !framing(name)) {
        request.headers_mut().append(name, value.clone());
    }
    let host = original.headers().get(header::HOST).unwrap_or(&http.authority).clone();
    request.headers_mut().insert(header::HOST, host);
    for (name, value) in &http.headers_to_add {
        request.headers_mut().insert(name, value.clone());
    }
    let worker = passage.context.downstream.worker.clone();
    let method = request.method().clone();
    let answer = call::http(&worker, &http.cluster, http.timeout, request).await?;
    let (head, body) = answer.into_parts();
    if head.status.is_server_error() {
        return Err(CallError::Answer("the service answers with a status of 500 or more"));
    }
    let (bytes, _) = call::content(body).await?;
    if head.status == StatusCode::OK {
        let upstream = chosen(&head.headers, &http.upstream_headers);
        let append = chosen(&head.headers, &http.upstream_headers_to_append);
        return Ok(Verdict::Allowed {
            request: HeaderMutations::of(Vec::new(), upstream, append),
            response: HeaderMutations::of(
                Vec::new(),
                chosen(&head.headers, &http.client_headers_on_success),
                [],
            ),
            query: Default::default(),
        });
    }
    let mut response = Response::new(if method == Method::HEAD { Body::Empty } else { Body::full(bytes) });
    *response.status_mut() = head.status;
    let all = http.client_headers.is_empty();
    *response.headers_mut() =
        if all { head.headers } else { chosen(&head.headers, &http.client_headers).into_iter().collect() };
    response.headers_mut().remove(header::CONTENT_LENGTH);
    http1::strip_response(response.headers_mut(), false);
    Ok(Verdict::Denied(Box::new(response)))
}

fn chosen(headers: &HeaderMap, patterns: &[StringMatch]) -> Vec<(HeaderName, HeaderValue)> {
    let wanted = |name: &HeaderName| patterns.iter().any(|pattern| pattern.matches(name.as_str()));
    let pairs = headers.iter().filter(|(name, _)| wanted(name));
    pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
}
