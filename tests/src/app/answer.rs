//! What the application answers: who it is and what it got, as JSON; and how it misbehaves when asked to.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::json;

/// One application's identity and memory.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) instance: String,
    version: String,
    seen: Mutex<BTreeMap<String, u64>>,
}

/// What a request's query asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    parameters: BTreeMap<String, String>,
}

impl Wish {
    pub(super) fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        Self { parameters: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.parameters.get(name)?.parse().ok()
    }

    fn text(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

impl Answers {
    pub(super) fn new(instance: &str, version: &str) -> Self {
        Self { instance: instance.to_owned(), version: version.to_owned(), seen: Mutex::default() }
    }

    /// How many requests with this key came, this one included. Without a key all that have none count.
    pub(super) fn count(&self, wish: &Wish) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let count = seen.entry(wish.text("key").to_owned()).or_default();
        *count += 1;
        *count
    }

    /// How many requests with this key came before.
    fn seen(&self, wish: &Wish) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(wish.text("key")).copied().unwrap_or_default()
    }

    /// Whether the application breaks the connection instead of answering: `reset_first=N`.
    pub(super) fn resets(&self, wish: &Wish, count: u64) -> bool {
        wish.number("reset_first").is_some_and(|first| count <= first)
    }

    /// `status=S` with `fail_every=N` (each Nth) or `fail_first=N`; alone: always.
    pub(super) fn status(&self, wish: &Wish, count: u64) -> StatusCode {
        let asked = wish.number("status").and_then(|it| StatusCode::from_u16(u16::try_from(it).ok()?).ok());
        let fails = match (wish.number("fail_every"), wish.number("fail_first")) {
            (Some(every), _) => count.is_multiple_of(every.max(1)),
            (None, Some(first)) => count <= first,
            (None, None) => true,
        };
        asked.filter(|_| fails).unwrap_or(StatusCode::OK)
    }

    /// The head of a request, described. `/seen?key=K` tells of earlier requests without being counted.
    pub(super) fn describe(&self, request: &Request<Incoming>, wish: &Wish) -> serde_json::Value {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in request.headers() {
            let value = String::from_utf8_lossy(value.as_bytes());
            let all = headers.entry(name.to_string()).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(&value);
        }
        json!({
            "instance": self.instance,
            "version": self.version,
            "method": request.method().as_str(),
            "path": request.uri().path_and_query().map_or("", |it| it.as_str()),
            "authority": request.uri().authority().map_or("", |it| it.as_str()),
            "http": format!("{:?}", request.version()),
            "headers": headers,
            "seen": self.seen(wish),
        })
    }
}
