//! Lends a test the network of the workload that this runs in: the test names a place, gets a connection to it, and
//! speaks whatever it likes.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// Serves until the process is ended.
pub(super) async fn run(socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (asked, _) = listener.accept().await?;
        tokio::spawn(async move {
            let _ = connect(asked).await;
        });
    }
}

/// `HOST:PORT` and a line feed; the answer is `connected`, or what went wrong, and a line feed. Then bytes.
async fn connect(asked: UnixStream) -> io::Result<()> {
    let mut asked = BufReader::new(asked);
    let mut place = String::new();
    asked.read_line(&mut place).await?;
    match TcpStream::connect(place.trim()).await {
        Ok(mut stream) => {
            stream.set_nodelay(true)?;
            asked.write_all(b"connected\n").await?;
            tokio::io::copy_bidirectional(&mut asked, &mut stream).await?;
            Ok(())
        }
        Err(error) => asked.write_all(format!("{error}\n").as_bytes()).await,
    }
}
