use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    intercept: InterceptArgs,
}

fn setting(arguments: &[&str]) -> Result<Interception, String> {
    let line =
        Line::try_parse_from(["intercept", "print"].iter().chain(arguments)).map_err(|it| it.to_string())?;
    let Action::Print(setting) = line.intercept.action else { panic!("not `print`") };
    setting.check().map_err(|it| it.to_string())
}

#[test]
fn without_arguments_it_is_the_default_setting() {
    assert_eq!(setting(&[]), Ok(Interception::default()));
}

#[test]
fn arguments_are_taken_and_the_sidecars_own_ports_stay_excluded() {
    let read = setting(&[
        "--mark=0x77",
        "--no-dns",
        "--exclude-inbound-ports=22,23",
        "--exclude-outbound-ranges=10.0.0.0/8,fd00::/8",
        "--exclude-outbound-ports=5432",
    ])
    .unwrap();
    assert_eq!((read.own, read.dns_port), (Own::Mark(0x77), None));
    assert_eq!(read.excluded_inbound_ports, [22, 23, 15000, 15020, 15021, 15090].into());
    assert_eq!(read.excluded_outbound_ranges.len(), 2);
}

#[test]
fn istios_annotations_are_taken_as_they_are_written() {
    let read = setting(&[
        "--proxy-uid=1337",
        "--include-inbound-ports=*",
        "--exclude-inbound-ports=",
        "--include-outbound-ranges=10.96.0.0/16, fd00::/8,",
        "--include-outbound-ports=9443",
        "--exclude-outbound-ports=",
        "--exclude-interfaces=net1,net2",
        "--exclude-uids=7",
        "--exclude-gids=8,9",
    ])
    .unwrap();
    assert_eq!(read.own, Own::Process { uid: 1337, gid: 1337 });
    assert_eq!((read.included_inbound_ports, read.excluded_inbound_ports.len()), (None, OWN_PORTS.len()));
    assert_eq!(read.included_outbound_ranges.map(|ranges| ranges.len()), Some(2));
    assert_eq!(read.included_outbound_ports, [9443].into());
    assert!(read.excluded_outbound_ports.is_empty());
    assert_eq!(read.excluded_interfaces.len(), 2);
    assert_eq!((read.excluded_uids, read.excluded_gids), ([7].into(), [8, 9].into()));

    let nothing = setting(&["--include-inbound-ports=", "--include-outbound-ranges="]).unwrap();
    assert_eq!(nothing.included_inbound_ports, Some([].into()));
    assert_eq!(nothing.included_outbound_ranges, Some(Vec::new()));
}

#[test]
fn wrong_arguments_are_named() {
    for (argument, named) in [
        ("--mark=0xzz", "0xzz"),
        ("--mark=0", "mark 0x0"),
        ("--proxy-uid=0", "user or group 0"),
        ("--exclude-outbound-ports=80,http", "`http`"),
        ("--exclude-interfaces=two words", "`two words` is no name"),
        ("--exclude-outbound-ranges=10.0.0.0/40", "0 to 32"),
        ("--inbound-port=15001", "both 15001"),
        ("--include-inbound-ports=15021", "15021 is both"),
    ] {
        let refused = setting(&[argument]).unwrap_err();
        assert!(refused.contains(named), "`{named}` is missing in: {refused}");
    }
}
