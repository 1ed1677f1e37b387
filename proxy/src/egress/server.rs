//! The process outside: makes connections for whoever may open its socket.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpSocket, UdpSocket, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use weft_proto::local_socket;

use super::message::{self, Request};

/// How long connecting may take: no caller waits for longer.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a request may take to be said.
const REQUEST: Duration = Duration::from_secs(5);

/// Which addresses are connected to.
pub type Allowed = fn(IpAddr) -> bool;

/// Arguments of `weft-proxy egress`.
#[derive(clap::Args, Clone, Debug)]
pub struct EgressArgs {
    /// Where sidecars ask; only this user may.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// A resolver for names that are not of the mesh, instead of those in /etc/resolv.conf.
    #[arg(long, value_name = "IP:PORT")]
    pub resolver: Vec<SocketAddr>,
}

/// Whether an address is of the world outside: neither the machine's own, nor of this link only, nor of nobody.
#[must_use]
pub fn is_outside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => {
            !(it.is_loopback()
                || it.is_unspecified()
                || it.is_link_local()
                || it.is_multicast()
                // Reserved; the mesh takes addresses for its services from here.
                || it.octets()[0] >= 240)
        }
        IpAddr::V6(it) => {
            !(it.is_loopback() || it.is_unspecified() || it.is_unicast_link_local() || it.is_multicast())
        }
    }
}

/// Serves until SIGTERM.
///
/// # Errors
/// When the socket cannot be made.
pub fn run(arguments: &EgressArgs) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let bound = local_socket::bind(&arguments.socket, "another way out")?;
        let listener = UnixListener::from_std(bound)?;
        tracing::info!(socket = %arguments.socket.display(), "makes connections to the world outside the mesh");
        tokio::select! {
            () = serve(listener, is_outside, arguments.resolver.clone()) => {}
            _ = terminate.recv() => {}
        }
        // It may be gone with its directory.
        let _ = fs::remove_file(&arguments.socket);
        Ok(())
    })
}

/// Answers, for ever. `resolvers`: none, those of the machine.
pub async fn serve(listener: UnixListener, allowed: Allowed, resolvers: Vec<SocketAddr>) {
    let mut under_way = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(under_way.spawn(answer(stream, allowed, resolvers.clone()))),
            // Out of descriptors: those under way give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        while under_way.try_join_next().is_some() {}
    }
}

async fn answer(stream: UnixStream, allowed: Allowed, resolvers: Vec<SocketAddr>) {
    let Ok(Ok(request)) = tokio::time::timeout(REQUEST, message::receive_request(&stream)).await else {
        return;
    };
    let answer = tokio::select! {
        answer = tokio::time::timeout(CONNECT, socket(request, allowed, &resolvers)) => {
            answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
        // Whoever asked has given up.
        () = gone(&stream) => return,
    };
    if let Err(error) = &answer {
        tracing::debug!(?request, %error, "no connection");
    }
    // Whoever asked may have gone.
    let _ = message::send_answer(&stream, answer).await;
}

/// Ready when the other end has closed, or says more than it should.
async fn gone(stream: &UnixStream) {
    loop {
        let readable = stream.readable().await;
        match stream.try_read(&mut [0]) {
            Err(error) if readable.is_ok() && error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

async fn socket(request: Request, allowed: Allowed, resolvers: &[SocketAddr]) -> io::Result<OwnedFd> {
    match request {
        Request::Connect(address) if !allowed(address.ip()) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{} is not outside: a mesh does not lead to loopback, link-local, multicast and reserved addresses",
                address.ip()
            ),
        )),
        Request::Connect(address) => connect(address).await,
        Request::ResolverStream(number) => connect(resolver(number, resolvers)?).await,
        Request::ResolverDatagrams(number) => {
            let resolver = resolver(number, resolvers)?;
            let any: SocketAddr =
                if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(resolver).await?;
            Ok(socket.into_std()?.into())
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    Ok(socket.connect(address).await?.into_std()?.into())
}

/// Read at each question: a laptop changes its networks.
fn resolver(number: usize, given: &[SocketAddr]) -> io::Result<SocketAddr> {
    let found = if given.is_empty() {
        let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        crate::process::name_servers(&text).nth(number)
    } else {
        given.get(number).copied()
    };
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the machine has no further resolver"))
}
