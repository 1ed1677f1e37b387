use super::*;

fn valid() -> Specification {
    Specification {
        namespace: "default".to_owned(),
        service: "reviews".to_owned(),
        service_account: "reviews".to_owned(),
        ports: vec!["http:9080".parse().unwrap()],
        ..Specification::default()
    }
}

#[test]
fn a_service_with_a_port_is_fine_and_so_is_a_client_with_neither() {
    assert_eq!(valid().mistakes(), Vec::<String>::new());
    assert!(Specification { service: String::new(), ports: Vec::new(), ..valid() }.mistakes().is_empty());
}

#[test]
fn all_mistakes_are_named_at_once() {
    let wrong = Specification {
        name: "Reviews".to_owned(),
        version: "v 1".to_owned(),
        labels: [("team".to_owned(), "-".to_owned())].into(),
        ports: ["9080", "http:9080", "15001"].map(|it| it.parse().unwrap()).into(),
        ..valid()
    };
    let all = wrong.mistakes().join("\n");
    for part in
        ["--name: `Reviews`", "--version", "--label team", "9080: it is given twice", "15001: the sidecar"]
    {
        assert!(all.contains(part), "`{part}` is missing in:\n{all}");
    }
    assert!(
        Specification { service: String::new(), ..valid() }.mistakes()[0].contains("--port needs --service")
    );
    assert!(
        Specification { ports: Vec::new(), ..valid() }.mistakes()[0].contains("needs at least one --port")
    );
}

#[test]
fn ports_and_pairs_are_read() {
    assert_eq!("9080".parse(), Ok(Port { port: 9080, name: String::new() }));
    assert_eq!("grpc-api:9090".parse(), Ok(Port { port: 9090, name: "grpc-api".to_owned() }));
    assert_eq!("8080:9080".parse(), Ok(Publish { host_port: 8080, port: 9080 }));
    for bad in ["0", "", "x", "http:", "HTTP:1", "70000"] {
        assert!(bad.parse::<Port>().is_err(), "{bad}");
    }
    for bad in ["8080", "0:1", "1:0", "a:b"] {
        assert!(bad.parse::<Publish>().is_err(), "{bad}");
    }
    assert_eq!(pair("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
    assert!(pair("A").is_err() && pair("=b").is_err());
}

#[test]
fn in_explicit_mode_the_control_plane_learns_where_the_sidecar_accepts() {
    let asked = valid().registration(Isolation::Explicit, &[(9080, 40000)]);
    assert!(asked.explicit);
    assert_eq!(asked.ports[0].inbound_port, 40000);
    assert_eq!(valid().registration(Isolation::User, &[]).ports[0].inbound_port, 0);
}
