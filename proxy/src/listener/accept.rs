//! The sockets of one worker: bound as the snapshot says, kept over its changes.
//!
//! Every worker binds every address for itself (`SO_REUSEPORT`), so that accepting needs no lock and the kernel
//! spreads connections. A listener whose address stays keeps its socket, and with it the connections that wait in its
//! queue; what else changed of it holds for new connections.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weft_model::listener::Listener;
use weft_model::snapshot::Snapshot;

use super::connection;
use super::statistics::ListenerStatistics;
use crate::worker::Worker;

/// Connections that wait to be accepted; the kernel may bound it further.
const BACKLOG: i32 = 4096;
/// Between attempts to bind or accept, growing from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The sockets of one worker.
#[derive(Default, Debug)]
pub struct Acceptors {
    bound: HashMap<SocketAddr, Acceptor>,
}

#[derive(Debug)]
struct Acceptor {
    listener: Rc<RefCell<Arc<Listener>>>,
    task: JoinHandle<()>,
}

/// For a listener that is gone while others stay.
impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Acceptors {
    /// Waits until no socket is left, once the process's drain is [`Phase::Closing`](crate::drain::Phase::Closing).
    pub async fn close(&mut self) {
        for acceptor in self.bound.values_mut() {
            // A mistake of this proxy in it has closed its socket, too.
            let _ = (&mut acceptor.task).await;
        }
        self.bound.clear();
    }

    /// Binds what is new, leaves what is gone. Must run inside the worker's `LocalSet`.
    pub fn update(&mut self, worker: &Rc<Worker>, snapshot: &Snapshot) {
        let mut wanted: HashMap<SocketAddr, &Arc<Listener>> = HashMap::new();
        for listener in snapshot.listeners.values().filter(|listener| listener.bind) {
            for address in &listener.addresses {
                let first = *wanted.entry(*address).or_insert(listener);
                if !Arc::ptr_eq(first, listener) {
                    tracing::error!(%address, "listeners {} and {} both want the address: the first has it", first.name, listener.name);
                }
            }
        }
        self.bound.retain(|address, _| wanted.contains_key(address));
        for (address, listener) in wanted {
            match self.bound.get(&address) {
                Some(acceptor) => *acceptor.listener.borrow_mut() = listener.clone(),
                None => {
                    let listener = Rc::new(RefCell::new(listener.clone()));
                    let task = tokio::task::spawn_local(accept(worker.clone(), address, listener.clone()));
                    self.bound.insert(address, Acceptor { listener, task });
                }
            }
        }
    }
}

/// Accepts until listening ends.
async fn accept(worker: Rc<Worker>, address: SocketAddr, listener: Rc<RefCell<Arc<Listener>>>) {
    let drain = worker.shared.drain.clone();
    let closing = drain.closing();
    tokio::pin!(closing);
    let bound = tokio::select! {
        bound = bind_at_last(address, &listener) => bound,
        () = &mut closing => None,
    };
    let Some(socket) = bound else { return };
    worker.bound(socket.local_addr().unwrap_or(address));
    let mut wait = RETRY.0;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = &mut closing => return accept_rest(&worker, socket, &listener),
        };
        match accepted {
            Ok((stream, remote)) => {
                wait = RETRY.0;
                admit(&worker, &listener, stream, remote);
            }
            // The client was gone before it was accepted.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                ListenerStatistics::add(&worker.shared.statistics.accept_errors);
                tracing::error!(%address, %error, "cannot accept connections now; trying again in {wait:?}");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
            }
        }
    }
}

/// Lets those in who wait in the queue: closing the socket would reset them, perhaps with a request on its way. Who floods
/// it cannot hold the end up: a queue's length of them, and no more.
fn accept_rest(worker: &Rc<Worker>, socket: TcpListener, listener: &RefCell<Arc<Listener>>) {
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..BACKLOG {
        let Ok((stream, remote)) = socket.accept() else { return };
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            admit(worker, listener, stream, remote);
        }
    }
}

fn admit(worker: &Rc<Worker>, listener: &RefCell<Arc<Listener>>, stream: TcpStream, remote: SocketAddr) {
    let open = worker.shared.open.count();
    if open < worker.shared.limits.max_connections {
        let listener = listener.borrow().clone();
        return connection::spawn(worker, listener, stream, remote);
    }
    let over = ListenerStatistics::add(&worker.shared.statistics.over_limit);
    // Who is flooded must not be busy with saying so.
    if over.is_power_of_two() {
        tracing::warn!(%remote, open, "closed a connection: there are too many (number {over})");
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

/// Tries again and again: whoever has the address may leave. None on a machine without the address family.
async fn bind_at_last(address: SocketAddr, listener: &RefCell<Arc<Listener>>) -> Option<TcpListener> {
    let mut wait = RETRY.0;
    loop {
        let name = listener.borrow().name.clone();
        match bind(address) {
            Ok(socket) => {
                tracing::debug!(%address, listener = &*name, "bound");
                return Some(socket);
            }
            Err(error) if has_no_such_family(&error) && address.is_ipv6() => {
                tracing::info!(%address, listener = &*name, "there is no IPv6 here");
                return None;
            }
            Err(error) => {
                if wait == RETRY.0 {
                    tracing::error!(%address, listener = &*name, %error, "cannot bind; trying again until it can be");
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
            }
        }
    }
}

fn has_no_such_family(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::EPROTONOSUPPORT))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The IPv4 address of the same port is bound by itself.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
