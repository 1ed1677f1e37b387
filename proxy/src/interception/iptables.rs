//! The rules as input of `iptables-restore` and `ip6tables-restore`, where there is no `nft`.
//!
//! They stand in chains of their own, which a restore replaces as a whole. The jumps to them are the only rules
//! that other people's chains get.

use std::fmt::Write as _;

use super::rules::{Chain, Condition, Family, Rule, Verdict, rules};
use super::setting::Interception;

#[cfg(test)]
#[path = "iptables_tests.rs"]
pub(super) mod tests;

/// `iptables-save` writes them back word for word.
const JUMPS: [&str; 2] = ["-A OUTPUT -j WEFT_OUTPUT", "-A PREROUTING -p tcp -j WEFT_INBOUND"];
const CHAINS: [&str; 2] = ["WEFT_OUTPUT", "WEFT_INBOUND"];

/// Input for a restore that does not flush (`--noflush`). `saved` is what `iptables-save -t nat` says of the
/// kernel's present rules, so that jumps which are there are not added twice.
#[must_use]
pub fn apply_script(setting: &Interception, family: Family, saved: &str) -> String {
    let mut script = "*nat\n".to_owned();
    for chain in CHAINS {
        let _ = writeln!(script, ":{chain} - [0:0]");
    }
    for rule in rules(setting, family) {
        let _ = writeln!(script, "# {}\n{}", rule.why, render(&rule));
    }
    for jump in JUMPS.iter().filter(|jump| !has_line(saved, jump)) {
        let _ = writeln!(script, "{jump}");
    }
    script.push_str("COMMIT\n");
    script
}

/// Input for a restore that takes away what is there; `None` when nothing is.
#[must_use]
pub fn remove_script(saved: &str) -> Option<String> {
    let present: Vec<&str> = CHAINS
        .into_iter()
        .filter(|chain| saved.lines().any(|line| line.starts_with(&format!(":{chain} "))))
        .collect();
    if present.is_empty() {
        return None;
    }
    let mut script = "*nat\n".to_owned();
    // As often as they are there: two calls at the same time may each have added them, and a chain that is jumped to
    // cannot be deleted.
    for jump in saved.lines().map(str::trim).filter(|line| JUMPS.contains(line)) {
        let _ = writeln!(script, "-D {}", jump.trim_start_matches("-A "));
    }
    for chain in present {
        let _ = writeln!(script, "-F {chain}\n-X {chain}");
    }
    script.push_str("COMMIT\n");
    Some(script)
}

fn has_line(saved: &str, wanted: &str) -> bool {
    saved.lines().any(|line| line.trim() == wanted)
}

fn render(rule: &Rule) -> String {
    let mut words = vec![match rule.chain {
        Chain::Output => "-A WEFT_OUTPUT".to_owned(),
        Chain::Prerouting => "-A WEFT_INBOUND".to_owned(),
    }];
    for condition in &rule.conditions {
        words.push(match condition {
            Condition::Mark(mark) => format!("-m mark --mark {mark:#x}"),
            Condition::User(uid) => format!("-m owner --uid-owner {uid}"),
            Condition::Group(gid) => format!("-m owner --gid-owner {gid}"),
            Condition::From(name) => format!("-i {name}"),
            Condition::To(name) => format!("-o {name}"),
            Condition::ToLoopback => "-o lo".to_owned(),
            Condition::Tcp => "-p tcp".to_owned(),
            Condition::Udp => "-p udp".to_owned(),
            Condition::Port(port) => format!("--dport {port}"),
            Condition::Destination(range) => format!("-d {range}"),
        });
    }
    words.push(match rule.verdict {
        Verdict::Pass => "-j RETURN".to_owned(),
        Verdict::Redirect(port) => format!("-j REDIRECT --to-ports {port}"),
    });
    words.join(" ")
}
