//! The thread that writes the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Destination;

/// Buffers that wait at most, of all workers: about 4 MiB.
const WAITING: usize = 64;

/// How often a file is looked for at its path: log rotation renames it.
const LOOK: Duration = Duration::from_secs(1);

enum Message {
    Lines { bytes: Vec<u8>, lines: u64 },
    Flush(oneshot::Sender<()>),
    Reopen,
}

/// Hands lines to the thread.
#[derive(Debug)]
pub(in crate::telemetry) struct Writer {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Writer {
    /// # Errors
    /// The file cannot be opened, or there is no thread to be had.
    pub(in crate::telemetry) fn start(destination: &Destination) -> io::Result<Self> {
        let output = Output::open(destination)?;
        Self::start_on(output)
    }

    fn start_on(output: Output) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(WAITING);
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || run(output, &waiting, &shared))?;
        Ok(Self { queue, counts })
    }

    #[cfg(test)]
    pub(super) fn start_with(output: Box<dyn Write + Send>) -> Self {
        Self::start_on(Output::Other(output)).unwrap()
    }

    /// Never waits: what does not fit is counted.
    pub(in crate::telemetry) fn write(&self, bytes: Vec<u8>, lines: u64) {
        if self.queue.try_send(Message::Lines { bytes, lines }).is_err() {
            self.counts.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Ready when everything handed over before is written; none when the queue is full.
    pub(in crate::telemetry) fn flush(&self) -> Option<oneshot::Receiver<()>> {
        let (done, ready) = oneshot::channel();
        self.queue.try_send(Message::Flush(done)).ok()?;
        Some(ready)
    }

    /// Opens the file anew.
    pub(in crate::telemetry) fn reopen(&self) {
        // When the queue is full the thread finds out by itself, within a second.
        drop(self.queue.try_send(Message::Reopen));
    }

    /// Lines written and lines lost.
    pub(in crate::telemetry) fn counts(&self) -> (u64, u64) {
        (self.counts.written.load(Ordering::Relaxed), self.counts.dropped.load(Ordering::Relaxed))
    }
}

enum Output {
    Stdout(io::Stdout),
    File {
        file: File,
        path: PathBuf,
    },
    #[cfg(test)]
    Other(Box<dyn Write + Send>),
}

impl Output {
    fn open(destination: &Destination) -> io::Result<Self> {
        match destination {
            Destination::Stdout => Ok(Self::Stdout(io::stdout())),
            Destination::File(path) => Ok(Self::File { file: open(path)?, path: path.clone() }),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(bytes).and_then(|()| stdout.flush()),
            Self::File { file, .. } => file.write_all(bytes),
            #[cfg(test)]
            Self::Other(output) => output.write_all(bytes),
        }
    }

    /// Opens the file anew if it is not at its path any more, or in any case.
    fn look(&mut self, anyway: bool) {
        let Self::File { file, path } = self else { return };
        let same = match (file.metadata(), std::fs::metadata(&*path)) {
            (Ok(open), Ok(there)) => open.ino() == there.ino() && open.dev() == there.dev(),
            _ => false,
        };
        if same && !anyway {
            return;
        }
        match open(path) {
            Ok(opened) => *file = opened,
            Err(error) => {
                tracing::warn!(path = %path.display(), "the access log goes on in the old file: {error}")
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn run(mut output: Output, waiting: &Receiver<Message>, counts: &Counts) {
    let mut failing = false;
    let mut looked = Instant::now();
    loop {
        let message = match waiting.recv_timeout(LOOK) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if looked.elapsed() >= LOOK {
            output.look(false);
            looked = Instant::now();
        }
        match message {
            Some(Message::Lines { bytes, lines }) => {
                write(&mut output, &bytes, lines, &mut failing, counts);
            }
            Some(Message::Flush(done)) => {
                let _ = done.send(());
            }
            Some(Message::Reopen) => output.look(true),
            None => {}
        }
    }
}

/// What cannot be written is lost; after that a line begins on a line of its own.
fn write(output: &mut Output, bytes: &[u8], lines: u64, failing: &mut bool, counts: &Counts) {
    let begun = if *failing { output.write_all(b"\n") } else { Ok(()) };
    match begun.and_then(|()| output.write_all(bytes)) {
        Ok(()) => {
            *failing = false;
            counts.written.fetch_add(lines, Ordering::Relaxed);
        }
        Err(error) => {
            counts.dropped.fetch_add(lines, Ordering::Relaxed);
            if !std::mem::replace(failing, true) {
                tracing::warn!("lines of the access log are lost: {error}");
            }
        }
    }
}
