use super::*;
use crate::source::{Spec, parse_watched};

#[test]
fn endpoints_have_addresses_ports_by_name_and_health() {
    let slice = serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "db-abc", "namespace": "shop", "labels": {SERVICE_NAME_LABEL: "db"}},
        "addressType": "IPv4",
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}, {"name": "udp", "port": 1, "protocol": "UDP"}, {"name": "all"}],
        "endpoints": [
            {"addresses": ["192.0.2.1", "192.0.2.9"], "hostname": "db-0", "nodeName": "n1"},
            {"addresses": ["192.0.2.2"], "conditions": {"ready": false}},
            {"addresses": ["192.0.2.3"], "conditions": {"ready": false, "serving": true, "terminating": true}, "targetRef": {"kind": "Pod", "name": "p"}},
        ],
    });
    let parsed = parse_watched(&slice);
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let Spec::EndpointSlice(slice) = &parsed.objects[0].spec else { panic!() };
    assert_eq!(slice.ports, [(Arc::from("sql"), 5432)]);
    let health: Vec<_> = slice.endpoints.iter().map(|endpoint| endpoint.health).collect();
    assert_eq!(health, [Health::Healthy, Health::Unhealthy, Health::Draining]);
    assert_eq!(slice.endpoints[0].address.to_string(), "192.0.2.1");
    assert_eq!(slice.endpoints[0].host_name.as_deref(), Some("db-0"));
    assert_eq!(slice.endpoints[2].pod.as_deref(), Some("p"));
}
