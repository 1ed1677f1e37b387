use weft_proto::api::TypeStatus;

use super::*;
use crate::install::health::Level;

fn entry(version: &str) -> ProxyStatusEntry {
    ProxyStatusEntry {
        proxy: "a.shop".to_owned(),
        version: version.to_owned(),
        connected: true,
        ..ProxyStatusEntry::default()
    }
}

#[test]
fn sidecars_may_be_two_minor_versions_older_and_not_newer() {
    let level = |version: &str, control_plane: &str| versions(&[&entry(version)], control_plane)[0].level;
    for version in ["1.7.3", "1.6.0", "1.5.9", ""] {
        assert_eq!(level(version, "1.7.0"), Level::Ok, "{version}");
    }
    for version in ["1.4.9", "1.8.0", "0.7.0", "2.7.0"] {
        assert_eq!(level(version, "1.7.0"), Level::Error, "{version}");
    }
}

#[test]
fn those_that_refuse_are_named() {
    let mut refusing = entry("1.0.0");
    refusing.types.push(TypeStatus { state: "REFUSED".to_owned(), ..TypeStatus::default() });
    let checks = behind(&[&refusing, &entry("1.0.0")]);
    assert_eq!(
        (checks.len(), checks[0].level, &checks[0].about),
        (1, Level::Error, &vec!["a.shop".to_owned()])
    );
}

#[test]
fn a_root_that_ends_soon_is_told_of_in_time() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let level = |expires: &str| root("pod", expires, now).unwrap().level;
    assert_eq!(level("2036-01-01T00:00:00Z"), Level::Ok);
    assert_eq!(level("2026-01-20T00:00:00Z"), Level::Warning);
    assert_eq!(level("2025-12-30T00:00:00Z"), Level::Error);
    assert!(root("pod", "", now).is_none());
}

#[test]
fn ended_certificates_are_counted() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let with = |expires: &str| ProxyStatusEntry { certificate_expires: expires.to_owned(), ..entry("1.0.0") };
    assert!(certificates(&[&with("2026-01-01T01:00:00Z"), &with("")], now).is_none());
    assert_eq!(certificates(&[&with("2025-12-31T23:59:59Z")], now).unwrap().about.len(), 1);
}
