//! Where a mesh keeps its files.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::name::MeshName;
use crate::command::{CommandError, FAILED, LACKING, NOT_UP};

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
        // It is written into records, and handed to programs.
        if paths.directory.to_str().is_none() {
            return Err(CommandError::new(
                LACKING,
                format!("{} is not a path in UTF-8", paths.directory.display()),
            )
            .hint("set WEFT_HOME to one that is"));
        }
        if paths.socket("00000000").as_os_str().len() > LONGEST_SOCKET_PATH {
            return Err(CommandError::new(
                LACKING,
                format!("{} is too long a path for Unix sockets", paths.directory.display()),
            )
            .hint(format!("set WEFT_HOME to a path of at most {} characters", paths.longest_base())));
        }
        Ok(paths)
    }

    /// How many bytes are left for the directory above this mesh's.
    fn longest_base(&self) -> usize {
        let base = self.directory.parent().map_or(0, |it| it.as_os_str().len());
        (LONGEST_SOCKET_PATH + base).saturating_sub(self.socket("00000000").as_os_str().len())
    }

    /// The mesh's name.
    fn mesh_name(&self) -> String {
        self.directory.file_name().unwrap_or_default().display().to_string()
    }

    /// Whether the mesh has files.
    ///
    /// # Errors
    /// When they are not this user's to look at.
    pub fn exists(&self) -> Result<bool, CommandError> {
        // Of a directory that may be looked into, what it holds may still be hidden.
        self.directory
            .try_exists()
            .and_then(|there| if there { self.mesh_record().try_exists().map(|_| true) } else { Ok(false) })
            .map_err(|error| unreadable(&self.directory, &error))
    }

    /// Whether the mesh is this user's: whoever starts processes in one writes files that its owner could not remove.
    ///
    /// # Errors
    /// When it is another's, with his number.
    pub fn own(&self) -> Result<(), CommandError> {
        let owner = fs::metadata(&self.directory).map_err(|error| unreadable(&self.directory, &error))?.uid();
        if owner == nix::unistd::geteuid().as_raw() {
            return Ok(());
        }
        let place = self.directory.display();
        Err(CommandError::new(LACKING, format!("{place} belongs to another user, with the id {owner}"))
            .hint("run `weft` as that user, or set WEFT_HOME to a directory of your own"))
    }

    /// There is no mesh here that could be asked.
    #[must_use]
    pub fn not_up(&self) -> CommandError {
        let name = self.mesh_name();
        let option = if name == "default" { String::new() } else { format!(" --mesh {name}") };
        CommandError::new(NOT_UP, format!("mesh `{name}` is not up"))
            .hint(format!("`weft up{option}` starts it; its state would be in {}", self.directory.display()))
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
            let locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Err((file, Errno::EWOULDBLOCK)) => {
                    // A wait without a word would look like a hang.
                    let _ = writeln!(
                        io::stderr(),
                        "waiting for another `weft up` or `weft down` of mesh `{}`",
                        self.mesh_name()
                    );
                    Flock::lock(file, FlockArg::LockExclusive)
                }
                result => result,
            }
            .map_err(|(_, error)| failed(&error))?;
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

/// Something of a mesh cannot be looked at.
#[must_use]
pub fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    let text = format!("cannot read {}: {error}", path.display());
    if error.kind() == io::ErrorKind::PermissionDenied {
        return CommandError::new(LACKING, text).hint(
            "it is another user's: run `weft` as that user, or set WEFT_HOME to a directory of your own",
        );
    }
    CommandError::new(FAILED, text)
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
    write().map_err(|error| {
        // Of a full disk, this is the little that can be given back.
        let _ = fs::remove_file(&new);
        CommandError::new(FAILED, format!("cannot write {}: {error}", path.display()))
    })
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
