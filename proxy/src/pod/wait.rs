//! `weft-proxy wait`: ends well when the sidecar of this pod can serve. As the hook `postStart` of an ordinary sidecar
//! container it holds the application's containers back, which start after it
//! (<https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/>); a native sidecar has a start-up probe instead.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;

/// Between two questions.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest that one of them may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `weft-proxy wait`.
#[derive(Args, Clone, Debug)]
pub struct WaitArgs {
    /// Where readiness is told.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15021")]
    pub address: SocketAddr,
    /// Give up after this.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Waits until the sidecar is ready.
///
/// # Errors
/// What it said last, when the time is up.
pub fn run(arguments: &WaitArgs) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the event loop: {error}"))?;
    runtime.block_on(until_ready(arguments))
}

async fn until_ready(arguments: &WaitArgs) -> Result<(), String> {
    let WaitArgs { address, timeout } = arguments;
    let deadline = Instant::now() + *timeout;
    loop {
        let answer = timeout_at(deadline.min(Instant::now() + PATIENCE), ask(*address)).await;
        let why = match answer {
            Ok(Ok(line)) if line.contains(" 200 ") => return Ok(()),
            Ok(Ok(line)) => format!("it answers {line:?}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        if Instant::now() + AGAIN >= deadline {
            let waited = humantime::format_duration(*timeout);
            return Err(format!("the sidecar was not ready within {waited}: {address}: {why}"));
        }
        sleep(AGAIN).await;
    }
}

/// The first line of the answer.
async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(1 << 16).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
