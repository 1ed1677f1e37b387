use super::*;
use crate::source::parse_documents;

fn request() -> RegisterWorkloadRequest {
    RegisterWorkloadRequest {
        service: "reviews".into(),
        version: "v2".into(),
        ports: vec![
            WorkloadPort { port: 9080, name: "http".into(), ..Default::default() },
            WorkloadPort { port: 7000, inbound_port: 41000, ..Default::default() },
        ],
        ..Default::default()
    }
}

#[test]
fn names_are_made_of_service_and_version_and_are_unique() {
    let taken = BTreeSet::from(["reviews-v2".to_owned(), "reviews-v2-2".to_owned()]);
    assert_eq!(name_for(&request(), &BTreeSet::new()), "reviews-v2");
    assert_eq!(name_for(&request(), &taken), "reviews-v2-3");
    assert_eq!(name_for(&RegisterWorkloadRequest { name: "mine".into(), ..request() }, &taken), "mine");
    assert_eq!(name_for(&RegisterWorkloadRequest::default(), &taken), "workload");
}

#[test]
fn the_objects_are_ones_that_the_parser_accepts() {
    let request = request();
    let registration = Registration {
        request: &request,
        name: "reviews-v2",
        namespace: "shop",
        service_account: "reviews",
        address: "10.250.0.7".parse().unwrap(),
    };
    for value in [registration.workload_entry(), registration.service(None).unwrap()] {
        let parsed = parse_documents("registration", &value.to_string(), "default");
        assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
        assert_eq!(&**parsed.objects[0].namespace(), "shop");
    }
    assert_eq!(registration.labels()["app"], "reviews");
    assert_eq!(registration.labels()[WorldWorkload::TLS_MODE_LABEL], "istio");
    assert_eq!(registration.workload_entry()["spec"]["ports"], serde_json::json!({"port-7000": 41000}));
}

#[test]
fn workloads_of_a_headless_service_are_counted_as_pods_of_a_stateful_set() {
    let request = RegisterWorkloadRequest { headless: true, ..request() };
    assert_eq!(name_for(&request, &BTreeSet::new()), "reviews-0");
    let taken = BTreeSet::from(["reviews-0".to_owned(), "reviews-2".to_owned()]);
    assert_eq!(name_for(&request, &taken), "reviews-1");
    let registration = Registration {
        request: &request,
        name: "reviews-0",
        namespace: "shop",
        service_account: "reviews",
        address: "10.250.0.7".parse().unwrap(),
    };
    let service = registration.service(None).unwrap();
    assert_eq!(service["spec"]["clusterIP"], "None");
    let parsed = parse_documents("registration", &service.to_string(), "default");
    let crate::source::Spec::Service(known) = &parsed.objects[0].spec else {
        panic!("{:?}", parsed.findings)
    };
    // One that comes later need not say it again.
    let later = RegisterWorkloadRequest { headless: false, ..request.clone() };
    let later = Registration { request: &later, ..registration };
    assert_eq!(later.service(Some(known)).unwrap()["spec"]["clusterIP"], "None");
}
