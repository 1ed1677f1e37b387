//! Whom a change of `PeerAuthentication` would lock out: callers without mutual TLS that were seen lately.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::source::diagnostic::code;
use crate::source::kinds::peer_authentication::MtlsMode;
use crate::source::{Finding, Object, Severity};
use crate::telemetry::PlainCalls;
use crate::world::{Policies, World, WorldWorkload};

#[cfg(test)]
#[path = "plaintext_tests.rs"]
mod tests;

/// How far back callers are looked for.
pub const LOOKED_BACK: Duration = Duration::from_secs(600);
/// Callers that a finding names.
const NAMED: usize = 5;

/// Calls that one policy would refuse.
struct Refused<'a> {
    decided_by: (&'a Arc<Object>, Arc<str>),
    called: String,
    noun: &'static str,
    count: u64,
    ago: Duration,
    callers: BTreeMap<String, u64>,
    with_sidecar: Vec<String>,
}

/// Warnings about what `next` would refuse of the `calls` that `world` allows. A workload's port that no policy makes
/// stricter is not spoken of.
#[must_use]
pub fn review(calls: &[PlainCalls], world: &World, next: &Policies) -> Vec<Finding> {
    let mut all: BTreeMap<(String, bool), Refused<'_>> = BTreeMap::new();
    for PlainCalls { caller, count, ago } in calls {
        let key = (caller.namespace.clone(), caller.workload.clone());
        let Some(workload) = world.workloads.get(&key) else { continue };
        let mode =
            |policies: &Policies| policies.mtls_mode(&workload.namespace, &workload.labels, caller.port).mode;
        if mode(&world.policies) == MtlsMode::Strict {
            continue;
        }
        let after = next.mtls_mode(&workload.namespace, &workload.labels, caller.port);
        let (MtlsMode::Strict, Some(decided_by)) = (after.mode, after.decided_by) else { continue };
        let source = caller.address.and_then(|address| world.workload_at(address)).map(AsRef::as_ref);
        let has_sidecar = source.is_some_and(|source| source.mutual_tls);
        // Called in plain text because a policy asks for it: it is told of the change, and does as the new one asks.
        if has_sidecar && mode(&world.policies) == MtlsMode::Disable {
            continue;
        }
        let tcp = &*caller.protocol == "tcp";
        let called = called(&caller.service, &workload.name, &workload.namespace, caller.port);
        let refused = all.entry((called.clone(), tcp)).or_insert_with(|| Refused {
            decided_by,
            called,
            noun: if tcp { "connection" } else { "request" },
            count: 0,
            ago: *ago,
            callers: BTreeMap::new(),
            with_sidecar: Vec::new(),
        });
        refused.count = refused.count.saturating_add(*count);
        refused.ago = refused.ago.min(*ago);
        *refused.callers.entry(name_of(caller.address, source)).or_default() += count;
        if let Some(source) = source.filter(|_| has_sidecar)
            && !refused.with_sidecar.contains(&source.name.to_string())
        {
            refused.with_sidecar.push(source.name.to_string());
        }
    }
    all.into_values().map(finding).collect()
}

/// `reviews.default`, or the workload and its port where the port belongs to no service.
fn called(service: &str, workload: &str, namespace: &str, port: u16) -> String {
    match service.split_once(".svc.") {
        Some((name, _)) => name.to_owned(),
        None if !service.is_empty() && !service.ends_with("Cluster") => service.to_owned(),
        None => format!("port {port} of {workload}.{namespace}"),
    }
}

fn name_of(address: Option<IpAddr>, workload: Option<&WorldWorkload>) -> String {
    match (address, workload) {
        (Some(address), Some(workload)) => format!("{address} ({}.{})", workload.name, workload.namespace),
        (Some(address), None) => address.to_string(),
        (None, _) => "many others".to_owned(),
    }
}

fn finding(refused: Refused<'_>) -> Finding {
    let Refused { decided_by: (object, field), called, noun, count, ago, callers, with_sidecar } = refused;
    let mut callers: Vec<(String, u64)> = callers.into_iter().collect();
    callers.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = callers.len().saturating_sub(NAMED);
    let mut named: Vec<String> = callers.into_iter().take(NAMED).map(|(name, _)| name).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    let (plural, they) = if count == 1 { ("", "it") } else { ("s", "they") };
    let message = format!(
        "{called} received {count} plain-text {noun}{plural} in the last {} minutes, the last {} s ago, from {}; {they} will be refused",
        LOOKED_BACK.as_secs() / 60,
        ago.as_secs(),
        named.join(", "),
    );
    let hint = if with_sidecar.is_empty() {
        "bring the callers into the mesh, or leave the port PERMISSIVE; `weft stat --plaintext` lists them"
            .to_owned()
    } else {
        let (who, has) = (with_sidecar.join(", "), if with_sidecar.len() == 1 { "has" } else { "have" });
        format!(
            "{who} {has} a sidecar: what is called by the service's name goes over mutual TLS, what is called by address \
             or under a DestinationRule with `tls.mode: DISABLE` does not; `weft stat --plaintext` lists all"
        )
    };
    object.finding(Severity::Warning, code::PLAINTEXT_PEERS, &field, message, hint)
}
