//! Secrets on disk: private, and either the old or the new after a crash.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;

use super::error::AuthorityError;

/// `<state-dir>/authority`, made with mode 0700 where it is missing.
pub(super) fn directory(state_dir: &Path) -> Result<PathBuf, AuthorityError> {
    let directory = state_dir.join("authority");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(AuthorityError::file("create", &directory))?;
    Ok(directory)
}

/// Reads a file that holds a key; `None` when there is none.
///
/// Bits of `forbidden` in its mode are an error: a key that others can read is no key.
pub(super) fn read_secret(path: &Path, forbidden: u32) -> Result<Option<Vec<u8>>, AuthorityError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AuthorityError::file("open", path)(error)),
    };
    // Of the open file, not of the path: what is checked is what is read.
    let mode = file.metadata().map_err(AuthorityError::file("examine", path))?.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(AuthorityError::Exposed { path: path.to_owned(), mode });
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(AuthorityError::file("read", path))?;
    Ok(Some(content))
}

/// Writes a file that must not exist yet; whoever comes first wins. `false` when it does.
pub(super) fn create_secret(path: &Path, content: &[u8]) -> Result<bool, AuthorityError> {
    let failed = |error| AuthorityError::file("write", path)(error);
    let beside = write_beside(path, content).map_err(failed)?;
    let linked = std::fs::hard_link(&beside, path);
    let _ = std::fs::remove_file(&beside);
    match linked {
        Ok(()) => sync_directory(path).map(|()| true).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Replaces a file as a whole.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), AuthorityError> {
    let failed = |error| AuthorityError::file("write", path)(error);
    let beside = write_beside(path, content).map_err(failed)?;
    std::fs::rename(&beside, path)
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&beside);
        })
        .and_then(|()| sync_directory(path))
        .map_err(failed)
}

fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file
        .set_permissions(Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    Ok(beside)
}

/// Makes a rename survive a loss of power.
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Textual encoding of RFC 7468: lines of 64 characters.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
