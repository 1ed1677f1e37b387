//! What the supervisor is asked by signals.

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::command::{CommandError, FAILED};

/// What a signal means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// End the workload.
    Stop {
        /// What the application is to be sent.
        signal: Signal,
        /// A terminal has sent it to the application already: twice would read as impatience.
        application_has_it: bool,
    },
    /// For the application alone.
    Pass(Signal),
}

/// The signals a supervisor listens to.
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, CommandError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| CommandError::new(FAILED, format!("cannot listen to signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
        })
    }

    /// Ends when the workload is asked to.
    pub(super) async fn stop(&mut self) {
        while let Request::Pass(_) = self.next().await {}
    }

    pub(super) async fn next(&mut self) -> Request {
        let stop = |signal, application_has_it| Request::Stop { signal, application_has_it };
        tokio::select! {
            _ = self.terminate.recv() => stop(Signal::SIGTERM, false),
            _ = self.interrupt.recv() => stop(Signal::SIGINT, in_foreground()),
            _ = self.quit.recv() => stop(Signal::SIGQUIT, in_foreground()),
            _ = self.hangup.recv() => stop(Signal::SIGHUP, false),
            _ = self.user1.recv() => Request::Pass(Signal::SIGUSR1),
            _ = self.user2.recv() => Request::Pass(Signal::SIGUSR2),
        }
    }
}

/// Whether this process group has the terminal: then its keys reached the application directly. Fields 5 (process
/// group) and 8 (the terminal's foreground group) of `/proc/self/stat`, `proc(5)`.
fn in_foreground() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    matches!(fields[..], [_, _, group, _, _, foreground, ..] if group == foreground)
}
