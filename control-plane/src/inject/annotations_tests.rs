use serde_json::{Value, json};

use super::read;
use crate::inject::InjectionValues;

fn pod(annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}})
}

#[test]
fn both_names_are_read_and_our_own_wins() {
    let values = InjectionValues::default();
    let annotations = json!({
        "sidecar.istio.io/proxyImage": "istio/one:1",
        "weft.mesh/proxyImage": "weft/two:2",
        "traffic.sidecar.istio.io/excludeInboundPorts": " 80, 443 ",
        "weft.mesh/excludeOutboundUIDs": "0,65534",
        "sidecar.istio.io/logLevel": "warning",
    });
    let (settings, warnings) = read(&pod(annotations), &values).unwrap();
    assert_eq!(settings.image, "weft/two:2");
    assert_eq!(settings.interception.exclude_inbound_ports, "80,443");
    assert_eq!(settings.exclude_uids, "0,65534");
    assert_eq!(settings.log_level, "warn");
    assert!(warnings.is_empty());
}

#[test]
fn worker_threads_follow_the_limit() {
    let threads =
        |annotations: Value| read(&pod(annotations), &InjectionValues::default()).unwrap().0.worker_threads();
    assert_eq!(threads(json!({})), 2);
    assert_eq!(threads(json!({"sidecar.istio.io/proxyCPULimit": "2500m"})), 3);
    assert_eq!(
        threads(json!({"sidecar.istio.io/proxyCPU": "50m", "sidecar.istio.io/proxyCPULimit": "100m"})),
        1
    );
    assert_eq!(threads(json!({"proxy.istio.io/config": "concurrency: 5"})), 5);
    assert_eq!(threads(json!({"proxy.istio.io/config": "concurrency: 0"})), 0);
}

#[test]
fn every_mistake_is_told_at_once() {
    let annotations = json!({
        "sidecar.istio.io/proxyCPU": "lots",
        "sidecar.istio.io/proxyMemory": "2Gi",
        "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/40,*",
        "sidecar.istio.io/interceptionMode": "TPROXY",
        "sidecar.istio.io/discoveryAddress": "x:1",
        "weft.mesh/excludeInboundPort": "80",
        "proxy.istio.io/config": "statusPort: 1\nconcurency: 2",
        "inject.istio.io/templates": "sidecar,none",
        "sidecar.istio.io/userVolume": "{",
        "sidecar.istio.io/statsInclusionPrefixes": "a",
        "example.org/other": "anything",
    });
    let findings = read(&pod(annotations), &InjectionValues::default()).unwrap_err();
    let mut told: Vec<_> = findings.iter().map(|f| (f.field.as_str(), f.code)).collect();
    told.sort_unstable();
    let field = |key: &str| format!("metadata.annotations[\"{key}\"]");
    let mut expected = [
        (field("sidecar.istio.io/proxyCPU"), "invalid-value"),
        (field("sidecar.istio.io/proxyMemory"), "conflicting-fields"),
        (field("traffic.sidecar.istio.io/includeOutboundIPRanges"), "invalid-value"),
        (field("sidecar.istio.io/interceptionMode"), "invalid-value"),
        (field("sidecar.istio.io/discoveryAddress"), "unsupported"),
        (field("weft.mesh/excludeInboundPort"), "unknown-field"),
        (field("proxy.istio.io/config"), "unsupported"),
        (field("proxy.istio.io/config"), "unknown-field"),
        (field("inject.istio.io/templates"), "invalid-value"),
        (field("sidecar.istio.io/userVolume"), "invalid-value"),
        (field("sidecar.istio.io/statsInclusionPrefixes"), "no-effect"),
    ];
    expected.sort();
    let expected: Vec<_> = expected.iter().map(|(field, code)| (field.as_str(), *code)).collect();
    assert_eq!(told, expected);
    let misspelt = findings.iter().find(|f| f.field.contains("excludeInboundPort")).unwrap();
    assert!(misspelt.hint.contains("excludeInboundPorts"), "{}", misspelt.hint);
}

#[test]
fn telemetry_tuning_of_istio_is_warned_of() {
    let annotations = json!({"sidecar.istio.io/extraStatTags": "x"});
    let (_, warnings) = read(&pod(annotations), &InjectionValues::default()).unwrap();
    assert_eq!(warnings.len(), 1);
}

#[test]
fn volumes_are_a_list_or_by_name() {
    for text in [r#"[{"name":"v","emptyDir":{}}]"#, r#"{"v":{"emptyDir":{}}}"#] {
        let (settings, _) =
            read(&pod(json!({"sidecar.istio.io/userVolume": text})), &InjectionValues::default()).unwrap();
        assert_eq!(settings.volumes, [json!({"name": "v", "emptyDir": {}})]);
    }
}
