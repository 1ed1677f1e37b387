//! Details of a book. Standard library only; build with `rustc -O details.rs`.
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, io, thread};

const BODY: &str = concat!(
    r#"{"service": "details", "language": "Rust", "title": "The Loom", "pages": 312, "#,
    r#""isbn": "978-0-00-000000-2"}"#,
    "\n"
);

/// Answers requests on one connection until the client closes it.
fn serve(stream: TcpStream) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        // The head of a request ends with an empty line; none of ours has a body.
        let mut keep_alive = true;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            keep_alive &= !line.to_ascii_lowercase().starts_with("connection: close");
            if line.trim_end().is_empty() {
                break;
            }
        }
        let length = BODY.len();
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
        let answer = format!("{head}\r\ncontent-length: {length}\r\nconnection: {connection}\r\n\r\n{BODY}");
        writer.write_all(answer.as_bytes())?;
        if !keep_alive {
            return Ok(());
        }
    }
}

fn main() -> io::Result<()> {
    let port = env::var("PORT").ok().and_then(|text| text.parse().ok()).unwrap_or(9080);
    for stream in TcpListener::bind(("0.0.0.0", port))?.incoming().flatten() {
        thread::spawn(move || serve(stream));
    }
    Ok(())
}
