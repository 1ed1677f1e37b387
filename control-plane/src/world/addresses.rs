//! Virtual addresses for services that were given none: the same one every time, also after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::service::{VirtualAddresses, WorldService};

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;

/// Where virtual addresses are taken from: `/16` and `/112`, as Istio's for service entries
/// (<https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/>).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressRanges {
    /// First address; the lower 16 bits are ours.
    pub v4: Ipv4Addr,
    /// First address; the lower 16 bits are ours.
    pub v6: Ipv6Addr,
}

impl Default for AddressRanges {
    fn default() -> Self {
        Self { v4: Ipv4Addr::new(240, 240, 0, 0), v6: Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0) }
    }
}

/// Which host has which address. Kept in a file, so that a restart changes no address; or, where several control planes
/// serve one mesh without a common disk, found anew from all hosts each time, so that they agree.
#[derive(Debug)]
pub struct AddressBook {
    ranges: AddressRanges,
    file: Option<PathBuf>,
    given: BTreeMap<Arc<str>, u16>,
    taken: BTreeSet<u16>,
    changed: bool,
    anew: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    given: BTreeMap<Arc<str>, u16>,
}

impl AddressBook {
    /// A book that is forgotten with the process.
    #[must_use]
    pub fn in_memory(ranges: AddressRanges) -> Self {
        Self {
            ranges,
            file: None,
            given: BTreeMap::new(),
            taken: BTreeSet::new(),
            changed: false,
            anew: false,
        }
    }

    /// A book in which an address follows from the hosts that want one: whoever sees the same services gives the same
    /// addresses. Where two hosts have the same hash the older service has the address, so that newcomers move nobody.
    #[must_use]
    pub fn by_hash(ranges: AddressRanges) -> Self {
        Self { anew: true, ..Self::in_memory(ranges) }
    }

    /// The book in `file`; an empty one if there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read or is not one of ours.
    pub fn open(file: &Path, ranges: AddressRanges) -> io::Result<Self> {
        let mut book = Self { file: Some(file.to_owned()), ..Self::in_memory(ranges) };
        match fs::read(file) {
            Ok(bytes) => {
                let stored: Stored = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
                book.taken = stored.given.values().copied().collect();
                book.given = stored.given;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(book)
    }

    /// Gives an address of each family to every service that can have one and has none.
    pub fn assign<'a>(&mut self, services: impl Iterator<Item = &'a mut WorldService>) {
        let wants = |service: &&'a mut WorldService| matches!(&service.addresses, VirtualAddresses::Virtual(addresses) if addresses.is_empty());
        let mut services: Vec<&'a mut WorldService> = services.filter(wants).collect();
        if self.anew {
            self.given.clear();
            self.taken.clear();
            services.sort_by(|a, b| {
                (a.created.is_none(), a.created, &a.host).cmp(&(b.created.is_none(), b.created, &b.host))
            });
        }
        for service in services {
            let VirtualAddresses::Virtual(addresses) = &mut service.addresses else { continue };
            if addresses.is_empty()
                && let Some(number) = self.number(&service.host)
            {
                *addresses = vec![
                    IpAddr::V4(Ipv4Addr::from_bits(self.ranges.v4.to_bits() | u32::from(number))),
                    IpAddr::V6(Ipv6Addr::from_bits(self.ranges.v6.to_bits() | u128::from(number))),
                ];
            }
        }
    }

    /// Writes the book if it changed: to a new file that then takes the old one's place.
    ///
    /// # Errors
    /// When the file cannot be written; the book stays as it is and the next call tries again.
    pub fn save(&mut self) -> io::Result<()> {
        let (Some(file), true) = (&self.file, self.changed) else { return Ok(()) };
        let fresh = file.with_extension("new");
        let stored = Stored { given: self.given.clone() };
        fs::write(&fresh, serde_json::to_vec_pretty(&stored).map_err(io::Error::other)?)?;
        fs::File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, file)?;
        self.changed = false;
        Ok(())
    }

    /// The number of a host: by its hash, so that meshes agree mostly, else the next free one. None when all of the
    /// 65,000 are given away.
    fn number(&mut self, host: &Arc<str>) -> Option<u16> {
        if let Some(number) = self.given.get(host) {
            return Some(*number);
        }
        let digest = Sha256::digest(host.as_bytes());
        let start = u16::from_be_bytes([digest[0], digest[1]]);
        // The first and last of a range are not used: they look like network and broadcast addresses.
        let candidates =
            (0..=u16::MAX).map(|step| start.wrapping_add(step)).filter(|n| (1..u16::MAX).contains(n));
        let number = candidates.into_iter().find(|number| !self.taken.contains(number))?;
        self.given.insert(host.clone(), number);
        self.taken.insert(number);
        self.changed = true;
        Some(number)
    }
}
