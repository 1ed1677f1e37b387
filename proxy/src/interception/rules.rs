//! The rules, each with its reason, free of any packet filter's notation.
//!
//! In both chains the first rule that matches decides; a packet that none matches passes. NAT looks at the first
//! packet of a connection only, the rest follows it, so the rules cost an established connection nothing.

use super::setting::{Cidr, Interception, Own};

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

/// Which addresses a rule set is for: packet filters keep them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Where a rule stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chain {
    /// Packets that a process of the workload sends.
    Output,
    /// Packets that arrive from elsewhere.
    Prerouting,
}

/// A condition on a packet. A rule matches when all of its conditions hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Its socket carries this mark.
    Mark(u32),
    /// The process that sends it runs as this user.
    User(u32),
    /// The process that sends it runs as this group.
    Group(u32),
    /// It arrives through the interface of this name. For [`Chain::Prerouting`].
    From(String),
    /// It leaves through the interface of this name. For [`Chain::Output`].
    To(String),
    /// It leaves through the loopback interface: its destination is this workload, by whichever address.
    ToLoopback,
    /// It is TCP.
    Tcp,
    /// It is UDP.
    Udp,
    /// Its destination port. Stands behind [`Condition::Tcp`] or [`Condition::Udp`].
    Port(u16),
    /// Its destination is in the range.
    Destination(Cidr),
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes where it was going.
    Pass,
    /// It goes to this port of the workload itself; the proxy asks the kernel where it was going
    /// (`SO_ORIGINAL_DST`).
    Redirect(u16),
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Where it stands.
    pub chain: Chain,
    /// All must hold; never empty.
    pub conditions: Vec<Condition>,
    /// What happens then.
    pub verdict: Verdict,
    /// Why it is there, in a sentence of a line.
    pub why: &'static str,
}

impl Family {
    fn has(self, range: Cidr) -> bool {
        range.is_ipv4() == (self == Self::Ipv4)
    }
}

/// The rules of a setting for one family, in order.
#[must_use]
pub fn rules(setting: &Interception, family: Family) -> Vec<Rule> {
    let mut rules = Vec::new();
    own_packets(setting, &mut rules);
    dns(setting, &mut rules);
    outbound(setting, family, &mut rules);
    inbound(setting, &mut rules);
    rules
}

fn output(conditions: Vec<Condition>, verdict: Verdict, why: &'static str) -> Rule {
    Rule { chain: Chain::Output, conditions, verdict, why }
}

fn own_packets(setting: &Interception, rules: &mut Vec<Rule>) {
    let own = match setting.own {
        Own::Mark(mark) => vec![Condition::Mark(mark)],
        Own::Process { uid, gid } => vec![Condition::User(uid), Condition::Group(gid)],
    };
    for condition in own {
        rules.push(output(
            vec![condition],
            Verdict::Pass,
            "The proxy's own packets, to other workloads or to its application: caught again they would go in circles.",
        ));
    }
    let users = setting.excluded_uids.iter().map(|uid| Condition::User(*uid));
    let groups = setting.excluded_gids.iter().map(|gid| Condition::Group(*gid));
    for condition in users.chain(groups) {
        rules.push(output(vec![condition], Verdict::Pass, "A user or a group that was excluded."));
    }
    for name in &setting.excluded_interfaces {
        let why = "An interface that was excluded.";
        rules.push(output(vec![Condition::To(name.clone())], Verdict::Pass, why));
        let conditions = vec![Condition::From(name.clone())];
        rules.push(Rule { chain: Chain::Prerouting, conditions, verdict: Verdict::Pass, why });
    }
}

fn dns(setting: &Interception, rules: &mut Vec<Rule>) {
    let Some(port) = setting.dns_port else { return };
    for transport in [Condition::Udp, Condition::Tcp] {
        rules.push(output(
            vec![transport, Condition::Port(53)],
            Verdict::Redirect(port),
            "Names are resolved by the sidecar, whichever name server the application asks, loopback included.",
        ));
    }
}

fn outbound(setting: &Interception, family: Family, rules: &mut Vec<Rule>) {
    rules.push(output(
        vec![Condition::ToLoopback],
        Verdict::Pass,
        "The workload talks to itself: over loopback, or by its own address.",
    ));
    for port in &setting.excluded_outbound_ports {
        rules.push(output(
            vec![Condition::Tcp, Condition::Port(*port)],
            Verdict::Pass,
            "An outbound port that was excluded.",
        ));
    }
    for range in setting.excluded_outbound_ranges.iter().filter(|range| family.has(**range)) {
        rules.push(output(
            vec![Condition::Tcp, Condition::Destination(*range)],
            Verdict::Pass,
            "An outbound range that was excluded.",
        ));
    }
    let redirect = Verdict::Redirect(setting.outbound_port);
    let Some(ranges) = &setting.included_outbound_ranges else {
        let why = "Everything else that leaves goes through the proxy.";
        return rules.push(output(vec![Condition::Tcp], redirect, why));
    };
    for port in &setting.included_outbound_ports {
        let why = "An outbound port that goes through the proxy, wherever it leads.";
        rules.push(output(vec![Condition::Tcp, Condition::Port(*port)], redirect, why));
    }
    for range in ranges.iter().filter(|range| family.has(**range)) {
        rules.push(output(
            vec![Condition::Tcp, Condition::Destination(*range)],
            redirect,
            "A range that goes through the proxy; what is in none of them passes.",
        ));
    }
}

fn inbound(setting: &Interception, rules: &mut Vec<Rule>) {
    let mut add = |conditions, verdict, why| {
        rules.push(Rule { chain: Chain::Prerouting, conditions, verdict, why });
    };
    for port in &setting.excluded_inbound_ports {
        add(
            vec![Condition::Tcp, Condition::Port(*port)],
            Verdict::Pass,
            "The sidecar's own port, or an inbound port that was excluded.",
        );
    }
    let redirect = Verdict::Redirect(setting.inbound_port);
    match &setting.included_inbound_ports {
        None => add(vec![Condition::Tcp], redirect, "Everything else that arrives goes through the proxy."),
        Some(ports) => {
            for port in ports {
                let why = "An inbound port that goes through the proxy; what is none of them passes.";
                add(vec![Condition::Tcp, Condition::Port(*port)], redirect, why);
            }
        }
    }
}
