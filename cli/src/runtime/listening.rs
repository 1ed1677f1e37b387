//! Which ports somebody listens on, told without connecting: the application sees nothing of it.

use std::collections::BTreeSet;
use std::fs;

#[cfg(test)]
#[path = "listening_tests.rs"]
mod tests;

/// State `LISTEN` in `/proc/net/tcp` (`TCP_LISTEN` of the kernel).
const LISTEN: &str = "0A";

/// TCP ports of this network namespace that are listened on.
#[must_use]
pub fn ports() -> BTreeSet<u16> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .flat_map(|table| read(&fs::read_to_string(table).unwrap_or_default()))
        .collect()
}

fn read(table: &str) -> BTreeSet<u16> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next()?;
            let state = fields.nth(1)?;
            let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
            (state == LISTEN).then_some(port)
        })
        .collect()
}
