//! The proxy's own log, written so that nobody waits for it: a pipe that is not read would otherwise stop a worker in
//! the middle of a request, and with it all its connections.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

#[cfg(test)]
#[path = "log_lines_tests.rs"]
mod tests;

/// Lines that wait at most; what comes when they all wait is lost, and its number told.
const WAITING: usize = 1024;

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Hands lines to a thread that writes them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogLines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl LogLines {
    /// Writes to `output`, on a thread of its own.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || run(output, &waiting, &counted))?;
        Ok(Self { queue, lost })
    }

    /// Waits until everything before is written, but not longer than `at_most`.
    pub fn flush(&self, at_most: Duration) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(at_most);
        }
    }
}

/// A line comes in one piece.
impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

// Where the log cannot be written, there is nowhere to say so.
fn run(mut output: impl Write, waiting: &Receiver<Message>, lost: &AtomicU64) {
    while let Ok(message) = waiting.recv() {
        match message {
            Message::Line(line) => drop(output.write_all(&line)),
            Message::Flush(done) => {
                let _ = output.flush();
                let _ = done.send(());
            }
        }
        let lines = lost.swap(0, Ordering::Relaxed);
        if lines > 0 {
            let _ = writeln!(output, "{lines} lines of this log were lost here: it was not read in time");
        }
    }
}
