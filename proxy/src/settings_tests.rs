use clap::Parser;

use super::*;

fn check(arguments: &str) -> Result<Settings, Mistakes> {
    let words = ["weft-proxy", "run"].into_iter().chain(arguments.split_whitespace());
    match CommandLine::try_parse_from(words).unwrap().command {
        Some(Command::Run(arguments)) => arguments.check(),
        _ => panic!("it is `run`"),
    }
}

const ENOUGH: &str = "--node sidecar~10.0.0.7~reviews-1.shop~shop.svc.cluster.local --discovery-address cp:15012 \
    --trust-bundle root.pem --join-token-file token --state-dir state";

#[test]
fn what_weft_run_says_is_understood() {
    let more = "--metadata service=reviews --metadata version=v2 --metadata service_account=reviews --metadata team=books \
        --app-port 9080 --upstream-resolver 10.0.0.2 --upstream-resolver [fd00::2]:5353 --dns-own-domain Cluster.local. --access-log - --concurrency 2 --drain-time 7s";
    let settings = check(&format!("{ENOUGH} {more}")).unwrap();
    let Source::ControlPlane { identity, .. } = &settings.source else { panic!() };
    assert_eq!(identity.to_string(), "spiffe://cluster.local/ns/shop/sa/reviews");
    assert_eq!(settings.mode, Mode::Intercept);
    assert_eq!(settings.mark, Some(0x539));
    assert_eq!(settings.dns_address, Some("127.0.0.1:15053".parse().unwrap()));
    let resolvers = ["10.0.0.2:53", "[fd00::2]:5353"].map(|text| text.parse().unwrap());
    assert_eq!(settings.upstream_resolvers, resolvers);
    assert_eq!(settings.dns_own_domain.as_deref(), Some("cluster.local"));
    assert_eq!((settings.concurrency, settings.drain_time), (2, Duration::from_secs(7)));
    assert_eq!((&*settings.workload.service, &*settings.workload.version), ("reviews", "v2"));
    let labels: Vec<_> = settings.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["app=reviews", "team=books", "version=v2"]);
}

#[test]
fn explicit_mode_has_local_ports_and_no_mark() {
    let more = "--mode explicit --explicit-outbound 127.0.0.1:4000 --explicit-inbound 9080=127.0.0.1:4001";
    let settings = check(&format!("{ENOUGH} {more}")).unwrap();
    let Mode::Explicit { outbound, inbound } = settings.mode else { panic!() };
    assert_eq!(outbound, Some("127.0.0.1:4000".parse().unwrap()));
    assert_eq!(inbound[&9080], "127.0.0.1:4001".parse().unwrap());
    assert_eq!((settings.mark, settings.dns_address), (None, None));
}

#[test]
fn every_mistake_is_told_at_once() {
    let wrong = "--node reviews --discovery-address nowhere --trust-domain Über --mode both --mark x --admin-address a \
        --app-port 70000 --metadata nothing --concurrency 0 --drain-time soon --upstream-resolver dns \
        --explicit-inbound 9080 --max-series none";
    let mistakes = check(wrong).unwrap_err();
    for argument in [
        "--node reviews",
        "--discovery-address nowhere",
        "--trust-bundle is missing",
        "--state-dir is missing",
        "--trust-domain",
        "--mode both",
        "--mark x",
        "--admin-address a",
        "--app-port 70000",
        "--metadata nothing",
        "--concurrency 0",
        "--drain-time soon",
        "--upstream-resolver dns",
        "--explicit-inbound 9080",
        "--max-series none",
    ] {
        assert!(mistakes.0.iter().any(|mistake| mistake.contains(argument)), "{argument}: {mistakes}");
    }
}

#[test]
fn a_file_of_resources_needs_nothing_else() {
    let settings = check("--resources dump").unwrap();
    assert!(matches!(settings.source, Source::File { .. }));
    assert_eq!(settings.mark, None);
}

/// `run --from-pod` with more arguments, in a pod with these variables and labels.
fn check_pod(more: &str, variables: &[(&str, &str)], labels: &str) -> Result<Settings, Mistakes> {
    let directory = tempfile::tempdir().unwrap();
    let places = Places { labels: directory.path().join("labels"), ..Places::default() };
    std::fs::write(&places.labels, labels).unwrap();
    let words = ["weft-proxy", "run", "--from-pod"].into_iter().chain(more.split_whitespace());
    let Some(Command::Run(arguments)) = CommandLine::try_parse_from(words).unwrap().command else { panic!() };
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    arguments.check_in(&variable, &places)
}

const POD: [(&str, &str); 6] = [
    ("POD_NAME", "reviews-1"),
    ("POD_NAMESPACE", "shop"),
    ("POD_IP", "10.0.0.7"),
    ("SERVICE_ACCOUNT", "reader"),
    ("WEFT_WORKLOAD_NAME", "reviews"),
    ("WEFT_APP_PORTS", "9080"),
];

#[test]
fn in_a_pod_nothing_need_be_given() {
    let settings = check_pod("", &POD, "app=\"books\"\nteam=\"a\"\n").unwrap();
    let Source::ControlPlane { address, server_name, trust_bundle, join_token, identity, state_dir } =
        &settings.source
    else {
        panic!()
    };
    assert_eq!(address, "weft-control-plane.weft-system.svc:15012");
    assert_eq!(server_name, "weft-control-plane.weft-system.svc");
    assert_eq!(trust_bundle, &PathBuf::from("/var/run/secrets/weft/ca/root-cert.pem"));
    assert!(matches!(join_token, TokenSource::Projected(file) if file.ends_with("tokens/token")));
    assert_eq!(identity.to_string(), "spiffe://cluster.local/ns/shop/sa/reader");
    assert_eq!(state_dir, &PathBuf::from("/var/lib/weft"));
    assert_eq!(settings.mark, None, "a sidecar without capabilities cannot mark its sockets");
    assert_eq!(settings.app_ports, [9080]);
    assert_eq!(settings.own_addresses, ["10.0.0.7".parse::<IpAddr>().unwrap()]);
    assert_eq!((&*settings.workload.name, &*settings.workload.service), ("reviews", "books"));
    let labels: Vec<_> = settings.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["app=books", "team=a"]);
    assert_eq!(settings.pod.unwrap().metadata["WORKLOAD_NAME"], "reviews");
}

#[test]
fn what_is_given_wins_over_what_the_pod_says() {
    let more = "--discovery-address cp.mesh.example:443 --metadata version=v9 --minimum-drain-time 9s --drain-time 7s";
    let settings = check_pod(more, &POD, "").unwrap();
    let Source::ControlPlane { address, server_name, .. } = &settings.source else { panic!() };
    assert_eq!((address.as_str(), server_name.as_str()), ("cp.mesh.example:443", "cp.mesh.example"));
    assert_eq!(&*settings.workload.version, "v9");
    assert_eq!(settings.minimum_drain_time, Duration::from_secs(7), "never more than the bound");
}

#[test]
fn what_is_missing_in_the_pod_is_told_together_with_wrong_arguments() {
    let mistakes = check_pod("--drain-time soon", &POD[1..], "").unwrap_err();
    assert_eq!(mistakes.0.len(), 2, "{mistakes}");
    assert!(
        mistakes.to_string().contains("POD_NAME is not set") && mistakes.to_string().contains("--drain-time")
    );
}
