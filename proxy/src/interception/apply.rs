//! Hands rules to the kernel of the network namespace this process is in, by the tools that every system has.
//!
//! Which of them works is the node's matter: its kernel may lack the parts that `nft` needs, or those of the old
//! `iptables`. What it has cannot be told from outside (modules load themselves when first asked for), so the tools are
//! tried, the newest first, and the kernel's answer decides. A pod's network namespace is new and holds nobody else's
//! rules; and rules of different tools stand beside each other.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::rules::Family;
use super::setting::Interception;
use super::{iptables, nftables};

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;

/// Which packet filter is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Backend {
    /// The first that is installed and that the kernel takes rules from: `nft`, iptables over nf_tables, the old
    /// iptables.
    Auto,
    /// `nft`, of the package nftables.
    Nftables,
    /// `iptables-restore` and `ip6tables-restore`, whichever of the two kinds the system has chosen.
    Iptables,
    /// `iptables-nft-restore` and `ip6tables-nft-restore`.
    IptablesNft,
    /// `iptables-legacy-restore` and `ip6tables-legacy-restore`.
    IptablesLegacy,
}

/// The kernel did not take the rules.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The tool is not there.
    #[error("`{tool}` is not installed: apt-get install {package}")]
    Missing {
        /// Its name.
        tool: &'static str,
        /// The Debian package it comes in.
        package: &'static str,
    },
    /// The tool did not start, or its pipe broke.
    #[error("cannot run `{tool}`: {error}")]
    Run {
        /// Its name.
        tool: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The tool refused.
    #[error("`{tool}` refused: {message}")]
    Refused {
        /// Its name.
        tool: &'static str,
        /// What it wrote.
        message: String,
    },
    /// None works.
    #[error("no packet filter takes the rules: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    None(Vec<ApplyError>),
}

/// The families this kernel speaks: IPv6 may be compiled out or disabled at boot.
#[must_use]
pub fn families_here() -> Vec<Family> {
    // Of this thread, whose network namespace need not be the process's.
    if Path::new("/proc/thread-self/net/if_inet6").exists() {
        vec![Family::Ipv4, Family::Ipv6]
    } else {
        vec![Family::Ipv4]
    }
}

/// A tool that rules are handed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tool {
    Nft,
    Iptables(&'static IptablesKind),
}

/// The names that one kind of iptables has.
#[derive(PartialEq, Eq, Debug)]
struct IptablesKind {
    name: &'static str,
    save: [&'static str; 2],
    restore: [&'static str; 2],
}

static IPTABLES: IptablesKind = IptablesKind {
    name: "iptables",
    save: ["iptables-save", "ip6tables-save"],
    restore: ["iptables-restore", "ip6tables-restore"],
};
static IPTABLES_NFT: IptablesKind = IptablesKind {
    name: "iptables-nft",
    save: ["iptables-nft-save", "ip6tables-nft-save"],
    restore: ["iptables-nft-restore", "ip6tables-nft-restore"],
};
static IPTABLES_LEGACY: IptablesKind = IptablesKind {
    name: "iptables-legacy",
    save: ["iptables-legacy-save", "ip6tables-legacy-save"],
    restore: ["iptables-legacy-restore", "ip6tables-legacy-restore"],
};

/// In the order in which they are tried. The name without a kind is for systems that have one kind only.
const ALL: [Tool; 4] =
    [Tool::Nft, Tool::Iptables(&IPTABLES_NFT), Tool::Iptables(&IPTABLES_LEGACY), Tool::Iptables(&IPTABLES)];

impl Backend {
    fn tools(self) -> Vec<Tool> {
        match self {
            Self::Auto => ALL.to_vec(),
            Self::Nftables => vec![Tool::Nft],
            Self::Iptables => vec![Tool::Iptables(&IPTABLES)],
            Self::IptablesNft => vec![Tool::Iptables(&IPTABLES_NFT)],
            Self::IptablesLegacy => vec![Tool::Iptables(&IPTABLES_LEGACY)],
        }
    }
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables(kind) => kind.name,
        }
    }

    fn apply(self, setting: &Interception, families: &[Family]) -> Result<(), ApplyError> {
        match self {
            Self::Nft => run("nft", &["-f", "-"], &nftables::apply_script(setting, families)).map(drop),
            Self::Iptables(kind) => families.iter().try_for_each(|family| {
                let saved = run(kind.save[index(*family)], &["-t", "nat"], "")?;
                let script = iptables::apply_script(setting, *family, &saved);
                run(kind.restore[index(*family)], &["--noflush"], &script).map(drop)
            }),
        }
    }

    fn remove(self, families: &[Family]) -> Result<(), ApplyError> {
        match self {
            Self::Nft => run("nft", &["-f", "-"], &nftables::remove_script(families)).map(drop),
            Self::Iptables(kind) => families.iter().try_for_each(|family| {
                let saved = run(kind.save[index(*family)], &["-t", "nat"], "")?;
                match iptables::remove_script(&saved) {
                    Some(script) => run(kind.restore[index(*family)], &["--noflush"], &script).map(drop),
                    None => Ok(()),
                }
            }),
        }
    }

    fn has_rules(self, family: Family) -> bool {
        match self {
            Self::Nft => {
                run("nft", &["list", "table", nftables::family(family), nftables::TABLE], "").is_ok()
            }
            Self::Iptables(kind) => {
                let saved = run(kind.save[index(family)], &["-t", "nat"], "");
                saved.is_ok_and(|saved| iptables::remove_script(&saved).is_some())
            }
        }
    }

    /// Whether both may look at the same rules: `iptables` is one of the other two.
    fn overlaps(self, other: Self) -> bool {
        let general = Self::Iptables(&IPTABLES);
        self == other || (self != Self::Nft && other != Self::Nft && (self == general || other == general))
    }
}

fn index(family: Family) -> usize {
    usize::from(family == Family::Ipv6)
}

/// Puts the rules in place of those of an earlier call, whichever packet filter took those. All or nothing for each
/// family. Gives the name of the tool that was used.
///
/// # Errors
/// See [`ApplyError`]; needs `CAP_NET_ADMIN` over the network namespace.
pub fn apply(
    setting: &Interception,
    families: &[Family],
    backend: Backend,
) -> Result<&'static str, ApplyError> {
    let mut failures = Vec::new();
    for tool in backend.tools() {
        match tool.apply(setting, families) {
            Ok(()) => {
                for other in ALL.into_iter().filter(|other| !tool.overlaps(*other)) {
                    left_over(other, other.remove(families));
                }
                return Ok(tool.name());
            }
            Err(error) => {
                // It may have set the rules of one family before the other was refused.
                let _ = tool.remove(families);
                failures.push(error);
            }
        }
    }
    Err(only_or_all(failures))
}

/// Another packet filter may hold rules of an earlier call, from before the first was installed: both would redirect,
/// and the older settings might win. The rules that count are in place by now, so that a failure is only told.
fn left_over(of: Tool, removed: Result<(), ApplyError>) {
    match removed {
        // What is not installed holds nothing.
        Ok(()) | Err(ApplyError::Missing { .. }) => {}
        Err(error) => tracing::debug!("did not look for older rules of {}: {error}", of.name()),
    }
}

/// Takes the rules away, whichever packet filter holds them; nothing to do is no error.
///
/// # Errors
/// See [`ApplyError`].
pub fn remove(families: &[Family], backend: Backend) -> Result<(), ApplyError> {
    let tools = backend.tools();
    let (mut failures, mut missing, mut done) = (Vec::new(), Vec::new(), 0);
    // Each may have been used, so all are asked; one that is not installed holds nothing, and neither does one that
    // the kernel does not have the parts for.
    for tool in tools {
        match tool.remove(families) {
            Ok(()) => done += 1,
            Err(error @ ApplyError::Missing { .. }) => missing.push(error),
            Err(error) => failures.push(error),
        }
    }
    match (done, failures.is_empty()) {
        (0, true) => Err(only_or_all(missing)),
        (0, false) => Err(only_or_all(failures)),
        _ => {
            failures.iter().for_each(|error| tracing::debug!("did not look for rules: {error}"));
            Ok(())
        }
    }
}

/// The tool whose rules are there, of every family; none: they are missing.
#[must_use]
pub fn present(families: &[Family]) -> Option<&'static str> {
    ALL.into_iter().find(|tool| families.iter().all(|family| tool.has_rules(*family))).map(Tool::name)
}

fn only_or_all(mut errors: Vec<ApplyError>) -> ApplyError {
    match (errors.pop(), errors.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            errors.extend(last);
            ApplyError::None(errors)
        }
    }
}

/// Where the old iptables keeps the file by which its processes wait for each other.
const LOCK: &str = "/run/xtables.lock";
/// Where it is put in a container whose root is read-only: memory, which is the container's own. Nobody else changes
/// the rules of a pod that is being set up.
const LOCK_IN_MEMORY: &str = "/dev/shm/xtables.lock";

/// Runs a tool with the input and gives what it wrote.
fn run(tool: &'static str, arguments: &[&str], input: &str) -> Result<String, ApplyError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            ApplyError::Missing { tool, package: if tool == "nft" { "nftables" } else { "iptables" } }
        }
        _ => ApplyError::Run { tool, error },
    };
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // An ordinary user's PATH often lacks the folders in which Debian keeps these tools.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    if std::env::var_os("XTABLES_LOCKFILE").is_none() && is_read_only(LOCK) {
        command.env("XTABLES_LOCKFILE", LOCK_IN_MEMORY);
    }
    let mut child = command.spawn().map_err(failed)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', ", ");
        return Err(ApplyError::Refused { tool, message });
    }
    written.map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a file can neither be opened for writing nor be made.
fn is_read_only(path: &str) -> bool {
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    opened.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound)
    })
}
