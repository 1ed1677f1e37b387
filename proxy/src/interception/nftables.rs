//! The rules as an `nft` script: one table a family, replaced as a whole in one transaction.

use std::fmt::Write as _;

use super::rules::{Chain, Condition, Family, Rule, Verdict, rules};
use super::setting::Interception;

#[cfg(test)]
#[path = "nftables_tests.rs"]
mod tests;

/// The name of the table.
pub(super) const TABLE: &str = "weft";

/// The family, as `nft` calls it.
pub(super) fn family(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

fn table(of: Family) -> String {
    format!("{} {TABLE}", family(of))
}

/// A script that puts the rules in place of those of an earlier one, if there were any.
#[must_use]
pub fn apply_script(setting: &Interception, families: &[Family]) -> String {
    let mut script = String::new();
    for family in families {
        script.push_str(&remove_script(&[*family]));
        let all = rules(setting, *family);
        let _ = writeln!(script, "table {} {{", table(*family));
        // -100 is the priority of destination NAT. Its name is not accepted for the output hook by nft 1.0.
        for (chain, hook) in [(Chain::Output, "output"), (Chain::Prerouting, "prerouting")] {
            let _ =
                writeln!(script, "  chain {hook} {{\n    type nat hook {hook} priority -100; policy accept;");
            for rule in all.iter().filter(|rule| rule.chain == chain) {
                let _ = writeln!(script, "    # {}\n    {}", rule.why, render(rule, *family));
            }
            script.push_str("  }\n");
        }
        script.push_str("}\n");
    }
    script
}

/// A script that takes the rules away; no error when there are none.
#[must_use]
pub fn remove_script(families: &[Family]) -> String {
    // Adding a table that exists changes nothing, and deleting one that does not would be refused.
    families.iter().map(|family| format!("table {0}\ndelete table {0}\n", table(*family))).collect()
}

fn render(rule: &Rule, family: Family) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut transport = None;
    for condition in &rule.conditions {
        match condition {
            Condition::Mark(mark) => words.push(format!("meta mark {mark:#x}")),
            Condition::User(uid) => words.push(format!("meta skuid {uid}")),
            Condition::Group(gid) => words.push(format!("meta skgid {gid}")),
            Condition::From(name) => words.push(format!("iifname \"{name}\"")),
            Condition::To(name) => words.push(format!("oifname \"{name}\"")),
            Condition::ToLoopback => words.push("oifname \"lo\"".to_owned()),
            Condition::Tcp => transport = Some("tcp"),
            Condition::Udp => transport = Some("udp"),
            Condition::Port(port) => {
                words.push(format!("{} dport {port}", transport.take().unwrap_or("tcp")));
            }
            Condition::Destination(range) if range.is_all() => {}
            Condition::Destination(range) => {
                let field = if family == Family::Ipv4 { "ip daddr" } else { "ip6 daddr" };
                words.push(format!("{field} {range}"));
            }
        }
    }
    if let Some(transport) = transport {
        words.push(format!("meta l4proto {transport}"));
    }
    words.push(match rule.verdict {
        Verdict::Pass => "return".to_owned(),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
    });
    words.join(" ")
}
