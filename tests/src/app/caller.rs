//! The application as a client: for scenarios in pods, where a test cannot lend itself the network of a workload.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{Call, Client};

/// What every request is made of.
#[derive(clap::Args, Clone, Debug)]
struct RequestArgs {
    /// Where to.
    url: String,
    /// With this method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// With headers.
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
}

/// One request.
#[derive(clap::Args, Clone, Debug)]
pub struct CallArgs {
    #[command(flatten)]
    request: RequestArgs,
    /// With a body.
    #[arg(long, default_value = "")]
    body: String,
    /// Over HTTP/2 in plain text.
    #[arg(long)]
    http2: bool,
    /// The body is one message of a gRPC call, over HTTP/2.
    #[arg(long)]
    grpc: bool,
}

/// Many requests.
#[derive(clap::Args, Clone, Debug)]
pub struct LoadArgs {
    #[command(flatten)]
    request: RequestArgs,
    /// Connections that call at the same time.
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Each connection rests so long between two requests, milliseconds.
    #[arg(long, default_value_t = 10)]
    pause: u64,
    /// Stop after so many requests; without it at SIGTERM.
    #[arg(long)]
    count: Option<u64>,
}

/// Bytes.
#[derive(clap::Args, Clone, Debug)]
pub struct ExchangeArgs {
    /// `HOST:PORT`.
    place: String,
    /// What is sent.
    #[arg(default_value = "")]
    text: String,
}

impl RequestArgs {
    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.header.iter().map(|header| header.split_once('=').unwrap_or((header, "")))
    }

    fn call(&self, client: &Client) -> Call {
        let call = client.request(&self.method, &self.url);
        self.headers().fold(call, |call, (name, value)| call.header(name, value))
    }
}

impl CallArgs {
    pub(super) async fn run(self) -> io::Result<()> {
        let mut call = self.request.call(&Client::here());
        if self.grpc {
            let message = self.body.as_bytes();
            let length = u32::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes();
            let framed = [&[0][..], &length, message].concat();
            call = call.header("content-type", "application/grpc").header("te", "trailers").body(framed);
        } else {
            call = call.body(self.body);
        }
        if self.http2 || self.grpc {
            call = call.http2();
        }
        let answer = match call.try_send().await {
            Ok(answer) => json!({
                "status": answer.status,
                "headers": texts(&answer.headers),
                "trailers": texts(&answer.trailers),
                "body": answer.text(),
            }),
            Err(why) => json!({ "status": 0, "error": why }),
        };
        println!("{answer}");
        Ok(())
    }
}

fn texts(headers: &hyper::HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

impl LoadArgs {
    pub(super) async fn run(self) -> io::Result<()> {
        let (mut terminate, mut tick) =
            (signal(SignalKind::terminate())?, tokio::time::interval(Duration::from_secs(1)));
        let plan = Client::here().load(&self.request.url).connections(self.connections);
        let plan = plan.pause(Duration::from_millis(self.pause));
        let plan = if self.request.method == "GET" { plan } else { plan.method(&self.request.method) };
        let load = self.request.headers().fold(plan, |plan, (name, value)| plan.header(name, value)).start();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = tick.tick() => {}
                // Counted closer than the tick, so that a short run ends in time.
                () = tokio::time::sleep(Duration::from_millis(20)), if self.count.is_some() => {
                    if self.count.is_some_and(|count| load.so_far().requests >= count) { break }
                    continue;
                }
            }
            println!("{}", serde_json::to_string(&load.so_far())?);
        }
        println!("{}", serde_json::to_string(&load.stop().await)?);
        Ok(())
    }
}

impl ExchangeArgs {
    pub(super) async fn run(self) -> io::Result<()> {
        let answer = Client::here().exchange(&self.place, self.text.as_bytes()).await?;
        println!("{}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}
