//! The calls, one after another.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use weft_model::endpoint::Health;
use weft_model::node::ProxyId;
use weft_model::provenance::ObjectRef;
use weft_proto::api::apply_event::Event;
use weft_proto::api::mesh_server::Mesh;
use weft_proto::api::{
    Accepted, ApplyEvent, ApplyRequest, AwaitRequest, CreateJoinTokenRequest, CreateJoinTokenResponse,
    DeleteRequest, DeregisterWorkloadRequest, DeregisterWorkloadResponse, GetRequest, GetResponse,
    InfoRequest, InfoResponse, PlaintextRow, ProxyResource, ProxyResourcesRequest, ProxyResourcesResponse,
    ProxyStatusRequest, ProxyStatusResponse, RegisterWorkloadRequest, RegisterWorkloadResponse, Rejected,
    ReportWorkloadRequest, ReportWorkloadResponse, SeriesResponse, SourceFile, StatRequest, StatResponse,
    WorkloadState,
};

use super::{Api, convert, describe, limit, rfc3339, rollout};
use crate::admission::plaintext;
use crate::authority::{JoinTokens, Workload};
use crate::push::ResourceType;
use crate::source::{Finding, Kind, Object, parse_documents};
use crate::state::{Applied, RegistrationError, StateError};

pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(30);
const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(600);

pub(super) type Events = Pin<Box<dyn Stream<Item = Result<ApplyEvent, Status>> + Send>>;

pub(super) fn event(event: Event) -> Result<ApplyEvent, Status> {
    Ok(ApplyEvent { event: Some(event) })
}

fn internal(error: &StateError) -> Status {
    if matches!(error, StateError::HeldElsewhere) {
        return Status::failed_precondition(error.to_string());
    }
    Status::internal(format!("{error}; nothing was changed"))
}

pub(super) fn or_default(namespace: &str) -> &str {
    if namespace.is_empty() { "default" } else { namespace }
}

/// All objects and findings of several files. An object that stands twice is a mistake of the second place.
fn parse(files: &[SourceFile], namespace: &str) -> (Vec<Arc<Object>>, Vec<Finding>) {
    let (mut objects, mut findings) = (Vec::<Arc<Object>>::new(), Vec::new());
    for file in files {
        let parsed = parse_documents(&file.path, &file.content, or_default(namespace));
        findings.extend(parsed.findings);
        for object in parsed.objects {
            if let Some(first) = objects.iter().find(|known| known.reference == object.reference) {
                let place = format!("{}:{}", first.place.file, first.place.line + 1);
                let message = format!("{} stands twice; the first is at {place}", object.reference);
                let hint = "give one of them another name, or remove it";
                findings.push(object.finding(
                    crate::source::Severity::Error,
                    "duplicate-object",
                    "metadata.name",
                    message,
                    hint,
                ));
            } else {
                objects.push(object);
            }
        }
    }
    (objects, findings)
}

impl Api {
    /// The outcome, and if the caller waits, how far the sidecars are until all have answered or the time is up.
    fn follow(&self, applied: Applied, wait: Option<Duration>) -> Events {
        let accepted = Accepted {
            changes: applied.outcomes.iter().map(convert::change).collect(),
            findings: applied.findings.iter().map(Into::into).collect(),
            revision: applied.revision,
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        let (tracker, steps, first) = (self.push.tracker().clone(), self.state.steps(), applied.revision);
        tokio::spawn(async move {
            let _ = sender.send(event(Event::Accepted(accepted))).await;
            let Some(limit) = wait else { return };
            let deadline = tokio::time::Instant::now() + limit;
            rollout::tell(&sender, &tracker, steps, first, deadline, &Vec::new).await;
        });
        Box::pin(ReceiverStream::new(receiver))
    }

    async fn can_be_changed(&self) -> Result<(), Status> {
        if self.state.holds_objects().await { Ok(()) } else { Err(internal(&StateError::HeldElsewhere)) }
    }

    fn tokens(&self) -> Result<&JoinTokens, Status> {
        let problem = "workloads of a cluster are pods: they prove themselves with tokens of their service accounts, and need no join token";
        self.tokens.as_deref().ok_or_else(|| Status::failed_precondition(problem))
    }

    /// Whom a change would keep from calling as they do now.
    fn locked_out(&self, fresh: &[Arc<Object>], removed: &[ObjectRef]) -> Vec<Finding> {
        let (world, next) = (self.state.world().load_full(), self.state.policies_with(fresh, removed));
        if next.authenticates_as(&world.policies) {
            return Vec::new();
        }
        let calls = self.statistics.plaintext(plaintext::LOOKED_BACK);
        plaintext::review(&calls, &world, &next)
    }

    /// Which workloads the addresses are that called without mutual TLS.
    fn name_callers(&self, rows: &mut [PlaintextRow]) {
        let world = self.state.world().load_full();
        for row in rows {
            let workload = row.address.parse().ok().and_then(|address| world.workload_at(address));
            if let Some(workload) = workload {
                (row.source, row.source_namespace) =
                    (workload.name.to_string(), workload.namespace.to_string());
            }
        }
    }

    fn rejected(findings: &[Finding]) -> Events {
        let findings = findings.iter().map(Into::into).collect();
        Box::pin(tokio_stream::once(event(Event::Rejected(Rejected { findings }))))
    }

    /// Which stored objects a request to delete means, and what is wrong with it.
    fn named(&self, request: &DeleteRequest) -> Result<(Vec<ObjectRef>, Vec<Finding>), Status> {
        let (objects, findings) = parse(&request.files, &request.namespace);
        let mut names: Vec<ObjectRef> = objects.iter().map(|object| object.reference.clone()).collect();
        for object in &request.objects {
            let kind = find_kind(&object.kind)?;
            names.push(ObjectRef::new(
                &kind.api_version(),
                kind.name,
                or_default(&object.namespace),
                &object.name,
            ));
        }
        Ok((names, findings))
    }
}

/// A proxy as the tracker names it: a workload without namespace is one of `default`.
fn full_name(proxy: &str) -> String {
    if proxy.contains('.') || proxy.contains('~') { proxy.to_owned() } else { format!("{proxy}.default") }
}

pub(super) fn find_kind(word: &str) -> Result<&'static Kind, Status> {
    Kind::find(word).map_err(Status::invalid_argument)
}

#[tonic::async_trait]
impl Mesh for Api {
    type ApplyStream = Events;
    type DeleteStream = Events;
    type AwaitStream = Events;

    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<Events>, Status> {
        self.can_be_changed().await?;
        let request = request.into_inner();
        let (objects, mut findings) = parse(&request.files, &request.namespace);
        if findings.iter().any(Finding::is_error) {
            // The others are reviewed all the same, so that everything that is wrong is told at once.
            let others = self.state.apply(&objects, true).await.map_err(|error| internal(&error))?;
            findings.extend(others.findings);
            return Ok(Response::new(Self::rejected(&findings)));
        }
        let mut locked_out = self.locked_out(&objects, &[]);
        let mut applied =
            self.state.apply(&objects, request.dry_run).await.map_err(|error| internal(&error))?;
        findings.append(&mut applied.findings);
        findings.append(&mut locked_out);
        applied.findings = findings;
        let wait = (request.wait && !request.dry_run).then(|| limit(request.wait_timeout_ms, DEFAULT_WAIT));
        Ok(Response::new(self.follow(applied, wait)))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<Events>, Status> {
        self.can_be_changed().await?;
        let request = request.into_inner();
        let (names, findings) = self.named(&request)?;
        if findings.iter().any(Finding::is_error) {
            return Ok(Response::new(Self::rejected(&findings)));
        }
        let known = self.state.objects();
        let missing: Vec<String> =
            names.iter().filter(|name| !known.by_name.contains_key(*name)).map(ToString::to_string).collect();
        if !missing.is_empty() && !request.ignore_not_found {
            return Err(Status::not_found(format!("not found: {}; nothing was deleted", missing.join(", "))));
        }
        let in_files = names.iter().filter(|name| {
            known.by_name.get(*name).is_some_and(|object| object.origin == crate::source::Origin::Directory)
        });
        let in_files: Vec<String> = in_files.map(ToString::to_string).collect();
        if !in_files.is_empty() {
            let list = in_files.join(", ");
            return Err(Status::failed_precondition(format!(
                "{list} stand in the watched directory: remove them there"
            )));
        }
        let mut locked_out = self.locked_out(&[], &names);
        let mut applied = self.state.delete(&names).await.map_err(|error| internal(&error))?;
        applied.findings.append(&mut locked_out);
        let wait = request.wait.then(|| limit(request.wait_timeout_ms, DEFAULT_WAIT));
        Ok(Response::new(self.follow(applied, wait)))
    }

    async fn r#await(&self, request: Request<AwaitRequest>) -> Result<Response<Events>, Status> {
        self.await_objects(request.get_ref()).map(Response::new)
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let request = request.into_inner();
        let kind = if request.kind.is_empty() { None } else { Some(find_kind(&request.kind)?) };
        let (objects, findings) = (self.state.objects(), self.state.findings());
        let asked = |reference: &ObjectRef| {
            kind.is_none_or(|kind| *reference.kind == *kind.name)
                && (request.name.is_empty() || *reference.name == *request.name)
                && (request.namespace.is_empty() || *reference.namespace == *request.namespace)
        };
        let wanted = objects.by_name.values().filter(|object| asked(&object.reference));
        let everything = request.kind.is_empty() && request.name.is_empty();
        // Of files that cannot be read, and of objects that never were good.
        let homeless = findings.iter().filter(|finding| match &finding.object {
            Some(name) => (everything || asked(name)) && !objects.by_name.contains_key(name),
            None => everything,
        });
        Ok(Response::new(GetResponse {
            objects: wanted.map(|object| convert::stored(object, &findings)).collect(),
            findings: homeless.map(Into::into).collect(),
        }))
    }

    async fn register_workload(
        &self,
        request: Request<RegisterWorkloadRequest>,
    ) -> Result<Response<RegisterWorkloadResponse>, Status> {
        let tokens = self.tokens()?;
        let request = request.into_inner();
        let registered = self.state.register(&request).await.map_err(|error| match &error {
            RegistrationError::Invalid(_) => Status::invalid_argument(error.to_string()),
            RegistrationError::Taken(..) => Status::already_exists(error.to_string()),
            RegistrationError::NotHeadless(..) => Status::failed_precondition(error.to_string()),
            RegistrationError::NoAddress => Status::resource_exhausted(error.to_string()),
            RegistrationError::State(error) => internal(error),
        })?;
        let workload = Workload {
            namespace: registered.namespace.clone(),
            service_account: registered.service_account.clone(),
            name: Some(registered.name.clone()),
        };
        let token =
            tokens.issue(&workload, DEFAULT_TOKEN_LIFETIME).map_err(|e| Status::internal(e.to_string()))?;
        let mesh = self.state.world().load().mesh.clone();
        let node = ProxyId {
            workload: registered.name.clone(),
            namespace: registered.namespace.clone(),
            address: registered.address,
            domain: format!("{}.svc.{}", registered.namespace, mesh.domain),
        };
        Ok(Response::new(RegisterWorkloadResponse {
            name: registered.name,
            namespace: registered.namespace,
            service_account: registered.service_account,
            join_token: token.token.reveal().to_owned(),
            addresses: registered.addresses,
            gateways: registered.gateways,
            discovery_address: self.discovery_address.clone(),
            trust_bundle: self.authority.trust_bundle_pem(),
            trust_domain: mesh.trust_domain.to_string(),
            node: node.to_string(),
            token_ttl_seconds: DEFAULT_TOKEN_LIFETIME.as_secs(),
        }))
    }

    async fn deregister_workload(
        &self,
        request: Request<DeregisterWorkloadRequest>,
    ) -> Result<Response<DeregisterWorkloadResponse>, Status> {
        let request = request.into_inner();
        let namespace = or_default(&request.namespace);
        self.state.deregister(namespace, &request.name).await.map_err(|error| internal(&error))?;
        self.push.tracker().give_up(&format!("{}.{namespace}", request.name));
        Ok(Response::new(DeregisterWorkloadResponse {}))
    }

    async fn report_workload(
        &self,
        request: Request<ReportWorkloadRequest>,
    ) -> Result<Response<ReportWorkloadResponse>, Status> {
        let request = request.into_inner();
        let health = match request.state() {
            WorkloadState::Ready => Health::Healthy,
            WorkloadState::Draining => Health::Draining,
            WorkloadState::NotReady => Health::Unhealthy,
            WorkloadState::Unspecified => return Err(Status::invalid_argument("no state was given")),
        };
        let namespace = or_default(&request.namespace);
        let revision =
            self.state.report(namespace, &request.name, health).await.map_err(|error| internal(&error))?;
        let Some(revision) = revision else {
            return Err(Status::not_found(format!(
                "no workload `{}` in namespace `{namespace}`",
                request.name
            )));
        };
        let mut rollout = self.push.tracker().rollout(revision);
        let wait = Duration::from_millis(request.wait_ms);
        let known = tokio::time::timeout(wait, rollout.wait_for(|rollout| rollout.done)).await;
        Ok(Response::new(ReportWorkloadResponse { known: matches!(known, Ok(Ok(_))) }))
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        let request = request.into_inner();
        if request.service_account.is_empty() {
            return Err(Status::invalid_argument("a join token is for one service account: name it"));
        }
        let lifetime = limit(request.ttl_seconds.saturating_mul(1000), DEFAULT_TOKEN_LIFETIME);
        let workload = Workload {
            namespace: or_default(&request.namespace).to_owned(),
            service_account: request.service_account,
            name: None,
        };
        let issued =
            self.tokens()?.issue(&workload, lifetime).map_err(|error| Status::internal(error.to_string()))?;
        let token = issued.token.reveal().to_owned();
        Ok(Response::new(CreateJoinTokenResponse { token, ttl_seconds: lifetime.as_secs() }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let world = self.state.world().load_full();
        Ok(Response::new(InfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: world.mesh.trust_domain.to_string(),
            mesh: world.mesh.name.to_string(),
            pid: u64::from(std::process::id()),
            revision: world.revision,
            objects: self.state.objects().by_name.len() as u32,
            proxies: self.push.connected().len() as u32,
            root_expires: rfc3339(self.authority.root_expires_at()),
            uptime_seconds: self.started.elapsed().as_secs(),
            discovery_address: self.discovery_address.clone(),
        }))
    }

    async fn proxy_status(
        &self,
        request: Request<ProxyStatusRequest>,
    ) -> Result<Response<ProxyStatusResponse>, Status> {
        let proxy = request.into_inner().proxy;
        let name = full_name(&proxy);
        let mut proxies = self.push.tracker().status((!proxy.is_empty()).then_some(name.as_str()));
        // A workload that left for good is not one that is missing.
        let world = self.state.world().load_full();
        let is_member = |node: &str| {
            node.parse::<ProxyId>().is_ok_and(|id| {
                world.workloads.contains_key(&(id.namespace.as_str().into(), id.workload.as_str().into()))
            })
        };
        proxies.retain(|entry| entry.connected || is_member(&entry.node));
        for entry in &mut proxies {
            entry.resident_bytes = self.statistics.resident_bytes(&entry.node).unwrap_or_default();
        }
        Ok(Response::new(ProxyStatusResponse { revision: world.revision, proxies }))
    }

    async fn proxy_resources(
        &self,
        request: Request<ProxyResourcesRequest>,
    ) -> Result<Response<ProxyResourcesResponse>, Status> {
        let request = request.into_inner();
        let kind = match request.r#type.as_str() {
            "" => None,
            word => Some(ResourceType::of_label(word).ok_or_else(|| {
                Status::invalid_argument(format!(
                    "`{word}` is none of clusters, endpoints, listeners, routes, names"
                ))
            })?),
        };
        let proxy = full_name(&request.proxy);
        let name = (!request.name.is_empty()).then_some(request.name.as_str());
        let Some(sent) = self.push.tracker().resources(&proxy, kind, name) else {
            return Err(Status::not_found(format!(
                "no sidecar `{proxy}` is connected; `weft proxy status` lists them"
            )));
        };
        let resources = sent.into_iter().map(|sent| ProxyResource {
            r#type: sent.kind.label().to_owned(),
            name: sent.name.to_string(),
            version: sent.version.to_string(),
            json: sent.resource.map(|r| describe::resource(sent.kind.url(), &r.bytes)).unwrap_or_default(),
        });
        Ok(Response::new(ProxyResourcesResponse { resources: resources.collect() }))
    }

    async fn series(&self, request: Request<StatRequest>) -> Result<Response<SeriesResponse>, Status> {
        let mut response = self.statistics.answer_part(request.get_ref());
        self.name_callers(&mut response.plaintext);
        Ok(Response::new(response))
    }

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        let mut response = self.statistics.query(&request.into_inner());
        self.name_callers(&mut response.plaintext);
        Ok(Response::new(response))
    }
}
