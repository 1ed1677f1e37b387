//! Which of several replicas leads: the one that holds a Lease
//! (<https://kubernetes.io/docs/concepts/architecture/leases/>).
//!
//! The rules are those of Kubernetes' own components. Time is measured by one's own clock alone: a lease has run out when
//! nobody has been *seen* to renew it for its whole duration. Every write names the version that it is based on, so that of
//! two replicas that want the lease at the same moment one gets it. Who leads stops doing so before others may begin.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::explain;

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;

/// How a leader is elected.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Of the Lease.
    pub namespace: String,
    /// Of the Lease.
    pub name: String,
    /// Whoever holds it is told apart by this; unique among the replicas.
    pub identity: String,
    /// A lease that was not renewed for so long is anybody's.
    pub duration: Duration,
    /// Who could not renew it for so long leads no more; shorter than `duration`.
    pub renew_deadline: Duration,
    /// Between two looks at the lease.
    pub retry: Duration,
}

impl LeaseSettings {
    /// The usual times: 15 s, 10 s, 2 s.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Stands for election until `leaving`; then the lease is given back, so that another need not wait. Whether this replica
/// leads is what `leading` says.
pub async fn stand(
    client: Client,
    settings: LeaseSettings,
    leading: watch::Sender<bool>,
    mut leaving: watch::Receiver<bool>,
) {
    let api: Api<Lease> = Api::namespaced(client, &settings.namespace);
    let mut candidate = Candidate::new(settings);
    loop {
        let patience = candidate.settings.renew_deadline / 2;
        match timeout(patience, candidate.turn(&api)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = explain(&error), "the Lease cannot be read or written"),
            Err(_) => tracing::debug!("the Lease cannot be read or written in time"),
        }
        announce(&leading, candidate.leads(Instant::now()), &candidate.settings);
        let wait = candidate.wait(Instant::now());
        tokio::select! {
            () = sleep(wait) => {}
            _ = leaving.wait_for(|leaving| *leaving) => break,
        }
        announce(&leading, candidate.leads(Instant::now()), &candidate.settings);
    }
    announce(&leading, false, &candidate.settings);
    if candidate.renewed.is_some() {
        let _ = timeout(candidate.settings.retry, candidate.give_back(&api)).await;
    }
}

fn announce(leading: &watch::Sender<bool>, leads: bool, settings: &LeaseSettings) {
    leading.send_if_modified(|known| {
        let changed = *known != leads;
        if changed {
            let (lease, identity) = (&settings.name, &settings.identity);
            let what = if leads { "this replica leads now" } else { "this replica leads no more" };
            tracing::info!(lease, identity, "{what}");
        }
        *known = leads;
        changed
    });
}

struct Candidate {
    settings: LeaseSettings,
    /// What was seen last, and since when it has been the same.
    seen: Option<(LeaseSpec, Instant)>,
    /// When we last renewed it: when the attempt began, not when it was answered.
    renewed: Option<Instant>,
}

/// What to do about a lease.
#[derive(PartialEq, Debug)]
enum Move {
    Create,
    Take,
    Renew,
    Wait,
}

impl Candidate {
    fn new(settings: LeaseSettings) -> Self {
        Self { settings, seen: None, renewed: None }
    }

    fn lead_ends(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.settings.renew_deadline)
    }

    fn leads(&self, now: Instant) -> bool {
        self.lead_ends().is_some_and(|ends| now < ends)
    }

    /// Until the next look: by chance shorter or longer, so that replicas do not come all at once; and when the lead ends,
    /// which must be told in time.
    fn wait(&self, now: Instant) -> Duration {
        let wait = self.settings.retry.mul_f64(0.8 + fastrand::f64() * 0.4);
        let left = self.lead_ends().filter(|ends| now < *ends).map(|ends| ends - now);
        left.map_or(wait, |left| wait.min(left))
    }

    /// Looks at the lease, and takes or renews it if that is our turn.
    async fn turn(&mut self, api: &Api<Lease>) -> Result<(), kube::Error> {
        let began = Instant::now();
        let found = api.get_opt(&self.settings.name).await?;
        let next = self.judge(found.as_ref().and_then(|lease| lease.spec.as_ref()), began);
        let next = if found.is_none() { Move::Create } else { next };
        if next == Move::Wait {
            self.renewed = None;
            return Ok(());
        }
        let before = found.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let spec = self.spec(&before, next == Move::Renew);
        let written = match found {
            None => {
                let metadata = ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() };
                api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec.clone()) }).await
            }
            // With the version that was read: if somebody else was faster, this is refused.
            Some(lease) => {
                let fresh = Lease { spec: Some(spec.clone()), ..lease };
                api.replace(&self.settings.name, &PostParams::default(), &fresh).await
            }
        };
        match written {
            Ok(_) => {
                (self.renewed, self.seen) = (Some(began), Some((spec, began)));
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.renewed = None;
                Ok(())
            }
            // Perhaps it was written all the same; we lead for as long as the last one that we know of lasts.
            Err(error) => Err(error),
        }
    }

    fn judge(&mut self, spec: Option<&LeaseSpec>, now: Instant) -> Move {
        let spec = spec.cloned().unwrap_or_default();
        let since = match &self.seen {
            Some((known, since)) if *known == spec => *since,
            _ => now,
        };
        let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(self.settings.duration, Duration::from_secs);
        let holder = spec.holder_identity.clone().unwrap_or_default();
        self.seen = Some((spec, since));
        if holder == self.settings.identity {
            return Move::Renew;
        }
        if holder.is_empty() || now >= since + duration { Move::Take } else { Move::Wait }
    }

    fn spec(&self, before: &LeaseSpec, is_ours: bool) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let transitions = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(self.settings.duration.as_secs().max(1)).ok(),
            acquire_time: if is_ours { before.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if is_ours { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }

    async fn give_back(&self, api: &Api<Lease>) -> Result<(), kube::Error> {
        let Some(mut lease) = api.get_opt(&self.settings.name).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
        if spec.holder_identity.as_deref() != Some(&self.settings.identity) {
            return Ok(());
        }
        (spec.holder_identity, spec.lease_duration_seconds) = (Some(String::new()), Some(1));
        api.replace(&self.settings.name, &PostParams::default(), &lease).await.map(drop)
    }
}

/// Does something while this replica leads; what was begun is dropped when it does no more.
pub async fn while_leading<F: Future<Output = ()>>(mut leading: watch::Receiver<bool>, act: impl Fn() -> F) {
    while leading.wait_for(|leading| *leading).await.is_ok() {
        tokio::select! {
            () = act() => return,
            _ = leading.wait_for(|leading| !*leading) => {}
        }
    }
}
