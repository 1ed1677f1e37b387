//! Waits until the sidecars of all control planes know of a change.

use std::time::Duration;

use futures_util::future::join_all;
use tonic::Streaming;
use weft_proto::api::apply_event::Event;
use weft_proto::api::{Accepted, ApplyEvent, AwaitRequest, ObjectChange, Rollout};

use super::{Cluster, merge, policies};
use crate::command::{CommandError, NOT_UP};

/// What one control plane said in the end.
#[derive(Default)]
struct Said {
    accepted: Option<Accepted>,
    rejected: Option<ApplyEvent>,
    rollout: Option<Rollout>,
}

impl Cluster {
    /// Waits until every control plane has the objects and its sidecars have acknowledged, and gives what there is to say: the
    /// findings of the first, and how far all are; or why the objects are not in force.
    ///
    /// # Errors
    /// When no control plane can be asked.
    pub async fn rollout(
        &self,
        changes: &[ObjectChange],
        limit: Duration,
    ) -> Result<Vec<ApplyEvent>, CommandError> {
        let request =
            AwaitRequest { objects: policies::awaited(changes), timeout_ms: limit.as_millis() as u64 };
        let streams = self
            .ask_all(|mut mesh| {
                let request = request.clone();
                async move { mesh.r#await(request).await.map(tonic::Response::into_inner) }
            })
            .await?;
        let said = join_all(streams.into_iter().map(|(_, stream)| last(stream))).await;
        let said = said.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some(rejected) = said.iter().find_map(|it| it.rejected.clone()) {
            return Ok(vec![rejected]);
        }
        let findings = said.iter().find_map(|it| it.accepted.clone()).unwrap_or_default().findings;
        let parts: Vec<Rollout> = said.into_iter().filter_map(|it| it.rollout).collect();
        let accepted = Accepted { changes: Vec::new(), findings, revision: 0 };
        let events = [Event::Accepted(accepted), Event::Rollout(merge::rollouts(&parts))];
        Ok(events.map(|event| ApplyEvent { event: Some(event) }).into())
    }
}

async fn last(mut stream: Streaming<ApplyEvent>) -> Result<Said, CommandError> {
    let mut said = Said::default();
    let broken = |status: tonic::Status| {
        CommandError::new(
            NOT_UP,
            format!("a control plane ended while its sidecars were waited for: {}", status.message()),
        )
        .hint("the change is made; `weft proxy status` shows how far the sidecars are")
    };
    while let Some(event) = stream.message().await.map_err(broken)? {
        match event.event.clone() {
            Some(Event::Accepted(accepted)) => said.accepted = Some(accepted),
            Some(Event::Rejected(_)) => said.rejected = Some(event),
            Some(Event::Rollout(rollout)) => said.rollout = Some(rollout),
            None => {}
        }
    }
    Ok(said)
}
