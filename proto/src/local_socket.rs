//! The Unix sockets that `weft` asks its processes on, the control plane as well as sidecars.
//!
//! Here, because both of them bind one and this is the crate for what goes over such a socket.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Binds a socket for the owner only, with mode 0600; it does not block. One that a killed process left is taken
/// over; one that answers is not, nor is any other file. Made in a directory of its own, so that nobody else can open
/// it before its mode is set. To be removed by whoever bound it.
///
/// # Errors
/// It cannot be made, something is there that is to stay, or `other`, as in "another control plane", answers there.
/// The text names the path.
pub fn bind(path: &Path, other: &str) -> io::Result<UnixListener> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
    };
    may_be_replaced(path, other).and_then(|()| bind_beside(path)).map_err(named)
}

fn may_be_replaced(path: &Path, other: &str) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there; choose another path",
        )),
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{other} answers there")))
        }
        _ => Ok(()),
    }
}

fn bind_beside(path: &Path) -> io::Result<UnixListener> {
    let private = path.with_file_name(format!(".{:x}", std::process::id()));
    let _ = fs::remove_dir_all(&private);
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let beside = private.join("s");
    let bound = UnixListener::bind(&beside).and_then(|listener| {
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        fs::rename(&beside, path)?;
        Ok(listener)
    });
    let _ = fs::remove_dir_all(&private);
    bound
}
