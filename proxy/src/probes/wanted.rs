//! Which probes there are: the environment variable that the injector writes, in Kubernetes' own form.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::{ByPath, DEFAULT_TIMEOUT, LIFECYCLE_TIMEOUT};

/// The application's probes, by the path that the kubelet asks for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AppProbes(ByPath);

/// One probe, or one lifecycle hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppProbe {
    /// What is asked.
    pub handler: Handler,
    /// How long it may take.
    pub timeout: Duration,
}

/// What is asked of the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Handler {
    /// A page.
    Http(HttpGet),
    /// Whether a connection can be made.
    Tcp {
        /// Where.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// Where.
        port: u16,
        /// Of which service; empty: of the server.
        service: String,
    },
}

/// A GET request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpGet {
    /// Another host than the pod, if one was named.
    pub host: Option<String>,
    /// Where.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// HTTPS; whose certificate it is does not matter, as for the kubelet.
    pub tls: bool,
    /// Sent with it; `host` replaces the usual one.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The part of Kubernetes' `Probe` and `LifecycleHandler` that is of use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    http_get: Option<WrittenHttp>,
    tcp_socket: Option<WrittenPort>,
    grpc: Option<WrittenGrpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenHttp {
    #[serde(default)]
    host: String,
    port: u16,
    #[serde(default)]
    path: String,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    http_headers: Vec<WrittenHeader>,
}

#[derive(Deserialize)]
struct WrittenHeader {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct WrittenPort {
    port: u16,
}

#[derive(Deserialize)]
struct WrittenGrpc {
    port: u16,
    #[serde(default)]
    service: Option<String>,
}

impl AppProbes {
    /// Reads a JSON object: paths, each with the probe that was there before.
    ///
    /// # Errors
    /// Everything that is wrong, with the path it is at.
    pub fn parse(json: &str) -> Result<Self, Vec<String>> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)
            .map_err(|error| vec![format!("not a JSON object of probes: {error}")])?;
        let (mut probes, mut mistakes) = (ByPath::new(), Vec::new());
        for (path, value) in object {
            match probe(&path, value) {
                Ok(probe) => drop(probes.insert(path, probe)),
                Err(mistake) => mistakes.push(format!("{path}: {mistake}")),
            }
        }
        if mistakes.is_empty() { Ok(Self(probes)) } else { Err(mistakes) }
    }

    /// What the kubelet asks for at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&AppProbe> {
        self.0.get(path)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn probe(path: &str, value: serde_json::Value) -> Result<AppProbe, String> {
    let default = match path.split('/').nth(1) {
        Some("app-health") => DEFAULT_TIMEOUT,
        Some("app-lifecycle") => LIFECYCLE_TIMEOUT,
        _ => return Err("the path is neither below /app-health/ nor below /app-lifecycle/".to_owned()),
    };
    let written: Written = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let timeout = written.timeout_seconds.filter(|seconds| *seconds > 0).map_or(default, Duration::from_secs);
    let handler = match (written.http_get, written.tcp_socket, written.grpc) {
        (Some(get), None, None) => Handler::Http(http(get)?),
        (None, Some(socket), None) => Handler::Tcp { port: port(socket.port)? },
        (None, None, Some(grpc)) => {
            Handler::Grpc { port: port(grpc.port)?, service: grpc.service.unwrap_or_default() }
        }
        _ => return Err("there must be one of httpGet, tcpSocket and grpc".to_owned()),
    };
    Ok(AppProbe { handler, timeout })
}

fn http(written: WrittenHttp) -> Result<HttpGet, String> {
    let tls = match written.scheme.as_str() {
        "" | "HTTP" | "http" => false,
        "HTTPS" | "https" => true,
        other => return Err(format!("httpGet.scheme `{other}` is neither HTTP nor HTTPS")),
    };
    let headers = written.http_headers.into_iter().map(|header| {
        let name = header.name.parse().map_err(|_| format!("`{}` is no name of a header", header.name))?;
        let value = header
            .value
            .parse()
            .map_err(|_| format!("the value of header {} cannot be sent", header.name))?;
        Ok((name, value))
    });
    let slash = if written.path.starts_with('/') { "" } else { "/" };
    Ok(HttpGet {
        host: Some(written.host).filter(|host| !host.is_empty()),
        port: port(written.port)?,
        path: format!("{slash}{}", written.path),
        tls,
        headers: headers.collect::<Result<_, String>>()?,
    })
}

fn port(port: u16) -> Result<u16, String> {
    if port == 0 { Err("port 0 cannot be asked".to_owned()) } else { Ok(port) }
}
