use super::*;

const COMPLETE: [(&str, &str); 11] = [
    ("POD_NAME", "reviews-v2-7d4f-abcde"),
    ("POD_NAMESPACE", "shop"),
    ("POD_IP", "10.244.1.7"),
    ("POD_IPS", "10.244.1.7,fd00:10::7"),
    ("SERVICE_ACCOUNT", "reviews"),
    ("NODE_NAME", "n1"),
    ("WEFT_WORKLOAD_NAME", "reviews-v2"),
    ("WEFT_APP_PORTS", "9080, 9443"),
    ("WEFT_MESH", "east"),
    ("WEFT_REVISION", "canary"),
    ("WEFT_APP_PROBES", r#"{"/app-health/reviews/livez": {"tcpSocket": {"port": 9080}}}"#),
];

/// A pod with the variables, and a file of labels.
fn read(variables: &[(&str, &str)], labels: Option<&str>) -> Result<Pod, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let places = Places { labels: directory.path().join("labels"), ..Places::default() };
    if let Some(labels) = labels {
        std::fs::write(&places.labels, labels).unwrap();
    }
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Pod::read(&variable, &places)
}

#[test]
fn a_pod_says_who_its_sidecar_is() {
    let labels = "app=\"reviews\"\npod-template-hash=\"7d4f\"\nversion=\"v2\"";
    let pod = read(&COMPLETE, Some(labels)).unwrap();
    let node = "sidecar~10.244.1.7~reviews-v2-7d4f-abcde.shop~shop.svc.cluster.local";
    assert_eq!(pod.node.to_string(), node);
    assert_eq!(pod.addresses, ["10.244.1.7", "fd00:10::7"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    assert_eq!((pod.service_account.as_str(), pod.workload.as_str()), ("reviews", "reviews-v2"));
    assert_eq!((pod.canonical_service(), pod.canonical_revision()), ("reviews", "v2"));
    assert_eq!(pod.app_ports, [9080, 9443]);
    assert_eq!(pod.labels["pod-template-hash"], "7d4f");
    assert_eq!(pod.discovery_address, "weft-control-plane-canary.weft-system.svc:15012");
    let metadata: Vec<_> = pod.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(metadata, ["CLUSTER_ID=east", "NODE_NAME=n1", "REVISION=canary", "WORKLOAD_NAME=reviews-v2"]);
}

#[test]
fn what_is_not_said_has_a_default() {
    let few =
        [("POD_NAME", "a-1"), ("POD_NAMESPACE", "b"), ("POD_IP", "fd00::1"), ("SERVICE_ACCOUNT", "default")];
    let pod = read(&few, Some("")).unwrap();
    assert_eq!(
        (pod.workload.as_str(), pod.canonical_service(), pod.canonical_revision()),
        ("a-1", "a-1", "latest")
    );
    assert_eq!(pod.addresses, ["fd00::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(pod.discovery_address, "weft-control-plane.weft-system.svc:15012");
    assert!(pod.probes.is_empty());
}

#[test]
fn everything_that_is_missing_or_wrong_is_told_at_once() {
    let wrong = [("POD_IP", "10.0.0"), ("WEFT_APP_PORTS", "http"), ("WEFT_APP_PROBES", "{]")];
    let mistakes = read(&wrong, None).unwrap_err().join("\n");
    for named in [
        "POD_NAME is not set",
        "metadata.namespace",
        "SERVICE_ACCOUNT is not set",
        "`10.0.0` is no IP address",
        "WEFT_APP_PORTS: port `http`",
        "WEFT_APP_PROBES: ",
        "cannot read the pod's labels",
    ] {
        assert!(mistakes.contains(named), "`{named}` is missing in: {mistakes}");
    }
}
