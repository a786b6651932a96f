//! One request to a server's API, and one to a program, each on a connection of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

/// What was answered.
pub struct Answer {
    pub status: u16,
    /// Whether it says of itself that it may be old.
    pub may_be_old: bool,
    pub body: Vec<u8>,
}

/// Asks, and waits no longer than that.
pub fn ask(to: (Ipv4Addr, u16), request: &str, patience: Duration) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(to), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("an answer without an end")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    let may_be_old = head.to_ascii_lowercase().contains("slipway-as-of:");
    Ok(Answer { status, may_be_old, body: answer[end + 4..].to_vec() })
}

/// A request of the API's with a JSON body.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: slipway\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
