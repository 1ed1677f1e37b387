//! The tables of one worker: its series and its edges. Only its own thread touches them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::labels::{Call, CallKey, EdgeLabels, Own, Protocol, SeriesLabels, ends};
use super::record::{RequestRecord, TcpRecord};
use super::tally::{EdgeTally, Tally};

/// Places of the cache of label sets; a power of 2. A call that finds its own is counted without building labels.
const CACHE: usize = 512;

/// Where everything beyond the cap is counted; the first places of both tables, one for HTTP and one for TCP.
const OTHER_HTTP: u32 = 0;
const OTHER_TCP: u32 = 1;

/// A series' labels; none for what went beyond the cap.
pub(super) type SeriesKey = (Option<Arc<SeriesLabels>>, Tally);

/// An edge's labels; none for what went beyond the cap.
pub(super) type EdgeKey = (Option<Arc<EdgeLabels>>, EdgeTally);

/// The label sets of all workers together: their number is bounded.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    /// How often a worker stopped counting a label set.
    expired: AtomicU64,
    admitted: Mutex<HashMap<Arc<SeriesLabels>, Admitted>>,
}

#[derive(Debug)]
struct Admitted {
    /// Workers that count it.
    users: usize,
    /// What workers counted that count it no longer. Sums must never fall.
    left: Option<Tally>,
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, expired: AtomicU64::new(0), admitted: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<SeriesLabels>, Admitted>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a worker count a label set; none when there are too many.
    fn enter(&self, labels: SeriesLabels) -> Option<Arc<SeriesLabels>> {
        let labels = Arc::new(labels);
        let mut admitted = self.lock();
        let full = admitted.len() >= self.limit;
        match admitted.entry(labels) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().users += 1;
                Some(entry.key().clone())
            }
            Entry::Vacant(_) if full => None,
            Entry::Vacant(entry) => {
                let labels = entry.key().clone();
                entry.insert(Admitted { users: 1, left: None });
                Some(labels)
            }
        }
    }

    /// A worker stops counting a label set. When `expired` and no other counts it, it is forgotten.
    fn leave(&self, labels: &Arc<SeriesLabels>, tally: &Tally, expired: bool) {
        let mut admitted = self.lock();
        self.expired.fetch_add(1, Ordering::AcqRel);
        let Some(entry) = admitted.get_mut(labels) else { return };
        entry.users = entry.users.saturating_sub(1);
        match &mut entry.left {
            Some(left) => left.add(tally),
            None => entry.left = Some(tally.clone()),
        }
        if expired && entry.users == 0 {
            admitted.remove(labels);
        }
    }

    /// Changes whenever a worker stops counting a label set.
    pub(super) fn expired(&self) -> u64 {
        self.expired.load(Ordering::Acquire)
    }

    /// Number of label sets.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// What was counted by workers that count it no longer.
    pub(super) fn left(&self) -> Vec<SeriesKey> {
        let admitted = self.lock();
        admitted
            .iter()
            .filter_map(|(labels, entry)| Some((Some(labels.clone()), entry.left.clone()?)))
            .collect()
    }
}

#[derive(Debug)]
struct Series {
    labels: Option<Arc<SeriesLabels>>,
    used: u32,
    tally: Tally,
}

#[derive(Debug)]
struct Edge {
    labels: Option<Arc<EdgeLabels>>,
    used: u32,
    tally: EdgeTally,
}

#[derive(Debug)]
struct Cached {
    key: CallKey,
    series: u32,
    edge: u32,
}

/// Bounds of a worker's tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Edges of a worker.
    pub(super) edges: usize,
    /// Seconds after which an unused series or edge is forgotten.
    pub(super) expiry: u32,
}

/// Series and edges of one worker.
#[derive(Debug)]
pub(super) struct Tables {
    own: Own,
    admission: Arc<Admission>,
    bounds: Bounds,
    /// Seconds since the worker began.
    now: u32,
    cache: Vec<Option<Box<Cached>>>,
    series: Vec<Series>,
    series_index: HashMap<Arc<SeriesLabels>, u32>,
    edges: Vec<Edge>,
    edge_index: HashMap<Arc<EdgeLabels>, u32>,
    folded: u64,
}

impl Tables {
    pub(super) fn new(own: Own, admission: Arc<Admission>, bounds: Bounds) -> Self {
        let other = |protocol| Series { labels: None, used: 0, tally: Tally::new(protocol) };
        Self {
            own,
            admission,
            bounds,
            now: 0,
            cache: (0..CACHE).map(|_| None).collect(),
            series: vec![other(Protocol::Http), other(Protocol::Tcp)],
            series_index: HashMap::new(),
            edges: vec![Edge { labels: None, used: 0, tally: EdgeTally::default() }],
            edge_index: HashMap::new(),
            folded: 0,
        }
    }

    pub(super) fn request(&mut self, record: &RequestRecord<'_>) {
        let call = Call::of_request(record);
        let (series, edge) = self.places(&call);
        series.request(record);
        edge.request(record, &call);
    }

    pub(super) fn tcp(&mut self, record: &TcpRecord<'_>) {
        let (series, edge) = self.places(&Call::of_tcp(record));
        series.tcp(record);
        edge.tcp(record);
    }

    /// Exchanges that were counted as `other` because there were too many label sets.
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }

    fn places(&mut self, call: &Call<'_>) -> (&mut Tally, &mut EdgeTally) {
        let place = call.hash() & (CACHE - 1);
        let found = match &self.cache[place] {
            Some(cached) if cached.key.is(call) => (cached.series, cached.edge),
            _ => {
                let (series, edge) = self.find(call);
                self.cache[place] = Some(Box::new(Cached { key: CallKey::of(call), series, edge }));
                (series, edge)
            }
        };
        self.folded += u64::from(found.0 <= OTHER_TCP);
        let series = &mut self.series[found.0 as usize];
        let edge = &mut self.edges[found.1 as usize];
        (series.used, edge.used) = (self.now, self.now);
        (&mut series.tally, &mut edge.tally)
    }

    fn find(&mut self, call: &Call<'_>) -> (u32, u32) {
        let ends = ends(&self.own, call);
        let edge = EdgeLabels { ends: ends.clone(), route: call.route.into() };
        let labels =
            SeriesLabels { ends, status: call.status, grpc_status: call.grpc_status, flags: call.flags };
        (self.find_series(labels), self.find_edge(edge))
    }

    fn find_series(&mut self, labels: SeriesLabels) -> u32 {
        if let Some(place) = self.series_index.get(&labels) {
            return *place;
        }
        let protocol = labels.ends.protocol;
        let Some(labels) = self.admission.enter(labels) else {
            return if protocol == Protocol::Tcp { OTHER_TCP } else { OTHER_HTTP };
        };
        let place = self.series.len() as u32;
        self.series_index.insert(labels.clone(), place);
        self.series.push(Series { labels: Some(labels), used: self.now, tally: Tally::new(protocol) });
        place
    }

    fn find_edge(&mut self, labels: EdgeLabels) -> u32 {
        if let Some(place) = self.edge_index.get(&labels) {
            return *place;
        }
        if self.edges.len() > self.bounds.edges {
            return 0;
        }
        let (labels, place) = (Arc::new(labels), self.edges.len() as u32);
        self.edge_index.insert(labels.clone(), place);
        self.edges.push(Edge { labels: Some(labels), used: self.now, tally: EdgeTally::default() });
        place
    }

    /// A copy of all series.
    pub(super) fn series(&self) -> Vec<SeriesKey> {
        self.series.iter().map(|series| (series.labels.clone(), series.tally.clone())).collect()
    }

    /// What edges counted since the last time.
    pub(super) fn take_edges(&mut self) -> Vec<EdgeKey> {
        let active = self.edges.iter_mut().filter(|edge| !edge.tally.is_empty());
        active.map(|edge| (edge.labels.clone(), std::mem::take(&mut edge.tally))).collect()
    }

    /// Lets time go on by a second; now and then forgets what was not used for long.
    pub(super) fn tick(&mut self) {
        self.now = self.now.saturating_add(1);
        if self.now.is_multiple_of(self.bounds.expiry.clamp(1, 60)) {
            self.expire();
        }
    }

    fn expire(&mut self) {
        // Places move, and what was refused may be admitted now.
        self.cache.fill_with(|| None);
        let expired = |used: u32| self.now.saturating_sub(used) >= self.bounds.expiry;
        let admission = &self.admission;
        self.series.retain(|series| match &series.labels {
            Some(labels) if expired(series.used) => {
                admission.leave(labels, &series.tally, true);
                false
            }
            _ => true,
        });
        // What was not taken yet stays until it is.
        self.edges.retain(|edge| edge.labels.is_none() || !expired(edge.used) || !edge.tally.is_empty());
        let places = self.series.iter().zip(0..);
        self.series_index =
            places.filter_map(|(series, place)| Some((series.labels.clone()?, place))).collect();
        let places = self.edges.iter().zip(0..);
        self.edge_index = places.filter_map(|(edge, place)| Some((edge.labels.clone()?, place))).collect();
    }

    /// The worker ends: all it counted stays with those that remain. Returns what has no place there.
    pub(super) fn end(&mut self) -> Vec<SeriesKey> {
        for series in &self.series {
            if let Some(labels) = &series.labels {
                self.admission.leave(labels, &series.tally, false);
            }
        }
        let others = self.series.drain(..).filter(|series| series.labels.is_none());
        others.map(|series| (None, series.tally)).collect()
    }
}
