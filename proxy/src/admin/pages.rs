//! From a method and a path to a page.

use std::fmt::{self, Write};
use std::time::SystemTime;

use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};

use super::{AdminState, Parts, clusters, dump};

/// Where a request came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// The administration address or socket: everything.
    Admin,
    /// Readiness only.
    Readiness,
    /// Metrics only.
    Metrics,
}

/// What is answered.
#[derive(Debug)]
pub struct Page {
    /// HTTP status.
    pub status: StatusCode,
    /// Media type.
    pub content_type: &'static str,
    /// What it says.
    pub body: Content,
}

/// The text of a page.
pub enum Content {
    /// All of it.
    Text(String),
    /// What is too long to be held at once.
    Parts(Parts),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::Parts(_) => f.debug_struct("Parts").finish_non_exhaustive(),
        }
    }
}

const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const HELP: &str = "admin commands are:
  /: this page
  /certs: certificates, without their keys
  /clusters: endpoints of clusters, and how they do; ?format=json
  /config_dump: the configuration that is served, with versions and origin; ?include_eds, ?resource=LIST, ?name_regex=EXPRESSION
  /dns?name=NAME: how the workload's resolver answers a name, and from what
  /drain_listeners (POST): begin to drain
  /healthz/ready, /ready: whether traffic is taken
  /listeners: listeners and their addresses
  /logging (POST): show the log level; ?level=LEVEL sets it
  /quitquitquit (POST): end the process
  /server_info: version, state and stream of the proxy
  /stats, /stats/prometheus: metrics
";

/// The page for a request.
#[must_use]
pub async fn page(state: &AdminState, door: Door, method: &Method, uri: &Uri) -> Page {
    let path = uri.path().trim_end_matches('/');
    let allowed = match door {
        Door::Admin => true,
        Door::Readiness => matches!(path, "/ready" | "/healthz/ready"),
        Door::Metrics => matches!(path, "/stats/prometheus" | "/metrics"),
    };
    if !allowed {
        return text(StatusCode::NOT_FOUND, "not here\n");
    }
    let changes = matches!(path, "/drain_listeners" | "/quitquitquit" | "/logging");
    let fits = if changes { method == Method::POST } else { [Method::GET, Method::HEAD].contains(method) };
    if !fits {
        let needed = if changes { "POST" } else { "GET" };
        return text(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes {needed}, not {method}\n"));
    }
    match path {
        "" | "/help" => text(StatusCode::OK, HELP),
        "/ready" | "/healthz/ready" => ready(state),
        "/config_dump" => config_dump(state, uri),
        "/listeners" => listeners(state, uri),
        "/clusters" if parameter(uri, "format") == Some("json") => json_page(&clusters::json(state)),
        "/clusters" => text(StatusCode::OK, &clusters::text(state)),
        "/certs" => json_page(&(state.certificates)()),
        "/dns" => names(state, uri).await,
        "/server_info" => json_page(&server_info(state)),
        "/stats" => metrics(state, TEXT).await,
        "/stats/prometheus" | "/metrics" => metrics(state, PROMETHEUS).await,
        "/logging" => logging(state, uri),
        "/drain_listeners" => {
            (state.drain)();
            text(StatusCode::OK, "OK\n")
        }
        "/quitquitquit" => {
            (state.quit)();
            text(StatusCode::OK, "OK\n")
        }
        _ => text(StatusCode::NOT_FOUND, &format!("invalid path {path}. {HELP}")),
    }
}

fn text(status: StatusCode, body: &str) -> Page {
    Page { status, content_type: TEXT, body: Content::Text(body.to_owned()) }
}

fn json_page(value: &Value) -> Page {
    Page { status: StatusCode::OK, content_type: JSON, body: Content::Text(format!("{value:#}\n")) }
}

fn ready(state: &AdminState) -> Page {
    match state.unready_reason() {
        None => text(StatusCode::OK, "LIVE\n"),
        Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("NOT READY: {reason}\n")),
    }
}

/// `NAME::ADDRESS`, one a line, as Envoy; or `?format=json`.
fn listeners(state: &AdminState, uri: &Uri) -> Page {
    let snapshot = state.discovery.snapshot.load();
    if parameter(uri, "format") == Some("json") {
        let all = snapshot.listeners.values().map(|listener| {
            let mut addresses = listener.addresses.iter().map(|address| {
                json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
            });
            let first = addresses.next();
            json!({
                "name": listener.name, "local_address": first,
                "additional_local_addresses": addresses.collect::<Vec<_>>(),
            })
        });
        return json_page(&json!({ "listener_statuses": all.collect::<Vec<_>>() }));
    }
    let mut body = String::new();
    for listener in snapshot.listeners.values() {
        for address in &listener.addresses {
            // Writing to a String cannot fail.
            let _ = writeln!(body, "{}::{address}", listener.name);
        }
    }
    text(StatusCode::OK, &body)
}

fn config_dump(state: &AdminState, uri: &Uri) -> Page {
    let names = parameter(uri, "name_regex").map(|text| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        regex::Regex::new(&format!("^(?:{text})$"))
    });
    let names = match names.transpose() {
        Ok(names) => names,
        Err(error) => return text(StatusCode::BAD_REQUEST, &format!("name_regex: {error}\n")),
    };
    let endpoints = uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|it| it == "include_eds" || (it.starts_with("include_eds=") && it != "include_eds=off"))
    });
    let list = parameter(uri, "resource");
    let endpoints = endpoints || list.is_some();
    json_page(&dump::config(state, &dump::Wanted { endpoints, list, names }))
}

/// How a name would be answered.
async fn names(state: &AdminState, uri: &Uri) -> Page {
    let Some(explain) = &state.explain_name else {
        return text(
            StatusCode::NOT_FOUND,
            "this proxy resolves no names: its workload is in explicit mode\n",
        );
    };
    let Some(name) = parameter(uri, "name").filter(|name| !name.is_empty()) else {
        return text(StatusCode::BAD_REQUEST, "say which name: /dns?name=NAME\n");
    };
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
    json_page(&explain(name).await)
}

fn logging(state: &AdminState, uri: &Uri) -> Page {
    let level = parameter(uri, "level");
    let level = level.map(|level| percent_encoding::percent_decode_str(level).decode_utf8_lossy());
    match (state.log_level)(level.as_deref()) {
        Ok(level) => text(StatusCode::OK, &format!("active loggers:\n  {level}\n")),
        Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
    }
}

fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// How discovery does, and the metrics of others. In this order: OpenMetrics texts have an end of their own.
async fn metrics(state: &AdminState, content_type: &'static str) -> Page {
    let others = (state.metrics)().await;
    let stream = state.discovery.status.stream();
    let mut own = String::new();
    let mut gauge = |name: &str, help: &str, value: f64| {
        // Writing to a String cannot fail.
        let _ = writeln!(own, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    let connected = f64::from(u8::from(stream.connected));
    gauge("weft_control_plane_connected", "Whether a stream to the control plane is open.", connected);
    let refused = stream.refusals.len() as f64;
    gauge("weft_config_refused_resources", "Resources refused and not corrected since.", refused);
    let version = *state.discovery.changed.borrow() as f64;
    gauge("weft_config_version", "Grows with every change of the configuration.", version);
    let parts = Content::Parts(Box::new(std::iter::once(own).chain(others)));
    Page { status: StatusCode::OK, content_type, body: parts }
}

/// As Envoy's `ServerInfo.State`.
fn state_of(state: &AdminState, reason: Option<&str>) -> &'static str {
    match reason {
        None => "LIVE",
        Some(super::DRAINING) => "DRAINING",
        Some(_) if state.discovery.is_configured() => "INITIALIZING",
        Some(_) => "PRE_INITIALIZING",
    }
}

fn server_info(state: &AdminState) -> Value {
    let reason = state.unready_reason();
    let stream = state.discovery.status.stream();
    let uptime = SystemTime::now().duration_since(state.started).unwrap_or_default();
    let time = |at: SystemTime| jiff::Timestamp::try_from(at).map(|at| at.to_string()).unwrap_or_default();
    json!({
        "version": format!("weft-proxy/{}", env!("CARGO_PKG_VERSION")),
        "state": state_of(state, reason.as_deref()),
        "reason": reason,
        "uptime_current_epoch": format!("{}s", uptime.as_secs()),
        "node": { "id": state.node },
        "discovery": {
            "connected": stream.connected,
            "trouble": stream.trouble,
            "last_contact": stream.last_contact.map(time),
            "origin": stream.origin.map(|origin| format!("{origin:?}")),
            "refusals": stream.refusals,
            "acks": stream.acks,
            "nacks": stream.nacks,
        },
    })
}
