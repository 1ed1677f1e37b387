//! The stream to the control plane: ADS, in its delta form or, translated, as the state of the world
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds>).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use weft_model::snapshot::Snapshot;
use weft_proto::type_url;
use weft_proto::xds::Status as RpcStatus;
use weft_proto::xds::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryResponse};

use super::files::{Found, ResourceFile};
use super::state_of_the_world::Translation;
use super::status::{Origin, Status};
use super::store::{Refused, Store};
use super::{Discovery, DiscoverySettings, Protocol, last_good};

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

/// gRPC's INVALID_ARGUMENT, which says that an answer was refused.
const INVALID_ARGUMENT: i32 = 3;
/// A whole mesh may come in one message.
const LARGEST_MESSAGE: usize = 256 << 20;
/// How often it is looked whether a file is another one.
const LOOK_AT_FILES: Duration = Duration::from_millis(500);

/// Keeps the configuration fresh. Run it once, for the process' life, on the control runtime.
#[derive(Debug)]
pub struct Client {
    settings: DiscoverySettings,
    store: Store,
    snapshot: Arc<ArcSwap<Snapshot>>,
    changed: watch::Sender<u64>,
    status: Arc<Status>,
    look_again: Option<Instant>,
    // Whether something waits for what it refers to.
    warming: bool,
    write_at: Option<Instant>,
    // Whether something changed that is not on its way to the disk.
    unwritten: bool,
    // Only one at a time, or they would write into the same file.
    writing: Option<JoinHandle<()>>,
    // Until when the table of names is waited for, once everything else is there.
    names_until: Option<Instant>,
    files: Vec<ResourceFile>,
    look_at_files: Option<Instant>,
    // Files have changed what is asked for by name.
    renew_subscriptions: bool,
}

/// Calls the control plane, in the form of ADS that it is to be asked by.
async fn open_stream(
    protocol: Protocol,
    channel: Channel,
    requests: mpsc::UnboundedReceiver<DeltaDiscoveryRequest>,
) -> Result<Answers, tonic::Status> {
    let mut client =
        AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    let requests = UnboundedReceiverStream::new(requests);
    match protocol {
        Protocol::Delta => {
            let answers = client.delta_aggregated_resources(requests).await?;
            Ok(Answers::Delta(answers.into_inner()))
        }
        Protocol::StateOfTheWorld => {
            let translation = Arc::new(Mutex::new(Translation::default()));
            let outwards = translation.clone();
            let requests = requests.map(move |request| locked(&outwards).request(request));
            let answers = client.stream_aggregated_resources(requests).await?;
            Ok(Answers::StateOfTheWorld(answers.into_inner(), translation))
        }
    }
}

/// The answers of a stream, in either form of ADS.
enum Answers {
    Delta(Streaming<DeltaDiscoveryResponse>),
    StateOfTheWorld(Streaming<DiscoveryResponse>, Arc<Mutex<Translation>>),
}

impl Answers {
    async fn next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, tonic::Status> {
        match self {
            Self::Delta(answers) => answers.message().await,
            Self::StateOfTheWorld(answers, translation) => {
                Ok(answers.message().await?.map(|answer| locked(translation).response(answer)))
            }
        }
    }
}

fn locked(translation: &Mutex<Translation>) -> MutexGuard<'_, Translation> {
    translation.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a stream ended.
struct StreamEnd {
    trouble: String,
    // Whether the control plane answered before.
    answered: bool,
}

/// A stream's own state; a new stream starts anew.
struct Stream {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    // What was asked for by name.
    asked: HashMap<&'static str, BTreeSet<String>>,
    // Acknowledgements of what is accepted but not served yet.
    withheld: Vec<DeltaDiscoveryRequest>,
}

impl Client {
    pub(super) fn new(settings: DiscoverySettings) -> (Discovery, Self) {
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
        let (sender, changed) = watch::channel(0);
        let status = Arc::new(Status::default());
        let discovery = Discovery { snapshot: snapshot.clone(), changed, status: status.clone() };
        let mut store = Store::new(settings.warming);
        store.fix(&settings.fixed);
        for url in [type_url::CLUSTER, type_url::LISTENER, type_url::NAME_TABLE] {
            if !settings.asked.contains(&url) && !settings.files.iter().any(|(of, _)| *of == url) {
                store.expect_nothing(url);
            }
        }
        let files = settings.files.iter().map(|(url, path)| ResourceFile::new(path.clone(), url)).collect();
        let mut client = Self {
            settings,
            store,
            snapshot,
            changed: sender,
            status,
            look_again: None,
            warming: false,
            write_at: None,
            unwritten: false,
            writing: None,
            names_until: None,
            files,
            look_at_files: None,
            renew_subscriptions: false,
        };
        client.load_last_good();
        if !client.files.is_empty() || !client.settings.fixed.is_empty() {
            client.look_at_files();
        }
        (discovery, client)
    }

    /// Connects, and connects again, for ever.
    pub async fn run(mut self, channel: Channel) {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let end = self.stream(channel.clone()).await;
            // After a stream that did well the next attempt is made soon. One that ends again and again after its first
            // answer does not do well, and asking for everything each time would not make it better.
            let did_well = end.answered && begun.elapsed() >= self.settings.backoff_max;
            failures = if did_well { 0 } else { failures + 1 };
            tracing::warn!(trouble = %end.trouble, failures, "no stream to the control plane; serving what is known");
            self.status.update(|stream| {
                // While the stream was open, what was served was the newest.
                if std::mem::take(&mut stream.connected) {
                    stream.last_contact = Some(SystemTime::now());
                }
                stream.trouble = Some(end.trouble);
            });
            let again = Instant::now() + self.backoff(failures);
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(again) => break,
                    () = sleep_until(self.look_again) => self.publish(),
                    () = sleep_until(self.write_at) => self.write(),
                    () = sleep_until(self.look_at_files) => self.look_at_files(),
                }
            }
        }
    }

    /// Without a control plane: reads files again when they change, for ever.
    pub async fn run_alone(mut self) {
        loop {
            tokio::select! {
                () = sleep_until(self.look_again) => self.publish(),
                () = sleep_until(self.write_at) => self.write(),
                () = sleep_until(self.look_at_files) => self.look_at_files(),
            }
        }
    }

    /// Takes in what files say that are others than before. What cannot be used leaves in force what was.
    fn look_at_files(&mut self) {
        let mut files = std::mem::take(&mut self.files);
        for file in &mut files {
            match file.look() {
                Found::Same => {}
                Found::Changed(answer) => {
                    let result = self.store.apply(&answer, None);
                    self.note(&answer, result.as_ref().err());
                    self.renew_subscriptions = true;
                }
                Found::Unusable(why) => tracing::error!("what was read before stays in force: {why}"),
            }
        }
        self.look_at_files = (!files.is_empty()).then(|| Instant::now() + LOOK_AT_FILES);
        self.files = files;
        self.publish();
    }

    /// Full jitter: anything up to the wait that doubles with each failure.
    fn backoff(&self, failures: u32) -> Duration {
        let most = self.settings.backoff_base.saturating_mul(1 << failures.min(16));
        most.min(self.settings.backoff_max).mul_f64(fastrand::f64())
    }

    /// One stream, until it ends.
    async fn stream(&mut self, channel: Channel) -> StreamEnd {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut stream = Stream { requests, asked: HashMap::new(), withheld: Vec::new() };
        self.open(&mut stream);
        self.renew_subscriptions = false;
        let call = open_stream(self.settings.protocol, channel, receiver);
        let mut call = Box::pin(call);
        let opened = loop {
            tokio::select! {
                opened = &mut call => break opened,
                () = sleep_until(self.look_again) => self.publish(),
                () = sleep_until(self.write_at) => self.write(),
            }
        };
        let mut answers = match opened {
            Ok(answers) => answers,
            Err(status) => return StreamEnd { trouble: describe(&status), answered: false },
        };
        self.status.update(|stream| {
            stream.connected = true;
            stream.trouble = None;
            stream.connects += 1;
        });
        let mut answered = false;
        loop {
            tokio::select! {
                answer = answers.next() => match answer {
                    Ok(Some(answer)) => {
                        answered = true;
                        self.take(&mut stream, &answer);
                    }
                    Ok(None) => {
                        return StreamEnd { trouble: "the control plane closed the stream".to_owned(), answered };
                    }
                    Err(status) => return StreamEnd { trouble: describe(&status), answered },
                },
                () = sleep_until(self.look_again) => {
                    self.publish();
                    self.acknowledge(&mut stream);
                }
                () = sleep_until(self.write_at) => self.write(),
                () = sleep_until(self.look_at_files) => {
                    self.look_at_files();
                    if std::mem::take(&mut self.renew_subscriptions) {
                        self.subscribe_by_name(&mut stream);
                    }
                    self.acknowledge(&mut stream);
                }
            }
        }
    }

    /// Asks for all that is wanted, saying what is known, so that only what changed is sent.
    fn open(&self, stream: &mut Stream) {
        let endpoints = self.store.endpoint_names();
        let routes = self.store.route_names();
        let by_name = [(type_url::ENDPOINT, endpoints), (type_url::ROUTE, routes)];
        let mut node = Some(self.settings.node.clone());
        for url in type_url::IN_ORDER {
            let named = by_name.iter().find(|(named, _)| *named == url).map(|(_, names)| names);
            // Asking for nothing at all stands for "everything" where a type is not asked for by name.
            if named.is_some_and(BTreeSet::is_empty)
                || (named.is_none() && !self.settings.asked.contains(&url))
            {
                continue;
            }
            let names = named.cloned().unwrap_or_default();
            stream.send(DeltaDiscoveryRequest {
                node: node.take(),
                type_url: url.to_owned(),
                resource_names_subscribe: names.iter().cloned().collect(),
                initial_resource_versions: self.store.versions_of(url),
                ..Default::default()
            });
            if named.is_some() {
                stream.asked.insert(url, names);
            }
        }
    }

    /// Takes an answer in, publishes, says whether it was right, and asks for what follows from it.
    fn take(&mut self, stream: &mut Stream, answer: &DeltaDiscoveryResponse) {
        let by_name = [type_url::ENDPOINT, type_url::ROUTE].contains(&answer.type_url.as_str());
        let nothing = BTreeSet::new();
        let wanted = by_name.then(|| stream.asked.get(answer.type_url.as_str()).unwrap_or(&nothing));
        let result = self.store.apply(answer, wanted);
        // Asked for first, so that no request for endpoints waits behind an acknowledgement.
        self.subscribe_by_name(stream);
        self.publish();
        self.note(answer, result.as_ref().err());
        stream.withheld.push(DeltaDiscoveryRequest {
            type_url: answer.type_url.clone(),
            response_nonce: answer.nonce.clone(),
            error_detail: result.err().map(|refused| RpcStatus {
                code: INVALID_ARGUMENT,
                message: refused.to_string(),
                details: Vec::new(),
            }),
            ..Default::default()
        });
        self.acknowledge(stream);
    }

    /// Sends acknowledgements. Whoever waits for those of listeners and routes wants to know that they are served, so
    /// they are withheld, within the bound of warming, while something waits for what it refers to.
    fn acknowledge(&self, stream: &mut Stream) {
        let warming = self.warming;
        let waits = |request: &DeltaDiscoveryRequest| {
            let warms = [type_url::LISTENER, type_url::ROUTE].contains(&request.type_url.as_str());
            warming && warms && request.error_detail.is_none()
        };
        for request in std::mem::take(&mut stream.withheld) {
            if waits(&request) { stream.withheld.push(request) } else { stream.send(request) }
        }
    }

    fn note(&self, answer: &DeltaDiscoveryResponse, refused: Option<&Refused>) {
        let url = &answer.type_url;
        let refusals = refused.map(|refused| refused.0.clone()).unwrap_or_default();
        for refusal in &refusals {
            tracing::warn!(type_url = %url, name = %refusal.name, "refused: {}", refusal.message);
        }
        let concerns = |name: &String| {
            answer.resources.iter().any(|one| one.name == *name) || answer.removed_resources.contains(name)
        };
        let accepted = |name: &String| Some((name.clone(), self.store.version_of(url, name)?.to_owned()));
        let set = answer.resources.iter().filter_map(|one| accepted(&one.name)).collect();
        self.status.changed_versions(url, set, &answer.removed_resources);
        self.status.update(|stream| {
            stream.last_contact = Some(SystemTime::now());
            *(if refused.is_some() { &mut stream.nacks } else { &mut stream.acks }) += 1;
            stream.refusals.retain(|old| old.type_url != *url || !concerns(&old.name));
            stream.refusals.extend(refusals);
        });
    }

    fn subscribe_by_name(&mut self, stream: &mut Stream) {
        self.subscribe(stream, type_url::ENDPOINT, self.store.endpoint_names());
        self.subscribe(stream, type_url::ROUTE, self.store.route_names());
    }

    /// Asks for names that are newly wanted, and says which are not wanted any more.
    fn subscribe(&mut self, stream: &mut Stream, url: &'static str, wanted: BTreeSet<String>) {
        let asked = stream.asked.entry(url).or_default();
        if *asked == wanted {
            return;
        }
        let request = DeltaDiscoveryRequest {
            type_url: url.to_owned(),
            resource_names_subscribe: wanted.difference(asked).cloned().collect(),
            resource_names_unsubscribe: asked.difference(&wanted).cloned().collect(),
            ..Default::default()
        };
        let gone = self.store.retain(url, &wanted);
        self.status.changed_versions(url, Vec::new(), &gone);
        stream.asked.insert(url, wanted);
        stream.send(request);
    }

    fn publish(&mut self) {
        let now = Instant::now();
        let published = self.store.publish(now);
        self.look_again = published.look_again;
        self.warming = published.look_again.is_some();
        self.unwritten |= published.snapshot.is_some();
        if let Some(snapshot) = published.snapshot {
            let version = snapshot.version;
            self.snapshot.store(Arc::new(snapshot));
            self.changed.send_replace(version);
        }
        if self.is_complete(now) {
            let origin = if self.settings.asked.is_empty() { Origin::File } else { Origin::ControlPlane };
            self.status.configured(origin);
            if std::mem::take(&mut self.unwritten) && self.settings.state_dir.is_some() {
                self.write_at.get_or_insert(now + self.settings.write_after);
            }
        }
    }

    /// Whether a workload may start by what is served. That includes names, which it asks for first of all; but not
    /// every control plane sends any, so they are waited for no longer than warming takes.
    fn is_complete(&mut self, now: Instant) -> bool {
        if !self.store.is_complete() {
            return false;
        }
        if self.store.is_answered(type_url::NAME_TABLE) {
            return true;
        }
        let until = *self.names_until.get_or_insert(now + self.settings.warming);
        if now < until {
            self.look_again = Some(self.look_again.map_or(until, |at| at.min(until)));
        }
        now >= until
    }

    /// Writes the accepted resources to disk, on a thread that may wait for it.
    fn write(&mut self) {
        self.write_at = None;
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            self.write_at = Some(Instant::now() + self.settings.write_after);
            return;
        }
        let Some(directory) = &self.settings.state_dir else { return };
        let path = last_good::path(directory);
        let responses = self.store.responses();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = last_good::write(&path, &responses) {
                tracing::warn!(path = %path.display(), %error, "the last good configuration could not be written");
            }
        }));
    }

    fn load_last_good(&mut self) {
        let Some(directory) = &self.settings.state_dir else { return };
        let path = last_good::path(directory);
        if !path.exists() {
            return;
        }
        let responses = match last_good::read(&path) {
            Ok(responses) => responses,
            Err(error) => {
                tracing::warn!(%error, "the last good configuration is ignored");
                return;
            }
        };
        // Nothing more comes from the disk: what dangles does so for good, or until the control plane says otherwise.
        let mut store = Store::new(Duration::ZERO);
        for response in &responses {
            if let Err(refused) = store.apply(response, None) {
                tracing::warn!(%refused, "a resource of the last good configuration is ignored");
            }
        }
        let Some(snapshot) = store.publish(Instant::now()).snapshot else { return };
        store.set_warming(self.settings.warming);
        self.status.set_versions(&store);
        self.status.configured(Origin::LastGood);
        // It was in force when it was written, at the latest.
        let written = path.metadata().and_then(|metadata| metadata.modified()).ok();
        self.status.update(|stream| stream.last_contact = written);
        self.changed.send_replace(snapshot.version);
        self.snapshot.store(Arc::new(snapshot));
        self.store = store;
    }
}

impl Stream {
    /// Sends; should the stream be gone, its end is seen where answers are read.
    fn send(&self, request: DeltaDiscoveryRequest) {
        let _ = self.requests.send(request);
    }
}

fn describe(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
