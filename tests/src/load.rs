//! Requests that go on while a scenario changes the mesh beneath them. A plain client: keeps connections alive, sends
//! nothing twice, and remembers everything that went wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Answer, Call, Client};
use crate::wait::PATIENCE;

/// How long one request may take.
const ANSWER: Duration = Duration::from_secs(20);
/// How many failures are kept word for word.
const KEPT: usize = 8;

/// Load that is being put together.
#[derive(Debug)]
#[must_use]
pub struct LoadPlan {
    call: Call,
    client: Client,
    url: String,
    connections: usize,
    pause: Duration,
}

impl LoadPlan {
    pub(crate) fn new(client: Client, url: &str) -> Self {
        let call = client.request("GET", url);
        Self { call, client, url: url.to_owned(), connections: 4, pause: Duration::from_millis(2) }
    }

    /// So many connections that call at the same time (4).
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Each connection rests so long between two requests (2 ms).
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Another method than GET, with a small body.
    pub fn method(mut self, method: &str) -> Self {
        self.call = self.client.request(method, &self.url).body("some words");
        self
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.call = self.call.header(name, value);
        self
    }

    /// Begins; goes on until [`Load::stop`].
    #[must_use]
    pub fn start(self) -> Load {
        let (stop, stopped) = watch::channel(false);
        let summary = Arc::new(Mutex::new(Summary::default()));
        let uri: hyper::Uri = self.url.parse().expect("a URL");
        let callers = (0..self.connections)
            .map(|_| {
                let caller = Caller {
                    client: self.client.clone(),
                    call: self.call.clone(),
                    uri: uri.clone(),
                    pause: self.pause,
                    summary: summary.clone(),
                };
                tokio::spawn(caller.run(stopped.clone()))
            })
            .collect();
        Load { summary, stop, callers }
    }

    /// So many requests, then stops.
    pub async fn requests(self, count: u64) -> Summary {
        let load = self.start();
        load.more(count).await;
        load.stop().await
    }
}

/// Load that is under way.
#[derive(Debug)]
pub struct Load {
    summary: Arc<Mutex<Summary>>,
    stop: watch::Sender<bool>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    fn requests(&self) -> u64 {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).requests
    }

    /// Waits until so many more requests have been answered, well or badly.
    pub async fn more(&self, count: u64) {
        let wanted = self.requests() + count;
        let most = tokio::time::Instant::now() + PATIENCE * 2;
        while self.requests() < wanted {
            assert!(
                tokio::time::Instant::now() < most,
                "{} of {wanted} requests were answered",
                self.requests()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What has come back so far.
    #[must_use]
    pub fn so_far(&self) -> Summary {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finishes what is under way and gives what came back.
    pub async fn stop(self) -> Summary {
        let _ = self.stop.send(true);
        for caller in self.callers {
            caller.await.expect("a caller");
        }
        let summary = self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        summary.clone()
    }
}

/// What came back.
#[derive(Clone, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Requests that ended, well or badly.
    pub requests: u64,
    /// Of these: no answer, or one of 400 and above.
    pub failed: u64,
    /// Requests by status; 0 stands for no answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers by the application's version.
    pub versions: BTreeMap<String, u64>,
    /// Answers by the application's instance.
    pub instances: BTreeMap<String, u64>,
    /// The first failures, word for word.
    pub failures: Vec<String>,
}

impl Summary {
    /// Fails the test when one request failed, or there was none.
    #[track_caller]
    pub fn assert_no_failure(&self) {
        assert!(self.requests > 0, "no request was made");
        let (failed, requests) = (self.failed, self.requests);
        assert!(failed == 0, "{failed} of {requests} requests failed: {:#?}", self.failures);
    }

    /// Share of the answers that came from a version.
    #[must_use]
    pub fn share(&self, version: &str) -> f64 {
        let all: u64 = self.versions.values().sum();
        self.versions.get(version).copied().unwrap_or_default() as f64 / all.max(1) as f64
    }

    fn count(&mut self, answer: &Result<Answer, String>) {
        self.requests += 1;
        let (status, complaint) = match answer {
            Ok(answer) => {
                for (counts, field) in [(&mut self.versions, "version"), (&mut self.instances, "instance")] {
                    let value = answer.field(field);
                    if !value.is_empty() {
                        *counts.entry(value).or_default() += 1;
                    }
                }
                let complaint = || format!("{}: {}", answer.status, answer.text());
                (answer.status, (answer.status >= 400).then(complaint))
            }
            Err(why) => (0, Some(why.clone())),
        };
        *self.statuses.entry(status).or_default() += 1;
        if let Some(complaint) = complaint {
            self.failed += 1;
            if self.failures.len() < KEPT {
                self.failures.push(format!("request {}: {complaint}", self.requests));
            }
        }
    }
}

struct Caller {
    client: Client,
    call: Call,
    uri: hyper::Uri,
    pause: Duration,
    summary: Arc<Mutex<Summary>>,
}

impl Caller {
    async fn run(self, stopped: watch::Receiver<bool>) {
        let mut connection = None;
        while !*stopped.borrow() {
            let answer = tokio::time::timeout(ANSWER, self.once(&mut connection)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            if answer.is_err() {
                connection = None;
            }
            self.summary.lock().unwrap_or_else(PoisonError::into_inner).count(&answer);
            tokio::time::sleep(self.pause).await;
        }
    }

    /// One request, on the connection of the last one where that is still open.
    async fn once(&self, connection: &mut Option<SendRequest<Full<Bytes>>>) -> Result<Answer, String> {
        let mut open = connection.take();
        if let Some(sender) = &mut open
            && sender.ready().await.is_err()
        {
            open = None;
        }
        let mut sender = match open {
            Some(sender) => sender,
            None => self.client.http1(&self.uri).await?,
        };
        let answer = Answer::of(sender.send_request(self.call.request()?).await).await?;
        *connection = Some(sender);
        Ok(answer)
    }
}
