//! Logs that do not grow without end. What a process writes goes through a pipe to its supervisor, which alone has the
//! file: so nothing is lost when it begins a new one, whatever the process does with its standard output.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::paths::log_file;
use crate::command::{CommandError, FAILED};

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;

/// Bytes after which a log begins anew; the one before is kept beside it. Of the control plane's log, too.
pub const LIMIT: u64 = 10 << 20;
/// What overrides [`LIMIT`], in bytes.
const LIMIT_VARIABLE: &str = "WEFT_LOG_LIMIT";
/// How long is waited for what is still in the pipe, when a process that outlives its application has it open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where the log before this one is kept: `app.log.1` for `app.log`.
#[must_use]
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The log of a process: the end of a pipe that it writes to, and a thread that writes what comes into a file.
#[derive(Debug)]
pub struct Log {
    write: PipeWriter,
    ended: oneshot::Receiver<()>,
}

impl Log {
    /// Goes on with a log file, or begins it.
    ///
    /// # Errors
    /// When the file or a pipe cannot be had, or the limit in the environment is no number.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        let file = RotatingFile::open(path, limit()?)?;
        let failed = |error: io::Error| {
            CommandError::new(FAILED, format!("cannot make a pipe for {}: {error}", path.display()))
        };
        let (read, write) = io::pipe().map_err(failed)?;
        let (done, ended) = oneshot::channel();
        // A thread of its own: a disk that is slow must not hold up the supervisor.
        let writer = move || {
            pass_on(read, file);
            let _ = done.send(());
        };
        thread::Builder::new().name("log".to_owned()).spawn(writer).map_err(failed)?;
        Ok(Self { write, ended })
    }

    /// For a process's standard output and standard error.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn outputs(&self) -> io::Result<(Stdio, Stdio)> {
        Ok((self.write.try_clone()?.into(), self.write.try_clone()?.into()))
    }

    /// Waits until everything that was written is in the file.
    pub async fn finish(self) {
        drop(self.write);
        let _ = tokio::time::timeout(LAST_WORDS, self.ended).await;
    }
}

fn limit() -> Result<u64, CommandError> {
    let Some(text) = std::env::var(LIMIT_VARIABLE).ok().filter(|text| !text.is_empty()) else {
        return Ok(LIMIT);
    };
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| {
        CommandError::new(FAILED, format!("{LIMIT_VARIABLE}: `{text}` is no number of bytes"))
            .hint("such as 10485760; it is what a log may grow to")
    })
}

/// Until nobody can write any more. What cannot be written is dropped: a full disk must not stop the application.
fn pass_on(mut read: PipeReader, mut file: RotatingFile) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match read.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => file.write(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// A file that is put aside when it is large, between two lines.
#[derive(Debug)]
struct RotatingFile {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
}

impl RotatingFile {
    fn open(path: &Path, limit: u64) -> Result<Self, CommandError> {
        let file = log_file(path)?;
        let length = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        Ok(Self { path: path.to_owned(), file, length, limit })
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.length + (bytes.len() as u64) < self.limit {
            return self.append(bytes);
        }
        let line_end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        let (now, later) = bytes.split_at(line_end);
        self.append(now);
        self.rotate();
        self.append(later);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.file.write_all(bytes).is_ok() {
            self.length += bytes.len() as u64;
        }
    }

    /// Where that fails, it goes on as it was, and the next write tries again.
    fn rotate(&mut self) {
        if fs::rename(&self.path, previous(&self.path)).is_ok()
            && let Ok(file) = log_file(&self.path)
        {
            self.file = file;
            self.length = 0;
        }
    }
}

/// Reads a log from the oldest line that is kept, across its rotations.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: File,
}

impl LogReader {
    /// From the beginning of what is kept.
    ///
    /// # Errors
    /// When there is no such log.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(previous(path)).or_else(|_| File::open(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Copies what has come since the last time.
    ///
    /// # Errors
    /// When it cannot be read, or `out` not written.
    pub fn copy(&mut self, out: &mut impl Write) -> io::Result<()> {
        io::copy(&mut self.file, out)?;
        // Between two files there is none for a moment: then the next time finds it.
        let Ok(newest) = File::open(&self.path) else { return Ok(()) };
        if same(&self.file, &newest)? {
            return Ok(());
        }
        // It was put aside meanwhile: nobody writes to it any more.
        io::copy(&mut self.file, out)?;
        if let Ok(mut between) = File::open(previous(&self.path))
            && !same(&self.file, &between)?
            && !same(&newest, &between)?
        {
            io::copy(&mut between, out)?;
        }
        self.file = newest;
        io::copy(&mut self.file, out)?;
        Ok(())
    }
}

fn same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
