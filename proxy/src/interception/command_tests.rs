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
    assert_eq!((read.mark, read.dns_port), (0x77, None));
    assert_eq!(read.excluded_inbound_ports, [22, 23, 15000, 15020, 15021, 15090].into());
    assert_eq!(read.excluded_outbound_ranges.len(), 2);
}

#[test]
fn wrong_arguments_are_named() {
    for (argument, named) in [
        ("--mark=0xzz", "0xzz"),
        ("--mark=0", "mark 0x0"),
        ("--exclude-outbound-ranges=10.0.0.0/40", "0 to 32"),
        ("--inbound-port=15001", "both 15001"),
        ("--include-inbound-ports=15021", "15021 is both"),
    ] {
        let refused = setting(&[argument]).unwrap_err();
        assert!(refused.contains(named), "`{named}` is missing in: {refused}");
    }
}
