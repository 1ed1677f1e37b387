//! The access log: one line an exchange, in Istio's default format or the user's own, text or JSON.
//!
//! A worker formats lines into a buffer of its own; a thread writes full buffers, so that a full disk or a slow reader
//! never holds up a request.

mod entry;
mod escape;
mod format;
mod time;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

pub use entry::Entry;
use weft_model::bootstrap::{self, LogFormat};

pub use format::{Format, FormatError, FormatErrors, evaluate};
pub(super) use time::Clockwork;
pub(super) use writer::Writer;

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;

/// Where lines go, and their format.
#[derive(Clone, Debug)]
pub struct AccessLogSettings {
    /// Where lines go.
    pub destination: Destination,
    /// What they say.
    pub format: Format,
}

impl AccessLogSettings {
    /// As a bootstrap asks for it.
    ///
    /// # Errors
    /// Operators that are not known.
    pub fn of(log: &bootstrap::AccessLog) -> Result<Self, FormatErrors> {
        let format = match &log.format {
            LogFormat::Default => Format::istio(),
            LogFormat::Text(text) => Format::text(text)?,
            LogFormat::Json(fields) => Format::json(fields)?,
        };
        let destination = log.path.clone().map_or(Destination::Stdout, Destination::File);
        Ok(Self { destination, format })
    }
}

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// This process's standard output.
    Stdout,
    /// Appended to a file, which is made when it is not there.
    File(PathBuf),
}

/// A buffer is handed to the writer when it has so many bytes, or after a second.
const BUFFER: usize = 64 * 1024;

/// One worker's part of the log.
#[derive(Debug)]
pub(super) struct WorkerLog {
    format: Format,
    clockwork: Clockwork,
    writer: Arc<Writer>,
    buffer: Vec<u8>,
    lines: u64,
}

impl WorkerLog {
    pub(super) fn new(format: Format, writer: Arc<Writer>) -> Self {
        let clockwork = Clockwork::default();
        Self { format, clockwork, writer, buffer: Vec::with_capacity(BUFFER + BUFFER / 4), lines: 0 }
    }

    pub(super) fn write(&mut self, entry: &Entry<'_>) {
        self.format.write(entry, &mut self.clockwork, &mut self.buffer);
        self.lines += 1;
        if self.buffer.len() >= BUFFER {
            self.hand_over();
        }
    }

    /// Gives all lines to the writer.
    pub(super) fn hand_over(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER + BUFFER / 4));
        self.writer.write(full, std::mem::take(&mut self.lines));
    }
}
