//! What `weft up` suggests: lines that work as they are printed, with programs that this machine has.

use crate::runtime::control_plane::free_port;
use crate::runtime::name::MeshName;
use crate::runtime::record::Isolation;
use crate::runtime::{listening, tool};

#[cfg(test)]
#[path = "next_steps_tests.rs"]
mod tests;

/// What examples of web servers listen on.
const USUAL_PORT: u16 = 8000;

/// Programs that serve HTTP, the usual one first. `PORT` stands for the port.
const SERVERS: [(&str, &str); 4] = [
    ("python3", "python3 -m http.server PORT"),
    ("busybox", "busybox httpd -f -p PORT"),
    ("php", "php -S 0.0.0.0:PORT"),
    ("ruby", "ruby -run -e httpd . -p PORT"),
];

/// Programs that fetch a page. `URL` stands for its address.
const CLIENTS: [(&str, &str); 4] = [
    ("curl", "curl -s URL"),
    ("wget", "wget -qO- URL"),
    ("python3", "python3 -c 'import urllib.request as it; print(it.urlopen(\"URL\").read().decode())'"),
    ("busybox", "busybox wget -qO- URL"),
];

/// For this machine, and the way in which this program was called.
pub(super) fn here(mesh: &MeshName, isolation: Isolation) -> String {
    let called = std::env::args().next().unwrap_or_default();
    let weft = if called.contains('/') && tool::in_path("weft").is_none() { called } else { "weft".to_owned() };
    let by_itself = std::env::var("WEFT_MESH").unwrap_or_else(|_| "default".to_owned());
    let option = if by_itself == mesh.as_str() { String::new() } else { format!(" --mesh {mesh}") };
    // Without namespaces the port is the machine's.
    let taken = isolation == Isolation::Explicit && listening::ports().contains(&USUAL_PORT);
    let port = if taken { free_port().unwrap_or(USUAL_PORT) } else { USUAL_PORT };
    lines(&format!("{weft}{option}"), port, |program| tool::in_path(program).is_some())
}

fn lines(weft: &str, port: u16, has: impl Fn(&str) -> bool) -> String {
    let first = |known: &[(&str, &'static str)]| known.iter().find(|it| has(it.0)).map(|it| it.1);
    let Some(server) = first(&SERVERS) else { return format!("next: {weft} run --help\n") };
    let server = server.replace("PORT", &port.to_string());
    let mut text = format!("next: {weft} run --service hello --port http:{port} --detach -- {server}\n");
    if let Some(client) = first(&CLIENTS) {
        let client = client.replace("URL", &format!("http://hello:{port}/"));
        text.push_str(&format!("      {weft} run -- {client}\n"));
    }
    text
}
