//! The process's own log. In a file it stays within bounds: when the file is large it is put aside and begun anew, by
//! the process itself, as nobody stands beside a control plane who could.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{dup2_stderr, dup2_stdout};

/// What is logged, for what was asked for. The client of the Kubernetes API says of every single request that it failed; that
/// the API server does not answer is told once, by those who ask it. Whoever names the client hears it all the same.
#[must_use]
pub fn filter_of(asked: &str) -> String {
    format!("kube_client=off,kube_runtime=off,{asked}")
}

/// Standard error, which may be a file of limited size. So what others write there, as a panic does, is in it too.
#[derive(Debug)]
pub struct Log {
    file: Option<LogFile>,
}

impl Log {
    /// Standard error as it is, or turned into this file (mode 0600), for at most so many bytes.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: Option<&Path>, limit: u64) -> io::Result<Self> {
        let file = path.map(|path| LogFile::open(path, limit)).transpose()?;
        Ok(Self { file })
    }
}

/// Each write is one event: a file begins with a whole line.
impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            file.make_room(event.len() as u64);
        }
        io::stderr().write_all(event)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The file that standard output and standard error are.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    length: u64,
    limit: u64,
}

impl LogFile {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot log to {}: {error}", path.display()))
        };
        let file = opened(path).map_err(named)?;
        let length = file.metadata().map_err(named)?.len();
        redirect(&file).map_err(named)?;
        Ok(Self { path: path.to_owned(), length, limit })
    }

    /// Puts the file aside if it would become too large. Where that fails, it grows until it can be done.
    fn make_room(&mut self, bytes: u64) {
        if self.length > 0 && self.length + bytes > self.limit && self.rotate().is_ok() {
            self.length = 0;
        }
        self.length += bytes;
    }

    fn rotate(&self) -> io::Result<()> {
        fs::rename(&self.path, previous(&self.path))?;
        redirect(&opened(&self.path)?)
    }
}

/// `FILE.1`, as `weft logs` looks for it.
fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn redirect(file: &File) -> io::Result<()> {
    dup2_stdout(file)?;
    dup2_stderr(file)?;
    Ok(())
}
