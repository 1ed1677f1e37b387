//! Where a mesh keeps its files.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::name::MeshName;
use crate::command::{CommandError, FAILED, LACKING};

/// The kernel's limit for a Unix socket's path, without the final zero byte (`sockaddr_un`).
const LONGEST_SOCKET_PATH: usize = 107;

/// The state directory of one mesh.
#[derive(Clone, Debug)]
pub struct MeshPaths {
    /// Everything of the mesh is below; mode 0700.
    pub directory: PathBuf,
}

impl MeshPaths {
    /// `$WEFT_HOME/MESH`, else `/var/lib/weft/MESH` for root, else `$XDG_STATE_HOME/weft/MESH`
    /// (`~/.local/state/weft/MESH`).
    ///
    /// # Errors
    /// When the user has no home, or the path is too long for Unix sockets to be in it.
    pub fn of(mesh: &MeshName) -> Result<Self, CommandError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = if let Some(home) = set("WEFT_HOME") {
            std::path::absolute(&home).map_err(|error| {
                CommandError::new(FAILED, format!("WEFT_HOME {}: {error}", home.display()))
            })?
        } else if nix::unistd::geteuid().is_root() {
            PathBuf::from("/var/lib/weft")
        } else if let Some(state) = set("XDG_STATE_HOME") {
            state.join("weft")
        } else if let Some(home) = set("HOME") {
            home.join(".local/state/weft")
        } else {
            return Err(CommandError::new(LACKING, "this user has no home directory")
                .hint("set WEFT_HOME to a directory that the mesh can keep its state in"));
        };
        let paths = Self { directory: base.join(mesh.as_str()) };
        if paths.socket("00000000").as_os_str().len() > LONGEST_SOCKET_PATH {
            return Err(CommandError::new(
                LACKING,
                format!("{} is too long a path for Unix sockets", paths.directory.display()),
            )
            .hint(format!("set WEFT_HOME to a path of at most {} characters", LONGEST_SOCKET_PATH - 30)));
        }
        Ok(paths)
    }

    /// What runs: [`super::record::MeshRecord`].
    #[must_use]
    pub fn mesh_record(&self) -> PathBuf {
        self.directory.join("mesh.json")
    }

    /// Where the control plane serves the CLI.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// Where sidecars ask for connections to the world outside.
    #[must_use]
    pub fn egress_socket(&self) -> PathBuf {
        self.directory.join("egress.sock")
    }

    /// What the process that makes them writes.
    #[must_use]
    pub fn egress_log(&self) -> PathBuf {
        self.directory.join("egress.log")
    }

    /// The control plane's own state: objects, root.
    #[must_use]
    pub fn control_plane(&self) -> PathBuf {
        self.directory.join("control-plane")
    }

    /// What the control plane writes.
    #[must_use]
    pub fn control_plane_log(&self) -> PathBuf {
        self.directory.join("control-plane.log")
    }

    /// A sidecar's admin socket. Named by a short key, because a workload's name may be too long for a socket's path.
    #[must_use]
    pub fn socket(&self, key: &str) -> PathBuf {
        self.directory.join("sockets").join(format!("{key}.sock"))
    }

    /// All workloads' directories.
    #[must_use]
    pub fn workloads(&self) -> PathBuf {
        self.directory.join("workloads")
    }

    /// One workload's directory. Names are unique in a namespace only.
    #[must_use]
    pub fn workload(&self, namespace: &str, name: &str) -> WorkloadPaths {
        WorkloadPaths { directory: self.workloads().join(format!("{name}.{namespace}")) }
    }

    /// Makes the directories.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(&self) -> Result<(), CommandError> {
        for directory in
            [self.directory.clone(), self.control_plane(), self.workloads(), self.directory.join("sockets")]
        {
            private_directory(&directory)?;
        }
        Ok(())
    }

    /// Waits until no other `up` or `down` of this mesh runs. The lock ends with the value.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn lock(&self) -> Result<Flock<File>, CommandError> {
        let path = self.directory.join("lock");
        let failed =
            |error: &dyn std::fmt::Display| CommandError::new(FAILED, format!("{}: {error}", path.display()));
        loop {
            private_directory(&self.directory)?;
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|error| failed(&error))?;
            let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| failed(&error))?;
            // A `down` that held it may have removed the file meanwhile: then it locks nothing any more.
            let held = locked.metadata().map_err(|error| failed(&error))?.ino();
            if fs::metadata(&path).is_ok_and(|present| present.ino() == held) {
                return Ok(locked);
            }
        }
    }
}

/// Files of one workload.
#[derive(Clone, Debug)]
pub struct WorkloadPaths {
    /// Mode 0700.
    pub directory: PathBuf,
}

impl WorkloadPaths {
    /// [`super::record::WorkloadRecord`].
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.directory.join("workload.json")
    }

    /// What the application writes, when detached.
    #[must_use]
    pub fn app_log(&self) -> PathBuf {
        self.directory.join("app.log")
    }

    /// What the sidecar writes.
    #[must_use]
    pub fn proxy_log(&self) -> PathBuf {
        self.directory.join("proxy.log")
    }

    /// What the supervisor writes, when detached.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.directory.join("supervisor.log")
    }
}

/// A directory that only its owner can look into.
///
/// # Errors
/// Names the directory.
pub fn private_directory(path: &Path) -> Result<(), CommandError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        CommandError::new(LACKING, format!("cannot make the directory {}: {error}", path.display()))
    })
}

/// Replaces a file as a whole: a reader or a crash sees the old or the new content, never half of it. Mode 0600.
///
/// # Errors
/// Names the file.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    let new = path.with_extension(format!("{:08x}.new", fastrand::u32(..)));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        io::Write::write_all(&mut file, content)?;
        fs::rename(&new, path)
    };
    write().map_err(|error| CommandError::new(FAILED, format!("cannot write {}: {error}", path.display())))
}

/// A log file to append to. Mode 0600.
///
/// # Errors
/// Names the file.
pub fn log_file(path: &Path) -> Result<File, CommandError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| CommandError::new(FAILED, format!("cannot open {}: {error}", path.display())))
}

/// The last `count` lines of a file; empty when there is no such file.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let content = fs::read(path).unwrap_or_default();
    let content = String::from_utf8_lossy(&content);
    let lines: Vec<&str> = content.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}
