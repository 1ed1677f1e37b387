use super::*;

fn set(resources: &[(&str, &str)]) -> ResourceSet {
    resources
        .iter()
        .map(|(name, content)| Arc::new(Resource::new(*name, Bytes::copy_from_slice(content.as_bytes()))))
        .collect()
}

#[test]
fn every_type_is_found_by_its_url_and_by_its_label() {
    for kind in ResourceType::ALL {
        assert_eq!(ResourceType::of_url(kind.url()), Some(kind));
        assert_eq!(ResourceType::of_label(kind.label()), Some(kind));
    }
    assert_eq!(ResourceType::of_url(type_url::SECRET), None);
}

#[test]
fn a_version_is_a_function_of_the_content_and_reads_back() {
    let version = Version::of(b"content");
    assert_eq!(version, Version::of(b"content"));
    assert_ne!(version, Version::of(b"content "));
    assert_eq!(version.to_string().parse(), Ok(version));
    assert_eq!(version.to_string().len(), 32);
}

#[test]
fn a_difference_names_what_was_added_changed_and_removed_and_nothing_else() {
    let (old, new) = (
        set(&[("gone", "1"), ("kept", "1"), ("other", "1")]),
        set(&[("kept", "1"), ("new", "1"), ("other", "2")]),
    );
    let mut changed = new.changed_since(&old);
    changed.sort();
    assert_eq!(changed.iter().map(|name| &**name).collect::<Vec<_>>(), ["gone", "new", "other"]);
    assert!(new.changed_since(&new.clone()).is_empty());
}

#[test]
fn a_resource_is_found_by_its_aliases() {
    let resource = Resource::new("real", Bytes::new()).with_aliases(vec!["short".into()]);
    let set: ResourceSet = [Arc::new(resource)].into_iter().collect();
    assert_eq!(set.get("short").map(|resource| &*resource.name), Some("real"));
    assert!(set.get("other").is_none());
}
