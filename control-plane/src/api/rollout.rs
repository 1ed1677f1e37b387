//! How far the sidecars are with a change: streamed until all have answered or the time is up.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use weft_model::endpoint::Health;
use weft_model::provenance::ObjectRef;
use weft_proto::api::apply_event::Event;
use weft_proto::api::{Accepted, ApplyEvent, AwaitRequest, Rejected, Rollout};

use super::service::{DEFAULT_WAIT, Events, event, find_kind, or_default};
use super::{Api, limit};
use crate::push::Tracker;
use crate::source::{Finding, Objects};
use crate::state::{MeshState, Steps};

type Sender = mpsc::Sender<Result<ApplyEvent, Status>>;

/// Tells of a revision's rollout until it is done or the time is up. `absent` is asked at the end.
pub(super) async fn tell(
    sender: &Sender,
    tracker: &Arc<Tracker>,
    mut steps: watch::Receiver<Steps>,
    first: u64,
    deadline: Instant,
    absent: &(dyn Fn() -> Vec<String> + Sync),
) {
    // A change of authentication is in force only with its second step, which follows by itself.
    let done = tokio::time::timeout_at(deadline, steps.wait_for(|steps| steps.are_done(first))).await;
    let last = done.ok().map(|steps| steps.map_or(first, |steps| steps.completed.max(first)));
    let all_steps = last.is_some();
    let mut rollout = tracker.rollout_of(first..=last.unwrap_or(first));
    loop {
        let mut now = rollout.borrow_and_update().to_proto();
        now.done &= all_steps;
        let done = now.done;
        if done {
            now.absent = absent();
        }
        if sender.send(event(Event::Rollout(now))).await.is_err() || done {
            return;
        }
        if !matches!(tokio::time::timeout_at(deadline, rollout.changed()).await, Ok(Ok(()))) {
            let mut last = rollout.borrow().to_proto();
            last.done &= all_steps;
            last.timed_out = !last.done;
            last.absent = absent();
            let _ = sender.send(event(Event::Rollout(last))).await;
            return;
        }
    }
}

/// An object and the generation that is waited for; none: that it is gone.
type Wanted = (ObjectRef, Option<u64>);

impl Api {
    /// Waits until objects that somebody else stores, such as Kubernetes, are part of the world, then tells how far the
    /// sidecars are with it.
    ///
    /// # Errors
    /// When a kind is not known.
    pub(super) fn await_objects(&self, request: &AwaitRequest) -> Result<Events, Status> {
        let wanted = request.objects.iter().map(wanted).collect::<Result<Vec<_>, _>>()?;
        let deadline = Instant::now() + limit(request.timeout_ms, DEFAULT_WAIT);
        let (state, push) = (self.state.clone(), self.push.clone());
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            tokio::select! {
                () = tell_arrival(&sender, &state, push.tracker(), &wanted, deadline) => {}
                // Its sidecars go to another, and with them the answer.
                () = push.closed() => {
                    let status = Status::unavailable("the control plane is shutting down; ask another");
                    let _ = sender.send(Err(status)).await;
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

async fn tell_arrival(
    sender: &Sender,
    state: &Arc<MeshState>,
    tracker: &Arc<Tracker>,
    wanted: &[Wanted],
    deadline: Instant,
) {
    let Some(revision) = arrival(state, wanted, deadline).await else {
        let _ = sender.send(event(missing(state, wanted))).await;
        return;
    };
    let findings = about(&state.findings(), wanted).map(Into::into).collect();
    let accepted = Accepted { changes: Vec::new(), findings, revision };
    let _ = sender.send(event(Event::Accepted(accepted))).await;
    let absent = || absent(state, tracker);
    tell(sender, tracker, state.steps(), revision, deadline, &absent).await;
}

/// Pods that serve and whose sidecars are not connected here.
fn absent(state: &MeshState, tracker: &Tracker) -> Vec<String> {
    let connected: HashSet<String> = tracker.connected().iter().map(|hello| hello.id.short()).collect();
    let world = state.world().load();
    let serving = world.workloads.values().filter(|workload| {
        workload.health == Health::Healthy && workload.pod.as_ref().is_some_and(|pod| pod.has_sidecar)
    });
    let names = serving.map(|workload| format!("{}.{}", workload.name, workload.namespace));
    names.filter(|name| !connected.contains(name)).collect()
}

fn wanted(object: &weft_proto::api::ObjectGeneration) -> Result<Wanted, Status> {
    let named = object.object.clone().unwrap_or_default();
    let kind = find_kind(&named.kind)?;
    let reference = ObjectRef::new(&kind.api_version(), kind.name, or_default(&named.namespace), &named.name);
    Ok((reference, (!object.deleted).then_some(object.generation)))
}

/// The world's revision when all objects have arrived; none when the time is up before.
async fn arrival(state: &Arc<MeshState>, wanted: &[Wanted], deadline: Instant) -> Option<u64> {
    let mut revisions = state.revisions();
    loop {
        revisions.borrow_and_update();
        if still_missing(&state.objects(), wanted).next().is_none() {
            return Some(state.world().load().revision);
        }
        tokio::time::timeout_at(deadline, revisions.changed()).await.ok()?.ok()?;
    }
}

fn still_missing<'a>(objects: &'a Objects, wanted: &'a [Wanted]) -> impl Iterator<Item = &'a Wanted> {
    wanted.iter().filter(|(reference, generation)| match (objects.by_name.get(reference), generation) {
        (Some(held), Some(generation)) => held.generation < *generation,
        (None, None) => false,
        _ => true,
    })
}

/// Why objects did not arrive: what is wrong with them, when it is that.
fn missing(state: &MeshState, wanted: &[Wanted]) -> Event {
    let findings = state.findings();
    let errors: Vec<_> =
        about(&findings, wanted).filter(|finding| finding.is_error()).map(Into::into).collect();
    if !errors.is_empty() {
        return Event::Rejected(Rejected { findings: errors });
    }
    let objects = state.objects();
    let pending =
        still_missing(&objects, wanted).map(|(reference, _)| format!("the control plane, of {reference}"));
    Event::Rollout(Rollout { timed_out: true, pending: pending.collect(), ..Rollout::default() })
}

fn about<'a>(findings: &'a [Finding], wanted: &'a [Wanted]) -> impl Iterator<Item = &'a Finding> {
    findings.iter().filter(|finding| {
        finding.object.as_ref().is_some_and(|object| wanted.iter().any(|(reference, _)| reference == object))
    })
}
