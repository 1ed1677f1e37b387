//! The accepted resources on disk, for a start without a control plane.
//!
//! Format: the line `weft-last-good 1`, then for each type a `DeltaDiscoveryResponse`, each behind its length as a
//! varint, and at the end the SHA-256 of all that stands before it. Written beside and renamed, so that a reader sees
//! the old or the new file and never half of one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use weft_proto::xds::discovery::DeltaDiscoveryResponse;

use super::store::Refused;

const HEAD: &[u8] = b"weft-last-good 1\n";
const HASH: usize = 32;

/// Why resources could not be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// It cannot be opened or read.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// It is of another version or damaged.
    #[error("{0} is damaged or of another version: {1}")]
    Damaged(PathBuf, &'static str),
    /// It holds resources that are wrong.
    #[error("{0}")]
    Refused(Refused),
}

/// Where the file stands in a state directory.
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("last-good")
}

/// Writes resources; the file is readable by its owner only.
///
/// # Errors
/// When the directory cannot be written to.
pub fn write(path: &Path, responses: &[DeltaDiscoveryResponse]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut bytes = HEAD.to_vec();
    for response in responses {
        bytes.extend_from_slice(&response.encode_length_delimited_to_vec());
    }
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    let beside = path.with_extension("new");
    let mut file: File = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// When the file cannot be read, or is not what was written.
pub(super) fn read(path: &Path) -> Result<Vec<DeltaDiscoveryResponse>, LastGoodError> {
    let damaged = |why| LastGoodError::Damaged(path.to_owned(), why);
    let bytes = fs::read(path).map_err(|error| LastGoodError::Io(path.to_owned(), error))?;
    let (content, hash) = bytes.split_last_chunk::<HASH>().ok_or(damaged("it is too short"))?;
    let mut rest = content.strip_prefix(HEAD).ok_or(damaged("it begins otherwise"))?;
    if Sha256::digest(content).as_slice() != hash {
        return Err(damaged("its checksum is wrong"));
    }
    let mut responses = Vec::new();
    while !rest.is_empty() {
        let response = DeltaDiscoveryResponse::decode_length_delimited(&mut rest)
            .map_err(|_| damaged("a message in it is no answer"))?;
        responses.push(response);
    }
    Ok(responses)
}
