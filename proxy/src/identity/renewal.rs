//! Renew the certificate about half-way through its life, by the wall clock.
//!
//! A timer alone is not enough: it stands still while a machine sleeps, and an expired certificate would be noticed
//! hours late (the outages of istio#38081 and consul#16779). So the clock is looked at every few seconds.

use std::time::{Duration, SystemTime};

use weft_model::clock::Clock;

use super::current::Identity;
use super::request::obtain;
use super::settings::IdentitySettings;

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;

/// How long a sleep of the machine can go unnoticed after it wakes.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Keeps the certificate fresh for as long as the process lives. Spawn it once.
///
/// A failure is logged, kept in [`Identity::status`] and tried again, sooner at first and then every minute; the
/// current certificate stays in use meanwhile.
pub async fn renew(identity: Identity, settings: IdentitySettings, clock: Clock) {
    let mut due = match identity.current() {
        Some(certificate) => half_way(certificate.not_before(), certificate.not_after()),
        None => clock.now(),
    };
    loop {
        identity.renewal(|state| state.renew_at = Some(due));
        wait_until(due, &clock).await;
        due = match obtain(&settings, &identity, clock.now()).await {
            Ok(certificate) => {
                // The authority dates a certificate a little back, so its begin is no measure of a short life.
                let due = half_way(clock.now().max(certificate.not_before()), certificate.not_after());
                tracing::info!(
                    identity = %certificate.identity(),
                    serial = certificate.serial(),
                    lifetime = ?certificate.not_after().duration_since(clock.now()).unwrap_or_default(),
                    "obtained a certificate"
                );
                identity.replace(certificate);
                identity.renewal(|state| {
                    state.renewals += 1;
                    state.failures = 0;
                    state.last_error = None;
                });
                due
            }
            Err(error) => {
                let failures = identity.renewal(|state| {
                    state.failures += 1;
                    state.last_error = Some(error.to_string());
                    state.failures
                });
                let pause = retry_after(failures);
                tracing::warn!(%error, failures, retry_in = ?pause, "obtained no certificate");
                clock.now() + pause
            }
        };
    }
}

/// Between 45 % and 55 % of the way: the sidecars of a mesh that started together shall not all ask together.
fn half_way(begin: SystemTime, end: SystemTime) -> SystemTime {
    let life = end.duration_since(begin).unwrap_or_default();
    begin + life.mul_f64(0.45 + 0.1 * fastrand::f64())
}

/// Doubles from half a second to a minute, then varied by a quarter.
fn retry_after(failures: u64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let pause = FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY);
    pause.mul_f64(0.75 + 0.5 * fastrand::f64())
}

async fn wait_until(deadline: SystemTime, clock: &Clock) {
    wait_until_looking_every(deadline, clock, LOOK_AT_CLOCK).await;
}

async fn wait_until_looking_every(deadline: SystemTime, clock: &Clock, look: Duration) {
    while let Ok(remaining) = deadline.duration_since(clock.now())
        && !remaining.is_zero()
    {
        tokio::time::sleep(remaining.min(look)).await;
    }
}
