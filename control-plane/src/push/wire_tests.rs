use bytes::Bytes;
use weft_proto::xds::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};

use super::*;

fn response(protocol: Protocol) -> Response {
    let resource = |name: &str, aliases: &[&str]| {
        let aliases = aliases.iter().map(|alias| Arc::from(*alias)).collect();
        Arc::new(Resource::new(name, Bytes::from(name.repeat(300))).with_aliases(aliases))
    };
    Response {
        protocol,
        type_url: "type.googleapis.com/x".into(),
        version: "7".to_owned(),
        nonce: "n1".to_owned(),
        resources: vec![resource("one", &[]), resource("two", &["zwei", "deux"])],
        removed: vec!["three".into()],
    }
}

#[test]
fn the_generated_types_read_a_delta_response() {
    let (expected, mut buffer) = (response(Protocol::Delta), Vec::new());
    expected.encode(&mut buffer);
    let read = DeltaDiscoveryResponse::decode(&buffer[..]).unwrap();
    assert_eq!((read.system_version_info.as_str(), read.nonce.as_str()), ("7", "n1"));
    assert_eq!(read.type_url, "type.googleapis.com/x");
    assert_eq!(read.removed_resources, ["three"]);
    assert_eq!(read.resources[1].aliases, ["zwei", "deux"]);
    for (sent, got) in expected.resources.iter().zip(&read.resources) {
        assert_eq!((got.name.as_str(), got.version.clone()), (&*sent.name, sent.version.to_string()));
        let any = got.resource.as_ref().unwrap();
        assert_eq!((any.type_url.as_str(), &any.value[..]), ("type.googleapis.com/x", &sent.bytes[..]));
    }
    assert_eq!(read.encode_to_vec().len(), buffer.len());
}

#[test]
fn the_generated_types_read_a_state_of_the_world_response() {
    let mut expected = response(Protocol::StateOfTheWorld);
    expected.removed.clear();
    let mut buffer = Vec::new();
    expected.encode(&mut buffer);
    let read = DiscoveryResponse::decode(&buffer[..]).unwrap();
    assert_eq!((read.version_info.as_str(), read.nonce.as_str()), ("7", "n1"));
    assert_eq!(read.resources.len(), 2);
    assert_eq!(&read.resources[1].value[..], &expected.resources[1].bytes[..]);
    assert_eq!(read.encode_to_vec(), buffer);
}
