//! The application that scenarios run in the mesh: a server of many protocols, and a dialer that lends a test the
//! network of the workload it runs in. One program, so that scenarios need no Python and no Node.

mod answer;
mod caller;
mod collector;
mod dial;
mod dns;
mod grpc;
mod http;
mod tcp;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The program's command line.
#[derive(clap::Parser, Debug)]
#[command(name = "weft-test-app")]
pub enum Program {
    /// Serve until SIGTERM, then finish what is under way.
    Serve(Box<Serve>),
    /// Connect to wherever a test asks for, over a Unix socket.
    Dial {
        /// Where tests ask.
        socket: PathBuf,
    },
    /// Send one request and print the answer as JSON.
    Call(Box<caller::CallArgs>),
    /// Send requests all the time, and print as JSON what came back so far, once a second.
    Load(caller::LoadArgs),
    /// Send bytes over TCP and print what comes back.
    Exchange(caller::ExchangeArgs),
}

/// What to serve.
#[derive(clap::Args, Clone, Debug)]
pub struct Serve {
    /// Who answers.
    #[arg(long, default_value = "app", env = "INSTANCE")]
    pub instance: String,
    /// Its version.
    #[arg(long, default_value = "", env = "VERSION")]
    pub version: String,
    /// HTTP/1.1 and HTTP/2 in plain text, gRPC, WebSocket.
    #[arg(long)]
    pub http: Vec<u16>,
    /// TCP: what comes goes back.
    #[arg(long)]
    pub echo: Vec<u16>,
    /// TCP: the server speaks first, then what comes goes back.
    #[arg(long)]
    pub banner: Vec<u16>,
    /// TCP: closes as soon as something came, without an answer.
    #[arg(long)]
    pub hang_up: Vec<u16>,
    /// Traces over OTLP/gRPC, printed.
    #[arg(long)]
    pub collector: Vec<u16>,
    /// A name server, over UDP and TCP.
    #[arg(long)]
    pub dns: Vec<u16>,
    /// What the name server knows.
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub known: Vec<dns::KnownName>,
    /// Address to listen on; without it all, of both families.
    #[arg(long)]
    pub bind: Option<IpAddr>,
}

impl Program {
    /// Runs it.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&error),
        };
        let result = runtime.block_on(async {
            match self {
                Self::Serve(serve) => serve.run().await,
                Self::Dial { socket } => dial::run(&socket).await,
                Self::Call(call) => call.run().await,
                Self::Load(load) => load.run().await,
                Self::Exchange(exchange) => exchange.run().await,
            }
        });
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &std::io::Error) -> ExitCode {
    eprintln!("weft-test-app: {error}");
    ExitCode::FAILURE
}

impl Serve {
    async fn run(self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let (stop, stopping) = watch::channel(false);
        let answers = Arc::new(answer::Answers::new(&self.instance, &self.version));
        for port in &self.http {
            tokio::spawn(http::serve(self.listen(*port).await?, answers.clone(), stopping.clone()));
        }
        for (ports, kind) in [
            (&self.echo, tcp::Kind::Echo),
            (&self.banner, tcp::Kind::Banner),
            (&self.hang_up, tcp::Kind::HangUp),
        ] {
            for port in ports {
                tokio::spawn(tcp::serve(self.listen(*port).await?, kind, self.instance.clone()));
            }
        }
        for port in &self.collector {
            tokio::spawn(collector::serve(self.listen(*port).await?));
        }
        for port in &self.dns {
            tokio::spawn(dns::serve(self.listen(*port).await?, dns::Names::of(&self.known)));
        }
        drop(stopping);
        println!("{} serves", self.instance);
        terminate.recv().await;
        let _ = stop.send(true);
        println!("{} finishes what is under way", self.instance);
        // Each connection holds a receiver: when all are gone nothing is under way.
        stop.closed().await;
        Ok(())
    }

    async fn listen(&self, port: u16) -> std::io::Result<TcpListener> {
        match self.bind {
            Some(address) => TcpListener::bind((address, port)).await,
            None => match TcpListener::bind(("::", port)).await {
                Ok(listener) => Ok(listener),
                Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
            },
        }
    }
}
