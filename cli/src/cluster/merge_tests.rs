use super::*;

fn entry(proxy: &str, connected: bool, seconds: u64) -> ProxyStatusEntry {
    ProxyStatusEntry {
        proxy: proxy.to_owned(),
        connected,
        connected_seconds: seconds,
        ..ProxyStatusEntry::default()
    }
}

#[test]
fn a_sidecar_that_went_over_to_another_control_plane_is_there_once_and_connected() {
    let answers = vec![
        ProxyStatusResponse {
            revision: 7,
            proxies: vec![entry("a.shop", false, 0), entry("b.shop", true, 90)],
        },
        ProxyStatusResponse {
            revision: 9,
            proxies: vec![entry("a.shop", true, 3), entry("b.shop", true, 2)],
        },
    ];
    let all = proxies(answers);
    assert_eq!(all.revision, 9);
    assert_eq!(all.proxies, [entry("a.shop", true, 3), entry("b.shop", true, 2)]);
}

#[test]
fn a_rollout_is_done_when_it_is_at_every_control_plane() {
    let done = Rollout { concerned: 2, acknowledged: 2, done: true, ..Rollout::default() };
    let late = Rollout {
        concerned: 3,
        acknowledged: 1,
        timed_out: true,
        pending: vec!["a.shop".to_owned()],
        ..Rollout::default()
    };
    let both = rollouts(&[done.clone(), late]);
    assert_eq!((both.concerned, both.acknowledged, both.done, both.timed_out), (5, 3, false, true));
    assert!(rollouts(&[done.clone(), done]).done);
}

#[test]
fn a_sidecar_is_absent_when_it_is_at_no_control_plane() {
    let without = |absent: &[&str]| Rollout {
        absent: absent.iter().map(|&proxy| proxy.to_owned()).collect(),
        ..Rollout::default()
    };
    let all = rollouts(&[without(&["a.shop", "b.shop"]), without(&["b.shop", "c.shop"])]);
    assert_eq!(all.absent, ["b.shop"]);
    assert_eq!(rollouts(&[without(&["a.shop"])]).absent, ["a.shop"]);
    assert!(rollouts(&[]).absent.is_empty());
}
