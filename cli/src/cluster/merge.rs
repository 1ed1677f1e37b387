//! The answers of several control planes as those of one.

use std::collections::BTreeMap;

use weft_proto::api::{InfoResponse, ProxyStatusEntry, ProxyStatusResponse, Refusal, Rollout};

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;

/// All sidecars: each as the control plane says that it is connected to. One that went over to another is not missing at
/// the first.
#[must_use]
pub fn proxies(answers: Vec<ProxyStatusResponse>) -> ProxyStatusResponse {
    let mut all: BTreeMap<String, ProxyStatusEntry> = BTreeMap::new();
    let mut revision = 0;
    for answer in answers {
        revision = revision.max(answer.revision);
        for entry in answer.proxies {
            let known = all.get(&entry.proxy).map(rank);
            if known.is_none_or(|known| rank(&entry) > known) {
                all.insert(entry.proxy.clone(), entry);
            }
        }
    }
    ProxyStatusResponse { revision, proxies: all.into_values().collect() }
}

/// Connected before gone; of two that are connected, which lasts while a sidecar moves, the younger.
fn rank(entry: &ProxyStatusEntry) -> (bool, std::cmp::Reverse<u64>) {
    (entry.connected, std::cmp::Reverse(entry.connected_seconds))
}

/// How far all sidecars are. Revisions are numbered by each control plane for itself, so there is none for all.
#[must_use]
pub fn rollouts(parts: &[Rollout]) -> Rollout {
    let (first, others) =
        parts.split_first().map_or((&[][..], parts), |(first, others)| (&first.absent[..], others));
    let nowhere = |proxy: &&String| others.iter().all(|part| part.absent.contains(proxy));
    let mut refusals: Vec<Refusal> = parts.iter().flat_map(|part| part.refusals.clone()).collect();
    refusals.dedup();
    Rollout {
        revision: 0,
        concerned: parts.iter().map(|part| part.concerned).sum(),
        acknowledged: parts.iter().map(|part| part.acknowledged).sum(),
        refusals,
        pending: parts.iter().flat_map(|part| part.pending.clone()).collect(),
        done: parts.iter().all(|part| part.done),
        timed_out: parts.iter().any(|part| part.timed_out),
        absent: first.iter().filter(nowhere).cloned().collect(),
    }
}

/// The mesh as a whole: what is the same for all from the first, sidecars added up.
#[must_use]
pub fn info(answers: &[(String, InfoResponse)]) -> InfoResponse {
    let first = answers.first().map(|(_, info)| info.clone()).unwrap_or_default();
    InfoResponse {
        proxies: answers.iter().map(|(_, info)| info.proxies).sum(),
        objects: answers.iter().map(|(_, info)| info.objects).max().unwrap_or_default(),
        ..first
    }
}
