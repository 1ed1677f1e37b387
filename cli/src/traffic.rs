//! A plain HTTP/1.1 client that calls one URL again and again and counts what comes back. It knows nothing of the
//! mesh: the demo and the scenarios run it as an application.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

/// What to call and how often.
#[derive(clap::Args, Clone, Debug)]
pub struct TrafficArgs {
    /// `http://HOST:PORT/PATH`.
    #[arg(long)]
    pub url: Uri,
    /// Stop after so many requests.
    #[arg(long, default_value_t = u64::MAX)]
    pub requests: u64,
    /// Stop after this time.
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    pub time: Duration,
    /// Connections that call at the same time.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Wait so long between two requests of a connection.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub pause: Duration,
    /// `NAME: VALUE`; can be given several times.
    #[arg(long = "header", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Count the values of this field of the JSON that is answered, such as `reviews.version`.
    #[arg(long)]
    pub field: Option<String>,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `NAME: VALUE`")?;
    let name = name.trim().parse().map_err(|_| format!("`{name}` is no header name"))?;
    Ok((name, value.trim().parse().map_err(|_| format!("`{value}` is no header value"))?))
}

/// What came back.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Requests that were begun.
    pub requests: u64,
    /// Of these: no answer, or one of 400 and above.
    pub failed: u64,
    /// Requests by status; 0 stands for no answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests by the value of the field.
    pub values: BTreeMap<String, u64>,
    /// What went wrong at first, at most five lines.
    pub errors: Vec<String>,
    /// Milliseconds, half of the requests were faster than.
    pub p50_ms: f64,
    /// Milliseconds, 99 % of the requests were faster than.
    pub p99_ms: f64,
}

#[derive(Default)]
struct Counts {
    summary: Summary,
    micros: Vec<u64>,
}

/// Calls until the number or the time is reached. Never fails: what goes wrong is counted.
pub async fn run(args: &TrafficArgs) -> Summary {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let end = Instant::now() + args.time;
    let callers: Vec<_> = (0..args.connections)
        .map(|_| {
            let (args, counts) = (args.clone(), counts.clone());
            tokio::spawn(async move { caller(&args, &counts, end).await })
        })
        .collect();
    for caller in callers {
        let _ = caller.await;
    }
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.micros.sort_unstable();
    let at = |share: f64| match counts.micros.len() {
        0 => 0.0,
        n => counts.micros[((n - 1) as f64 * share) as usize] as f64 / 1000.0,
    };
    let (p50_ms, p99_ms) = (at(0.5), at(0.99));
    Summary { p50_ms, p99_ms, ..counts.summary.clone() }
}

async fn caller(args: &TrafficArgs, counts: &Mutex<Counts>, end: Instant) {
    let mut connection = None;
    while begins(args, counts, end) {
        let began = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(15), call(args, &mut connection)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer within 15 s".to_owned()));
        if answer.is_err() {
            connection = None;
        }
        count(args, counts, answer, began.elapsed());
        if !args.pause.is_zero() {
            tokio::time::sleep(args.pause).await;
        }
    }
}

/// Whether there is one more request to make; it is counted if so.
fn begins(args: &TrafficArgs, counts: &Mutex<Counts>, end: Instant) -> bool {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let more = counts.summary.requests < args.requests && Instant::now() < end;
    counts.summary.requests += u64::from(more);
    more
}

fn count(args: &TrafficArgs, counts: &Mutex<Counts>, answer: Result<(u16, Bytes), String>, took: Duration) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.micros.push(took.as_micros() as u64);
    let (status, complaint) = match answer {
        Ok((status, body)) => {
            if let Some(value) = args.field.as_deref().and_then(|field| field_of(&body, field)) {
                *counts.summary.values.entry(value).or_default() += 1;
            }
            let text: String = String::from_utf8_lossy(&body).trim().chars().take(300).collect();
            (status, (status >= 400).then(|| format!("{status}: {text}")))
        }
        Err(error) => (0, Some(error)),
    };
    *counts.summary.statuses.entry(status).or_default() += 1;
    if let Some(complaint) = complaint {
        counts.summary.failed += 1;
        if counts.summary.errors.len() < 5 {
            counts.summary.errors.push(complaint);
        }
    }
}

type Connection = SendRequest<Empty<Bytes>>;

/// One request, on the connection of the last one where that is still open.
async fn call(args: &TrafficArgs, connection: &mut Option<Connection>) -> Result<(u16, Bytes), String> {
    let mut open = connection.take();
    if let Some(sender) = &mut open
        && sender.ready().await.is_err()
    {
        open = None;
    }
    let mut sender = match open {
        Some(sender) => sender,
        None => connect(&args.url).await?,
    };
    let authority = args.url.authority().map(|a| a.as_str()).unwrap_or_default();
    let path = args.url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).header("host", authority);
    for (name, value) in &args.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| format!("sent, but: {error}"))?;
    let status = answer.status().as_u16();
    let body =
        answer.into_body().collect().await.map_err(|error| format!("{status}, but: {error}"))?.to_bytes();
    *connection = Some(sender);
    Ok((status, body))
}

async fn connect(url: &Uri) -> Result<Connection, String> {
    let host = url.host().ok_or("the URL has no host")?.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80)))
        .await
        .map_err(|error| format!("cannot connect to {host}: {error}"))?;
    let _ = stream.set_nodelay(true);
    let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(driver);
    Ok(sender)
}

/// The value of a field such as `a.b` in a JSON text, as text.
fn field_of(body: &[u8], field: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let value = field.split('.').try_fold(&json, |value, part| value.get(part))?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
