//! Heads on their way through: what is for one hop only is taken out (RFC 9110 section 7.6.1), what
//! a client claims about itself is replaced by what we know (N59), and runs of untouched lines are
//! copied as they are.

use std::net::SocketAddr;
use std::ops::Range;

use super::field::{Field, Kind};
use super::head::{Framing, Request, Response};

/// What apps are told about one client connection, prepared once.
#[derive(Debug)]
pub struct Via {
    /// Header lines that are the same for every request, and the start of `Forwarded`.
    lines: Vec<u8>,
}

impl Via {
    /// For a connection from `client` to our port, `tls` or not.
    pub fn new(client: SocketAddr, port: u16, tls: bool) -> Self {
        let ip = client.ip().to_canonical();
        let proto = if tls { "https" } else { "http" };
        // RFC 7239 wants an IPv6 address in brackets and quotes.
        let node = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
        let lines = format!(
            "X-Forwarded-For: {ip}\r\nX-Forwarded-Proto: {proto}\r\nX-Forwarded-Port: {port}\r\n\
             Forwarded: for={node};proto={proto};host=\""
        );
        Self { lines: lines.into_bytes() }
    }
}

/// Writes the head that the app gets.
pub fn request(out: &mut Vec<u8>, bytes: &[u8], head: &Request, via: &Via, request_id: &[u8]) {
    out.extend_from_slice(&bytes[head.method_text.clone()]);
    out.push(b' ');
    out.extend_from_slice(head.target_prefix.as_bytes());
    out.extend_from_slice(&bytes[head.target.clone()]);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    copy_lines(out, bytes, &head.fields, |field| match field.kind {
        Kind::EndToEnd => !is_named(bytes, field, &head.named),
        Kind::Host | Kind::ContentLength => true,
        Kind::Expect => head.expects_continue,
        Kind::Upgrade => head.upgrade,
        Kind::TransferEncoding | Kind::Connection | Kind::Hop | Kind::Ours => false,
    });
    if head.framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if head.upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    }
    let host = &bytes[head.host.clone()];
    out.extend_from_slice(&via.lines);
    out.extend_from_slice(host);
    out.extend_from_slice(b"\"\r\nX-Forwarded-Host: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\nX-Request-Id: ");
    out.extend_from_slice(request_id);
    out.extend_from_slice(b"\r\n\r\n");
}

/// What the client's connection does after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Stays, as is usual in HTTP/1.1.
    KeepAlive,
    /// Stays, and an HTTP/1.0 client wants to be told.
    KeepAliveSaid,
    /// Is closed.
    Close,
    /// Becomes a tunnel (101).
    Tunnel,
}

/// Writes the head that the client gets. `chunked` says whether the body that follows has chunk
/// framing.
pub fn response(out: &mut Vec<u8>, bytes: &[u8], head: &Response, chunked: bool, after: After) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&bytes[head.status_line.clone()]);
    out.extend_from_slice(b"\r\n");
    let may_have_length = !matches!(head.status, 100..=199 | 204);
    copy_lines(out, bytes, &head.fields, |field| match field.kind {
        Kind::EndToEnd | Kind::Ours => !is_named(bytes, field, &head.named),
        Kind::Host | Kind::Expect => true,
        Kind::ContentLength => may_have_length,
        // 426 must name what it wants (RFC 9110 section 15.5.22).
        Kind::Upgrade => after == After::Tunnel || head.status == 426,
        Kind::TransferEncoding | Kind::Connection | Kind::Hop => false,
    });
    if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(match after {
        After::KeepAlive => b"\r\n",
        After::KeepAliveSaid => b"Connection: keep-alive\r\n\r\n",
        After::Close => b"Connection: close\r\n\r\n",
        After::Tunnel => b"Connection: Upgrade\r\n\r\n",
    });
}

/// Adds whole header lines to a head that ends with its empty line.
pub fn add_lines(head: &mut Vec<u8>, lines: &[u8]) {
    head.truncate(head.len() - 2);
    head.extend_from_slice(lines);
    head.extend_from_slice(b"\r\n");
}

/// Named by `Connection`, so for this hop only.
fn is_named(bytes: &[u8], field: &Field, named: &[Range<usize>]) -> bool {
    let name = &bytes[field.name.clone()];
    named.iter().any(|word| bytes[word.clone()].eq_ignore_ascii_case(name))
}

/// Copies the lines that are to be kept, neighbours together.
fn copy_lines(out: &mut Vec<u8>, bytes: &[u8], fields: &[Field], keep: impl Fn(&Field) -> bool) {
    let mut run = 0..0;
    for field in fields.iter().filter(|field| keep(field)) {
        if field.line.start == run.end {
            run.end = field.line.end;
            continue;
        }
        out.extend_from_slice(&bytes[run]);
        run = field.line.clone();
    }
    out.extend_from_slice(&bytes[run]);
}

#[cfg(test)]
mod tests;
