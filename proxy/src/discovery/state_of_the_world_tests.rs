use weft_proto::xds::Status;
use weft_proto::xds::cluster::Cluster;
use weft_proto::xds::protobuf::Any;

use super::*;

fn ask(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url::ENDPOINT.to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn answer(kind: &str, version: &str, nonce: &str, names: &[&str]) -> DiscoveryResponse {
    let resource = |name: &&str| Any {
        type_url: kind.to_owned(),
        value: Cluster { name: (*name).to_owned(), ..Default::default() }.encode_to_vec(),
    };
    DiscoveryResponse {
        version_info: version.to_owned(),
        nonce: nonce.to_owned(),
        type_url: kind.to_owned(),
        resources: names.iter().map(resource).collect(),
        ..Default::default()
    }
}

fn acknowledge(kind: &str, nonce: &str, refused: bool) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.to_owned(),
        response_nonce: nonce.to_owned(),
        error_detail: refused.then(Status::default),
        ..Default::default()
    }
}

#[test]
fn a_request_names_all_that_is_wanted_and_what_was_heard_last() {
    let mut translation = Translation::default();
    assert_eq!(translation.request(ask(&["a", "b"])).resource_names, ["a", "b"]);
    translation.response(answer(type_url::ENDPOINT, "1", "n1", &["a"]));
    let acknowledged = translation.request(acknowledge(type_url::ENDPOINT, "n1", false));
    assert_eq!((&*acknowledged.version_info, &*acknowledged.response_nonce), ("1", "n1"));
    let more = DeltaDiscoveryRequest { resource_names_unsubscribe: vec!["a".to_owned()], ..ask(&["c"]) };
    let more = translation.request(more);
    assert_eq!(more.resource_names, ["b", "c"]);
    assert_eq!((&*more.version_info, &*more.response_nonce), ("1", "n1"));
}

#[test]
fn a_refusal_keeps_the_version_that_holds() {
    let mut translation = Translation::default();
    translation.response(answer(type_url::CLUSTER, "1", "n1", &["a"]));
    translation.request(acknowledge(type_url::CLUSTER, "n1", false));
    translation.response(answer(type_url::CLUSTER, "2", "n2", &["b"]));
    let refused = translation.request(acknowledge(type_url::CLUSTER, "n2", true));
    assert_eq!((&*refused.version_info, &*refused.response_nonce), ("1", "n2"));
    assert!(refused.error_detail.is_some());
}

#[test]
fn what_a_complete_answer_does_not_hold_is_gone() {
    let mut translation = Translation::default();
    assert!(
        translation.response(answer(type_url::CLUSTER, "1", "", &["a", "b"])).removed_resources.is_empty()
    );
    let next = translation.response(answer(type_url::CLUSTER, "2", "", &["b", "c"]));
    assert_eq!(next.removed_resources, ["a"]);
    let names: Vec<_> = next.resources.iter().map(|it| (it.name.as_str(), it.version.as_str())).collect();
    assert_eq!(names, [("b", "2"), ("c", "2")]);
    translation.response(answer(type_url::ENDPOINT, "1", "", &["a"]));
    assert!(translation.response(answer(type_url::ENDPOINT, "2", "", &[])).removed_resources.is_empty());
}
