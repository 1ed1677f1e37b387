use super::*;

#[test]
fn a_node_id_reads_back_what_it_writes() {
    for text in
        ["sidecar~10.1.2.3~reviews-v1.default~default.svc.cluster.local", "sidecar~fd00::7~a.b.c~c.svc.mesh"]
    {
        let id: ProxyId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
    }
    let id: ProxyId = "sidecar~10.1.2.3~reviews-v1.default~d".parse().unwrap();
    assert_eq!((id.workload.as_str(), id.namespace.as_str()), ("reviews-v1", "default"));
}

#[test]
fn other_forms_are_refused() {
    for text in [
        "",
        "router~1.2.3.4~a.b~c",
        "sidecar~nowhere~a.b~c",
        "sidecar~1.2.3.4~a~c",
        "sidecar~1.2.3.4~.b~c",
        "sidecar~1.2.3.4~a.b",
    ] {
        assert!(text.parse::<ProxyId>().is_err(), "{text}");
    }
}
