//! Istio's name table: the mesh's names and their addresses.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use prost::Message;
use weft_proto::istio::nds;

use super::reader::{DecodeErrors, Reader};

/// What the one resource of this type is called. Istio leaves its name empty.
pub const NAME: &str = "mesh";

/// Host name in lower case, without the trailing dot, to its addresses.
pub type Names = HashMap<Arc<str>, Vec<IpAddr>>;

/// [`nds::NameTable`], its map ordered, so that equal tables have equal bytes.
#[derive(Clone, PartialEq, Message)]
struct OrderedTable {
    #[prost(btree_map = "string, message", tag = "1")]
    table: BTreeMap<String, nds::name_table::NameInfo>,
}

/// The bytes of a `NameTable`.
#[must_use]
pub fn encode(names: &Names) -> Vec<u8> {
    let entry = |(name, addresses): (&Arc<str>, &Vec<IpAddr>)| {
        let ips = addresses.iter().map(ToString::to_string).collect();
        let info = nds::name_table::NameInfo { ips, registry: "Kubernetes".to_owned(), ..Default::default() };
        (name.to_string(), info)
    };
    OrderedTable { table: names.iter().map(entry).collect() }.encode_to_vec()
}

/// Reads the bytes of a `NameTable`. Names are brought to lower case, without a trailing dot.
///
/// # Errors
/// Every mistake of it.
pub fn decode(bytes: &[u8]) -> Result<Names, DecodeErrors> {
    Reader::resource(bytes, |reader, table: OrderedTable| {
        let mut names = Names::with_capacity(table.table.len());
        for (name, info) in table.table {
            let addresses = reader.within(&format!("table[{name}]"), |reader| {
                reader.each("ips", info.ips, |reader, ip| match ip.parse() {
                    Ok(ip) => Some(ip),
                    Err(_) => reader.refuse(format!("`{ip}` is no IP address")),
                })
            });
            names.insert(name.trim_end_matches('.').to_ascii_lowercase().into(), addresses);
        }
        Some(names)
    })
}
