//! Waits until the sidecars of all control planes know of a change, whatever happens to the control planes meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status, Streaming};
use weft_proto::api::apply_event::Event;
use weft_proto::api::mesh_client::MeshClient;
use weft_proto::api::{Accepted, ApplyEvent, AwaitRequest, ObjectChange, ObjectGeneration, Rollout};

use super::{Cluster, merge, policies};
use crate::command::{CommandError, NOT_UP};

/// Between questions, while control planes or sidecars come back.
const AGAIN: Duration = Duration::from_millis(250);
/// Sidecars whose control plane went are connected to another by then; who is still away does not come soon.
const COMING_BACK: Duration = Duration::from_secs(20);

/// What one control plane said in the end.
#[derive(Default)]
struct Said {
    accepted: Option<Accepted>,
    rejected: Option<ApplyEvent>,
    rollout: Option<Rollout>,
}

impl Said {
    fn is_over(&self) -> bool {
        self.rejected.is_some() || self.rollout.as_ref().is_some_and(|it| it.done || it.timed_out)
    }
}

impl Cluster {
    /// Waits until every control plane has the objects and all sidecars have acknowledged, and gives what there is to
    /// say: the findings of the first control plane, and how far all are; or why the objects are not in force. Control
    /// planes that go are asked no more, those that come are asked, too; sidecars between two of them are waited for.
    ///
    /// # Errors
    /// When no control plane can be asked until the time is up.
    pub async fn rollout(
        &self,
        changes: &[ObjectChange],
        limit: Duration,
    ) -> Result<Vec<ApplyEvent>, CommandError> {
        let objects = policies::awaited(changes);
        let deadline = Instant::now() + limit;
        let back_by = deadline.min(Instant::now() + COMING_BACK);
        loop {
            match self.ask_how_far(&objects, deadline).await {
                Ok(said) => {
                    let all = merge::rollouts(&rollouts(&said));
                    let is_back = all.absent.is_empty() || !all.done || Instant::now() >= back_by;
                    if is_back {
                        return Ok(told(said, all));
                    }
                }
                Err(error) if error.code != NOT_UP || Instant::now() + AGAIN >= deadline => {
                    return Err(error);
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }

    /// Asks all control planes of now, and waits for their last words.
    async fn ask_how_far(
        &self,
        objects: &[ObjectGeneration],
        deadline: Instant,
    ) -> Result<Vec<Said>, CommandError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let request = AwaitRequest { objects: objects.to_vec(), timeout_ms: left.as_millis().max(1) as u64 };
        let (replicas, errors) = self.reach_replicas().await?;
        if let Some(error) = errors.into_iter().next() {
            return Err(CommandError { code: NOT_UP, ..error });
        }
        let asked = replicas.into_iter().map(|replica| {
            let request = request.clone();
            async move {
                last_words(replica.mesh, request).await.map_err(|status| {
                    let gone = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
                    let error = CommandError::from(status).within(&replica.pod);
                    if gone { CommandError { code: NOT_UP, ..error }.hint(GOES_ON) } else { error }
                })
            }
        });
        join_all(asked).await.into_iter().collect()
    }
}

const GOES_ON: &str = "the change is made; `weft proxy status` shows how far the sidecars are";

fn rollouts(said: &[Said]) -> Vec<Rollout> {
    said.iter().filter_map(|it| it.rollout.clone()).collect()
}

fn told(said: Vec<Said>, all: Rollout) -> Vec<ApplyEvent> {
    if let Some(rejected) = said.iter().find_map(|it| it.rejected.clone()) {
        return vec![rejected];
    }
    let findings = said.into_iter().find_map(|it| it.accepted).unwrap_or_default().findings;
    let accepted = Accepted { changes: Vec::new(), findings, revision: 0 };
    [Event::Accepted(accepted), Event::Rollout(all)].map(|event| ApplyEvent { event: Some(event) }).into()
}

async fn last_words(
    mut mesh: MeshClient<tonic::transport::Channel>,
    request: AwaitRequest,
) -> Result<Said, Status> {
    let mut stream: Streaming<ApplyEvent> = mesh.r#await(request).await?.into_inner();
    let mut said = Said::default();
    while let Some(event) = stream.message().await? {
        match event.event.clone() {
            Some(Event::Accepted(accepted)) => said.accepted = Some(accepted),
            Some(Event::Rejected(_)) => said.rejected = Some(event),
            Some(Event::Rollout(rollout)) => said.rollout = Some(rollout),
            None => {}
        }
    }
    if said.is_over() {
        Ok(said)
    } else {
        Err(Status::unavailable("it ended before its sidecars had answered"))
    }
}
