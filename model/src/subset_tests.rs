use super::*;

#[test]
fn metadata_is_found_compared_and_narrowed_by_key() {
    let metadata = LbMetadata::of_texts(&[("version", "v1"), ("stage", "prod"), ("version", "v2")]);
    assert_eq!(metadata.value("version"), Some(&MetadataValue::Text("v2".into())));
    assert_eq!(metadata.value("other"), None);
    assert!(metadata.has(&LbMetadata::of_texts(&[("stage", "prod")])));
    assert!(!metadata.has(&LbMetadata::of_texts(&[("stage", "dev")])));
    assert!(metadata.has_keys(&["stage".into(), "version".into()]));
    assert!(!metadata.has_keys(&["stage".into()]));
    assert_eq!(metadata.only(&["stage".into()]), Some(LbMetadata::of_texts(&[("stage", "prod")])));
    assert_eq!(metadata.only(&["other".into()]), None);
    let more = metadata.with(&LbMetadata::of_texts(&[("stage", "dev"), ("a", "b")]));
    assert_eq!(more, LbMetadata::of_texts(&[("a", "b"), ("stage", "dev"), ("version", "v2")]));
}
