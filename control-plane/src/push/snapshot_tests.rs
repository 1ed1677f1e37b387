use bytes::Bytes;

use super::*;
use crate::push::resource::Resource;

fn set(content: &str) -> Arc<ResourceSet> {
    let resource = Resource::new("one", Bytes::copy_from_slice(content.as_bytes()));
    Arc::new([Arc::new(resource)].into_iter().collect())
}

fn resources(revision: u64, clusters: &str, endpoints: &str) -> Resources {
    let mut resources = Resources { revision, ..Resources::default() };
    resources.sets[ResourceType::Cluster as usize] = set(clusters);
    resources.sets[ResourceType::Endpoint as usize] = set(endpoints);
    resources
}

fn revision(number: u64, configuration: u64, endpoints: u64) -> Revision {
    Revision { number, configuration, endpoints }
}

#[test]
fn an_endpoint_change_leaves_the_other_lanes_as_they_are() {
    let first = Snapshot::first(1, resources(1, "a", "a"));
    let next = first.with_endpoints(Some((2, set("b"))), revision(2, 1, 2));
    assert_eq!((next.revision, next.consistent), (2, true));
    assert_eq!(next.lane(ResourceType::Cluster).serial, 1);
    assert_eq!(next.lane(ResourceType::Endpoint).serial, 2);
    assert_eq!(next.lane(ResourceType::Endpoint).changed.iter().map(|n| &**n).collect::<Vec<_>>(), ["one"]);
}

#[test]
fn endpoints_that_are_ahead_of_configuration_do_not_complete_the_revision() {
    let first = Snapshot::first(1, resources(1, "a", "a"));
    let ahead = first.with_endpoints(Some((2, set("b"))), revision(2, 2, 2));
    assert_eq!((ahead.revision, ahead.consistent), (1, false));
    let whole = ahead.with_resources(&resources(2, "b", "b"));
    assert_eq!((whole.revision, whole.consistent), (2, true));
    assert_eq!(whole.lane(ResourceType::Endpoint).serial, 2);
}

#[test]
fn a_slow_compile_does_not_bring_back_older_endpoints() {
    let first = Snapshot::first(1, resources(1, "a", "a"));
    let ahead = first.with_endpoints(Some((3, set("c"))), revision(3, 2, 3));
    let late = ahead.with_resources(&resources(2, "b", "b"));
    assert_eq!(late.lane(ResourceType::Endpoint).set.get("one").map(|r| &r.bytes[..]), Some(&b"c"[..]));
    assert_eq!((late.revision, late.consistent), (2, false));
    let caught_up = late.with_endpoints(None, revision(3, 2, 3));
    assert_eq!((caught_up.revision, caught_up.consistent), (3, true));
}

#[test]
fn a_revision_that_changes_nothing_is_reached_without_compiling() {
    let first = Snapshot::first(1, resources(1, "a", "a"));
    let next = first.with_endpoints(None, revision(2, 1, 1));
    assert_eq!(next.revision, 2);
    assert!(next.is_news_after(&first));
    assert!(!next.with_resources(&resources(2, "a", "a")).is_news_after(&next));
}
