use super::InjectionValues;

#[test]
fn the_defaults_are_values_and_survive_being_written() {
    let values = InjectionValues::default();
    let text = serde_json::to_string_pretty(&values).unwrap();
    assert_eq!(InjectionValues::parse("values.yaml", &text).unwrap(), values);
    assert_eq!(InjectionValues::parse("values.yaml", "").unwrap(), values);
    assert_eq!(InjectionValues::parse("values.yaml", "# nothing\n").unwrap(), values);
}

#[test]
fn amounts_may_be_numbers() {
    let values =
        InjectionValues::parse("v", "proxy:\n  resources:\n    limits: {cpu: 2, memory: 1Gi}\n").unwrap();
    assert_eq!(values.proxy.resources.limits["cpu"].0, "2");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = "image:\n  registri: example.org\nproxy:\n  concurrency: many\n  traceSampling: [1]\nprometheus: 'yes'\n";
    let findings = InjectionValues::parse("values.yaml", text).unwrap_err();
    let told: Vec<_> = findings.iter().map(|f| (f.line, f.column, f.field.as_str(), f.code)).collect();
    assert_eq!(
        told,
        [
            (2, 13, "image.registri", "unknown-field"),
            (4, 16, "proxy.concurrency", "wrong-type"),
            (5, 3, "proxy.traceSampling", "wrong-type"),
            (6, 13, "prometheus", "wrong-type"),
        ]
    );
    assert!(findings[0].hint.contains("registry"), "{}", findings[0].hint);
}

#[test]
fn values_of_the_right_type_are_checked_too() {
    let text = "revision: No Name\ndiscoveryAddress: nowhere\nproxy:\n  terminationDrainDuration: 5\n";
    assert_eq!(InjectionValues::parse("v", text).unwrap_err().len(), 1, "a number is no text");
    let text = "revision: No Name\ndiscoveryAddress: nowhere\nimage: {tag: ''}\n\
                proxy:\n  terminationDrainDuration: '5'\n  resources: {requests: {cpu: 3}, limits: {memory: 1Q}}\n\
                interception:\n  excludeInboundPorts: 80,http,0\n  includeOutboundIpRanges: 10.0.0.0/33\n\
                defaultTemplates: [sidecar, extra]\n";
    let findings = InjectionValues::parse("v", text).unwrap_err();
    let fields: Vec<_> = findings.iter().map(|finding| finding.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "revision",
            "discoveryAddress",
            "image.tag",
            "proxy.terminationDrainDuration",
            "proxy.resources.limits.memory",
            "interception.excludeInboundPorts",
            "interception.includeOutboundIpRanges",
            "defaultTemplates[1]",
        ],
        "{findings:#?}"
    );
    let ports = findings.iter().find(|finding| finding.field == "interception.excludeInboundPorts").unwrap();
    assert!(ports.message.contains("`http`") && ports.message.contains("`0`"), "{}", ports.message);
}

#[test]
fn another_revision_has_its_own_control_plane() {
    let values = InjectionValues::default().with_revision("canary");
    assert_eq!(values.discovery_address, "weft-control-plane-canary.weft-system.svc:15012");
    let chosen = InjectionValues { discovery_address: "mine:1".to_owned(), ..InjectionValues::default() };
    assert_eq!(chosen.with_revision("canary").discovery_address, "mine:1");
    let default = InjectionValues::default();
    assert_eq!(default.clone().with_revision("default"), default);
}
