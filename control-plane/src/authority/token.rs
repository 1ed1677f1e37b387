//! Join tokens: each stands for one workload, once.
//!
//! Only their SHA-256 digests are kept. The journal `<state-dir>/authority/join-tokens.jsonl` is appended to and made
//! durable before a token is handed out or accepted, so that a token used just before a crash stays used.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use weft_model::clock::Clock;
use weft_model::identity::{TrustDomain, WorkloadIdentity};

use super::attest::{Claim, Workload};
use super::error::AuthorityError;
use super::file::{directory, replace};

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;

/// Tells our tokens from others' (a Kubernetes token, say), and lets secret scanners find a leaked one.
const PREFIX: &str = "wjt_";
/// Lines that no longer matter before the journal is written anew.
const COMPACT_AFTER: usize = 1024;

/// 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken(String);

impl JoinToken {
    fn draw() -> Result<Self, AuthorityError> {
        let mut secret = [0_u8; 32];
        super::provider()
            .secure_random
            .fill(&mut secret)
            .map_err(|_| AuthorityError::crypto("draw a join token")("no randomness"))?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))))
    }

    /// The secret itself: for the workload's eyes only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Never shows the token.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", fingerprint(&digest(&self.0)))
    }
}

/// A token on its way to a workload.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The secret.
    pub token: JoinToken,
    /// When it can no longer be used.
    pub expires_at: SystemTime,
}

/// Why a token does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum TokenRefusal {
    /// Not of our form, so perhaps another attestor's.
    #[error("this is no join token")]
    Foreign,
    /// We never made it, or it has long expired.
    #[error("this join token is unknown: it was never issued here, or expired long ago")]
    Unknown,
    /// Its time is up.
    #[error("this join token has expired")]
    Expired,
    /// Somebody was faster.
    #[error("this join token was already used; a token is good for one workload, once")]
    Used,
    /// It is for another workload.
    #[error("this join token was issued for another workload")]
    OtherWorkload,
    /// It may be good, but its use could not be written down.
    #[error("the use of the join token could not be recorded; try again later")]
    Unrecorded,
}

type Hash = [u8; 32];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    workload: Workload,
    expires_at: SystemTime,
    used: bool,
}

/// One line of the journal.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Record {
    Issued {
        sha256: String,
        namespace: String,
        service_account: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Seconds since 1970.
        expires: u64,
    },
    Used {
        sha256: String,
    },
}

/// The tokens that are out.
#[derive(Debug)]
pub struct JoinTokens {
    path: PathBuf,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: HashMap<Hash, Entry>,
    journal: File,
    lines: usize,
    /// A write failed half-way: the journal must be written anew before anything is appended.
    torn: bool,
}

impl JoinTokens {
    /// Reads the journal; what a crash cut off at its end is dropped: it was never acknowledged.
    ///
    /// # Errors
    /// When the journal cannot be read or written, or a line before the last is damaged: a token that was used must
    /// not come back, so a damaged journal is for the owner to look at, not for us to skip.
    pub fn open(state_dir: &Path, clock: Clock) -> Result<Arc<Self>, AuthorityError> {
        let path = directory(state_dir)?.join("join-tokens.jsonl");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(AuthorityError::file("read", &path)(error)),
        };
        let mut entries = parse(&text).map_err(|(line, reason)| AuthorityError::Journal {
            path: path.clone(),
            line,
            reason,
        })?;
        let state = rewrite(&path, &mut entries, clock.now())?;
        Ok(Arc::new(Self { path, clock, state: Mutex::new(state) }))
    }

    /// Makes a token for a workload and keeps its digest. Blocks for one durable write.
    ///
    /// # Errors
    /// When the workload's names make no identity, or the journal cannot be written: then there is no token.
    pub fn issue(&self, workload: &Workload, lifetime: Duration) -> Result<IssuedToken, AuthorityError> {
        // Every trust domain takes the same names; which one it will be is the authority's to say.
        WorkloadIdentity::new(TrustDomain::default(), &workload.namespace, &workload.service_account)?;
        let token = JoinToken::draw()?;
        let now = self.clock.now();
        let expires_at = now + lifetime;
        let entry = Entry { workload: workload.clone(), expires_at, used: false };
        let hash = digest(token.reveal());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.append(&mut state, &issued(&hash, &entry), now)?;
        state.entries.insert(hash, entry);
        Ok(IssuedToken { token, expires_at })
    }

    /// Whom a token stands for. From the moment this returns `Ok` it is used, whatever happens to the process.
    /// Blocks for one durable write.
    ///
    /// A token that is refused for what the sender claims to be is not used up: whoever it was made for can still
    /// come.
    pub(super) fn redeem(&self, text: &str, claim: &Claim) -> Result<Workload, TokenRefusal> {
        if !text.starts_with(PREFIX) {
            return Err(TokenRefusal::Foreign);
        }
        let now = self.clock.now();
        let hash = digest(text);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked up by the digest of what was sent, then compared in constant time: timing tells nothing of a token.
        let entry = state
            .entries
            .get_key_value(&hash)
            .filter(|(known, _)| equal(known, &hash))
            .map(|(_, entry)| entry)
            .ok_or(TokenRefusal::Unknown)?;
        if entry.used {
            return Err(TokenRefusal::Used);
        }
        if now >= entry.expires_at {
            return Err(TokenRefusal::Expired);
        }
        if !claim.fits(&entry.workload) {
            return Err(TokenRefusal::OtherWorkload);
        }
        let workload = entry.workload.clone();
        self.append(&mut state, &Record::Used { sha256: hex(&hash) }, now).map_err(|error| {
            tracing::error!(%error, "a join token's use could not be recorded; it is refused");
            TokenRefusal::Unrecorded
        })?;
        if let Some(entry) = state.entries.get_mut(&hash) {
            entry.used = true;
        }
        Ok(workload)
    }

    fn append(&self, state: &mut State, record: &Record, now: SystemTime) -> Result<(), AuthorityError> {
        if state.torn || state.lines > COMPACT_AFTER + 2 * state.entries.len() {
            *state = rewrite(&self.path, &mut state.entries, now)?;
        }
        let line = line(record)?;
        let written = state.journal.write_all(line.as_bytes()).and_then(|()| state.journal.sync_data());
        // Perhaps half a line stands there now: nothing may follow it.
        state.torn = written.is_err();
        state.lines += 1;
        written.map_err(AuthorityError::file("write", &self.path))
    }
}

/// Drops what expired, used or not, and writes the rest anew.
fn rewrite(
    path: &Path,
    entries: &mut HashMap<Hash, Entry>,
    now: SystemTime,
) -> Result<State, AuthorityError> {
    entries.retain(|_, entry| now < entry.expires_at);
    let mut text = String::new();
    let mut lines = 0;
    for (hash, entry) in entries.iter() {
        text.push_str(&line(&issued(hash, entry))?);
        lines += 1;
        if entry.used {
            text.push_str(&line(&Record::Used { sha256: hex(hash) })?);
            lines += 1;
        }
    }
    replace(path, text.as_bytes())?;
    let journal = OpenOptions::new().append(true).open(path).map_err(AuthorityError::file("open", path))?;
    Ok(State { entries: std::mem::take(entries), journal, lines, torn: false })
}

fn line(record: &Record) -> Result<String, AuthorityError> {
    serde_json::to_string(record)
        .map(|json| json + "\n")
        .map_err(AuthorityError::crypto("encode a journal line"))
}

fn issued(hash: &Hash, entry: &Entry) -> Record {
    let Workload { namespace, service_account, name } = entry.workload.clone();
    let expires = entry.expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Record::Issued { sha256: hex(hash), namespace, service_account, name, expires }
}

fn parse(text: &[u8]) -> Result<HashMap<Hash, Entry>, (usize, String)> {
    let mut entries = HashMap::new();
    // What follows the last line feed was being written when the process died.
    let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    for (index, line) in text[..complete].split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let damaged = |reason: String| (index + 1, reason);
        let record = serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))?;
        match record {
            Record::Issued { sha256, namespace, service_account, name, expires } => {
                let hash = unhex(&sha256).ok_or_else(|| damaged("sha256 is no digest".to_owned()))?;
                let expires_at = SystemTime::UNIX_EPOCH
                    .checked_add(Duration::from_secs(expires))
                    .ok_or_else(|| damaged("expires is no time".to_owned()))?;
                let workload = Workload { namespace, service_account, name };
                entries.insert(hash, Entry { workload, expires_at, used: false });
            }
            Record::Used { sha256 } => {
                let hash = unhex(&sha256).ok_or_else(|| damaged("sha256 is no digest".to_owned()))?;
                if let Some(entry) = entries.get_mut(&hash) {
                    entry.used = true;
                }
            }
        }
    }
    Ok(entries)
}

fn digest(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Takes the same time whatever differs.
fn equal(left: &Hash, right: &Hash) -> bool {
    std::hint::black_box(left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

/// Names a token in the log without giving it away: 32 bits of its digest.
pub(super) fn token_fingerprint(text: &str) -> String {
    fingerprint(&digest(text))
}

fn fingerprint(hash: &Hash) -> String {
    hex(&hash[..4])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}
