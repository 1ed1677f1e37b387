//! The sidecars that are connected: their versions, how far they are, and when certificates end.

use std::time::SystemTime;

use jiff::Timestamp;
use weft_proto::api::{InfoRequest, ProxyStatusEntry, ProxyStatusRequest};

use super::Check;
use crate::cluster::{Cluster, merge};
use crate::command::CommandError;

#[cfg(test)]
#[path = "sidecars_tests.rs"]
mod tests;

/// Minor versions that a sidecar may be behind the control plane.
const SKEW: u64 = 2;
/// A root that ends within so many days is told of: it has to be replaced with both in force for a while.
const ROOT_DAYS: i64 = 30;

pub(super) async fn check(cluster: &Cluster) -> Result<Vec<Check>, CommandError> {
    let infos = cluster
        .ask_all(|mut mesh| async move { mesh.info(InfoRequest {}).await.map(tonic::Response::into_inner) });
    let infos = infos.await?;
    let answers = cluster.ask_all(|mut mesh| async move {
        mesh.proxy_status(ProxyStatusRequest::default()).await.map(tonic::Response::into_inner)
    });
    let proxies = merge::proxies(answers.await?.into_iter().map(|(_, answer)| answer).collect()).proxies;
    let connected: Vec<&ProxyStatusEntry> = proxies.iter().filter(|entry| entry.connected).collect();
    let oldest = infos.iter().map(|(_, info)| info.version.as_str()).min().unwrap_or_default();
    let newest = infos.iter().map(|(_, info)| info.version.as_str()).max().unwrap_or_default();
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    let mut checks = vec![Check::ok("sidecars", format!("{} are connected", connected.len()))];
    checks.extend(versions(&connected, newest));
    if oldest != newest {
        checks.push(Check::warning(
            "versions",
            format!("control planes of {oldest} and {newest} run"),
            "a rollout is under way, or several revisions are installed",
        ));
    }
    checks.extend(behind(&connected));
    if let Some((pod, info)) = infos.first() {
        checks.extend(root(pod, &info.root_expires, now));
    }
    checks.extend(certificates(&connected, now));
    Ok(checks)
}

/// Major and minor version.
fn minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn versions(connected: &[&ProxyStatusEntry], control_plane: &str) -> Vec<Check> {
    let Some((major, own)) = minor(control_plane) else { return Vec::new() };
    let outside = |entry: &&&ProxyStatusEntry| {
        minor(&entry.version)
            .is_some_and(|(theirs, minor)| theirs != major || minor > own || own - minor > SKEW)
    };
    let about: Vec<String> =
        connected.iter().filter(outside).map(|entry| format!("{} {}", entry.proxy, entry.version)).collect();
    if about.is_empty() {
        return vec![Check::ok(
            "versions",
            format!("all sidecars are within {SKEW} minor versions of {control_plane}"),
        )];
    }
    let message = format!(
        "{} sidecars are newer than the control plane, or more than {SKEW} minor versions older than {control_plane}",
        about.len()
    );
    vec![Check::error("versions", message, "restart their pods").about(about)]
}

fn behind(connected: &[&ProxyStatusEntry]) -> Vec<Check> {
    let with = |state: &str| -> Vec<String> {
        let has = |entry: &&&ProxyStatusEntry| entry.types.iter().any(|it| it.state == state);
        connected.iter().filter(has).map(|entry| entry.proxy.clone()).collect()
    };
    let mut checks = Vec::new();
    let (refused, pending) = (with("REFUSED"), with("PENDING"));
    if !refused.is_empty() {
        let message = format!("{} have refused what they were sent", refused.len());
        checks
            .push(Check::error("sidecars", message, "`weft proxy status` says what and why").about(refused));
    }
    if !pending.is_empty() {
        checks.push(
            Check::warning("sidecars", format!("{} have not acknowledged yet", pending.len()), "")
                .about(pending),
        );
    }
    checks
}

fn root(pod: &str, expires: &str, now: Timestamp) -> Option<Check> {
    let ends: Timestamp = expires.parse().ok()?;
    let days = (ends.as_second() - now.as_second()) / 86_400;
    let message = format!("the mesh's root ends on {expires}, in {days} days");
    Some(if days < 0 {
        Check::error(
            "certificates",
            format!("the mesh's root has ended, on {expires}"),
            "put another into the Secret weft-ca",
        )
        .about(vec![pod.to_owned()])
    } else if days < ROOT_DAYS {
        Check::warning(
            "certificates",
            message,
            "add its successor to the Secret weft-ca now, so that both hold for a while",
        )
    } else {
        Check::ok("certificates", message)
    })
}

fn certificates(connected: &[&ProxyStatusEntry], now: Timestamp) -> Option<Check> {
    let ended = |entry: &&&ProxyStatusEntry| {
        entry.certificate_expires.parse::<Timestamp>().is_ok_and(|ends| ends <= now)
    };
    let about: Vec<String> = connected.iter().filter(ended).map(|entry| entry.proxy.clone()).collect();
    let hint = "their logs say why they get no new one: `weft logs POD --proxy`";
    (!about.is_empty()).then(|| {
        Check::error("certificates", format!("those of {} sidecars have ended", about.len()), hint)
            .about(about)
    })
}
