//! Protocols that are not HTTP.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// Who speaks first, and what is said.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The client; what it says comes back.
    Echo,
    /// The server: one line with its name; then as [`Kind::Echo`].
    Banner,
    /// The client; it gets no answer.
    HangUp,
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, kind: Kind, instance: String) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let instance = instance.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            match kind {
                Kind::Echo => echo(stream).await,
                Kind::Banner => {
                    if stream.write_all(format!("220 {instance} speaks first\r\n").as_bytes()).await.is_ok() {
                        echo(stream).await;
                    }
                }
                Kind::HangUp => drop(stream.read(&mut [0; 1024]).await),
            }
        });
    }
}

/// What comes goes back until the client has said all.
pub(super) async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut read, mut write) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}
