//! Hands rules to the kernel of the network namespace this process is in, by the tools that every system has.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::rules::Family;
use super::setting::Interception;
use super::{iptables, nftables};

/// Which packet filter is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Backend {
    /// `nft` where it is installed and works, else iptables.
    Auto,
    /// `nft`, of the package nftables.
    Nftables,
    /// `iptables-restore` and `ip6tables-restore`, of the package iptables.
    Iptables,
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
    /// Neither works.
    #[error("no packet filter takes the rules: {0}; {1}")]
    Neither(Box<ApplyError>, Box<ApplyError>),
}

/// The families this kernel speaks: IPv6 may be compiled out or disabled at boot.
#[must_use]
pub fn families_here() -> Vec<Family> {
    if Path::new("/proc/net/if_inet6").exists() {
        vec![Family::Ipv4, Family::Ipv6]
    } else {
        vec![Family::Ipv4]
    }
}

/// Puts the rules in place of those of an earlier call, whichever packet filter took those. All or nothing for each
/// family.
///
/// # Errors
/// See [`ApplyError`]; needs `CAP_NET_ADMIN` over the network namespace.
pub fn apply(setting: &Interception, families: &[Family], backend: Backend) -> Result<(), ApplyError> {
    let by_nft = || {
        run("nft", &["-f", "-"], &nftables::apply_script(setting, families))?;
        left_over("iptables", remove_by_iptables(families));
        Ok(())
    };
    let by_iptables = || {
        for family in families {
            let saved = run(save(*family), &["-t", "nat"], "")?;
            run(restore(*family), &["--noflush"], &iptables::apply_script(setting, *family, &saved))?;
        }
        left_over("nft", remove_by_nft(families));
        Ok(())
    };
    either(backend, by_nft, by_iptables)
}

/// The other packet filter may hold rules of an earlier call, from before the first was installed: both would redirect,
/// and the older settings might win. The rules that count are in place by now, so that a failure is only told.
fn left_over(of: &str, removed: Result<(), ApplyError>) {
    match removed {
        // What is not installed holds nothing.
        Ok(()) | Err(ApplyError::Missing { .. }) => {}
        Err(error) => tracing::debug!("did not look for older rules of {of}: {error}"),
    }
}

fn remove_by_nft(families: &[Family]) -> Result<(), ApplyError> {
    run("nft", &["-f", "-"], &nftables::remove_script(families)).map(drop)
}

fn remove_by_iptables(families: &[Family]) -> Result<(), ApplyError> {
    for family in families {
        if let Some(script) = iptables::remove_script(&run(save(*family), &["-t", "nat"], "")?) {
            run(restore(*family), &["--noflush"], &script)?;
        }
    }
    Ok(())
}

/// Takes the rules away, whichever packet filter holds them; nothing to do is no error.
///
/// # Errors
/// See [`ApplyError`].
pub fn remove(families: &[Family], backend: Backend) -> Result<(), ApplyError> {
    let (by_nft, by_iptables) = (|| remove_by_nft(families), || remove_by_iptables(families));
    match backend {
        Backend::Nftables => by_nft(),
        Backend::Iptables => by_iptables(),
        // Either may have been used, so both are asked; one that is not installed holds nothing.
        Backend::Auto => match (by_nft(), by_iptables()) {
            (Err(ApplyError::Missing { .. }), other) | (other, Err(ApplyError::Missing { .. })) => other,
            (first, second) => first.and(second),
        },
    }
}

fn either(
    backend: Backend,
    by_nft: impl FnOnce() -> Result<(), ApplyError>,
    by_iptables: impl FnOnce() -> Result<(), ApplyError>,
) -> Result<(), ApplyError> {
    match backend {
        Backend::Nftables => by_nft(),
        Backend::Iptables => by_iptables(),
        Backend::Auto => by_nft().or_else(|first| {
            by_iptables().map_err(|second| ApplyError::Neither(Box::new(first), Box::new(second)))
        }),
    }
}

fn save(family: Family) -> &'static str {
    if family == Family::Ipv4 { "iptables-save" } else { "ip6tables-save" }
}

fn restore(family: Family) -> &'static str {
    if family == Family::Ipv4 { "iptables-restore" } else { "ip6tables-restore" }
}

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
