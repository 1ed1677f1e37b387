//! Ctrl-C, a closed terminal or `kill` in the middle of a command that has started processes: what it had begun is
//! taken back before it ends.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::command::{CommandError, FAILED};

/// Listens from its making on: what comes before [`Interrupts::next`] is asked is not lost.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    /// Needs the event loop.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self, CommandError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| CommandError::new(FAILED, format!("cannot listen to signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Whether it has come to that already: its error, as [`Interrupts::next`] gives it.
    pub async fn so_far(&mut self) -> Option<CommandError> {
        // Signals are delivered when the event loop looks for events, so it gets the time to do that once.
        let moment = std::time::Duration::from_millis(1);
        tokio::time::timeout(moment, self.next()).await.ok()
    }

    /// Ends when the command is to; gives its error, with the exit code that a shell gives for the signal.
    pub async fn next(&mut self) -> CommandError {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => nix::sys::signal::Signal::SIGINT,
            _ = self.terminate.recv() => nix::sys::signal::Signal::SIGTERM,
            _ = self.hangup.recv() => nix::sys::signal::Signal::SIGHUP,
        };
        CommandError::new(128 + signal as u8, "interrupted")
    }
}
