//! Strict parsing of heads (RFC 9112), with the leniencies of that document left out.
//!
//! A head is first found ([`find_end`]), which already refuses bare line feeds and resumes where it
//! stopped, so that a client that sends byte by byte costs no more than one that does not; then it is
//! parsed once. Positions are kept, nothing is copied.

use std::ops::Range;

use super::field::{Field, Kind, content_length, fields, only_chunked, printable, token, value};
use crate::limits::{CONNECTION_NAMES_MAX, HEAD_BYTES_MAX, TARGET_BYTES_MAX};

/// Why a request is answered by the router itself, and the connection closed after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: u16,
    /// For the page and the log.
    pub why: &'static str,
}

pub(super) const fn bad(why: &'static str) -> Refusal {
    Refusal { status: 400, why }
}

const TOO_LARGE: Refusal = Refusal { status: 431, why: "the header is larger than 32 KiB" };

/// What [`find_end`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The head is that long, its empty line included.
    At(usize),
    /// Not there yet; go on from this position when more has come.
    From(usize),
}

/// Looks for the empty line that ends a head. `from` is 0, or what the last call returned.
pub fn find_end(bytes: &[u8], from: usize) -> Result<End, Refusal> {
    let mut at = from;
    while let Some(offset) = line_feed(&bytes[at..]) {
        let line_feed = at + offset;
        if line_feed == 0 || bytes[line_feed - 1] != b'\r' {
            return Err(bad("a line ends without a carriage return"));
        }
        if line_feed >= 3 && bytes[line_feed - 2] == b'\n' {
            if line_feed >= HEAD_BYTES_MAX {
                return Err(TOO_LARGE);
            }
            return Ok(End::At(line_feed + 1));
        }
        at = line_feed + 1;
    }
    if bytes.len() > HEAD_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    Ok(End::From(at))
}

/// Position of the first line feed, eight bytes at a time.
fn line_feed(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default()) ^ (ONES * 0x0a);
        // The lowest marked byte is exact: borrows run upwards only.
        let zero = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zero != 0 {
            return Some(at + (zero.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| *byte == b'\n').map(|offset| at + offset)
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes, at least one.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// With the connection. Responses only.
    Close,
}

/// Methods that matter to us; all others are passed on like [`Method::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Safe or idempotent by RFC 9110 section 9.2, so it may be repeated.
    Repeatable,
    /// Like [`Method::Repeatable`], and its response has no body.
    Head,
    /// Must not be sent twice.
    Other,
}

/// A request's head. Ranges are positions in the bytes that it was parsed from.
#[derive(Debug)]
pub struct Request {
    /// What the method allows.
    pub method: Method,
    /// The method as written.
    pub method_text: Range<usize>,
    /// Path and query, as passed on. Empty means `/` (an absolute form without a path); see
    /// [`Request::target_prefix`].
    pub target: Range<usize>,
    /// Written before `target`: `/` when an absolute form had no path of its own.
    pub target_prefix: &'static str,
    /// HTTP/1.1, and not 1.0.
    pub http_1_1: bool,
    /// All fields, in order.
    pub fields: Vec<Field>,
    /// Value of `Host`.
    pub host: Range<usize>,
    /// How the body ends.
    pub framing: Framing,
    /// The client wants to send another request after this one.
    pub keep_alive: bool,
    /// `Connection: upgrade` and `Upgrade: …`, in a request without a body.
    pub upgrade: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// What `Connection` names.
    pub named: Vec<Range<usize>>,
}

/// A response's head.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Status and reason, as written.
    pub status_line: Range<usize>,
    /// All fields, in order.
    pub fields: Vec<Field>,
    /// How the body ends, were this the answer to a `GET`.
    pub framing: Framing,
    /// The app keeps the connection open.
    pub keep_alive: bool,
    /// `Upgrade: …` is there, as a 101 needs (N61).
    pub upgrade: bool,
    /// What `Connection` names.
    pub named: Vec<Range<usize>>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: Method::Other,
            method_text: 0..0,
            target: 0..0,
            target_prefix: "",
            http_1_1: true,
            fields: Vec::with_capacity(16),
            host: 0..0,
            framing: Framing::Empty,
            keep_alive: true,
            upgrade: false,
            expects_continue: false,
            named: Vec::new(),
        }
    }
}

impl Default for Response {
    fn default() -> Self {
        Self {
            status: 0,
            status_line: 0..0,
            fields: Vec::with_capacity(16),
            framing: Framing::Empty,
            keep_alive: true,
            upgrade: false,
            named: Vec::new(),
        }
    }
}

impl Request {
    /// Parses a whole head, as found by [`find_end`], into `self`, whose memory is used again.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let method_end = token(bytes, 0);
        if method_end == 0 || bytes[method_end] != b' ' {
            return Err(bad("the request line has no valid method"));
        }
        self.method_text = 0..method_end;
        self.method = match &bytes[..method_end] {
            b"GET" | b"OPTIONS" | b"PUT" | b"DELETE" => Method::Repeatable,
            b"HEAD" => Method::Head,
            b"CONNECT" | b"TRACE" => {
                return Err(Refusal { status: 405, why: "this method is not served here" });
            }
            _ => Method::Other,
        };
        let target = method_end + 1..printable(bytes, method_end + 1);
        if target.len() > TARGET_BYTES_MAX {
            return Err(Refusal { status: 414, why: "the address is longer than 8 KiB" });
        }
        let fields_start = target.end + " HTTP/1.1\r\n".len();
        self.http_1_1 = match bytes.get(target.end..fields_start) {
            Some(b" HTTP/1.1\r\n") => true,
            Some(b" HTTP/1.0\r\n") => false,
            _ => return Err(bad("the request line is not 'METHOD target HTTP/1.1'")),
        };
        fields(bytes, fields_start, &mut self.fields)?;
        self.take_fields(bytes)?;
        self.take_target(bytes, target)
    }

    /// The meaning of the fields together.
    fn take_fields(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.named.clear();
        self.expects_continue = false;
        let (mut host, mut length, mut chunked, mut upgrade) = (None, None, false, false);
        let mut connection = Connection::default();
        for field in &self.fields {
            let value = &bytes[field.value.clone()];
            match field.kind {
                Kind::EndToEnd | Kind::Hop | Kind::Ours => {}
                Kind::Host => {
                    if host.replace(field.value.clone()).is_some() {
                        return Err(bad("there are two Host headers"));
                    }
                }
                Kind::ContentLength => {
                    if length.replace(content_length(value)?).is_some() {
                        return Err(bad("there are two Content-Length headers"));
                    }
                }
                Kind::TransferEncoding => {
                    if chunked {
                        return Err(bad("there are two Transfer-Encoding headers"));
                    }
                    only_chunked(bytes, field)?;
                    chunked = true;
                }
                Kind::Connection => connection.take(bytes, field.value.clone(), &mut self.named)?,
                // h2c would make the app speak a protocol that nobody here looks into.
                Kind::Upgrade => upgrade = !value.eq_ignore_ascii_case(b"h2c") && !value.is_empty(),
                Kind::Expect if !self.http_1_1 => {}
                Kind::Expect if value.eq_ignore_ascii_case(b"100-continue") => self.expects_continue = true,
                Kind::Expect => {
                    return Err(Refusal { status: 417, why: "only 'Expect: 100-continue' is known" });
                }
            }
        }
        self.host = host.ok_or(bad("there is no Host header"))?;
        self.framing = match (length, chunked) {
            (Some(_), true) => return Err(bad("both Content-Length and Transfer-Encoding are there")),
            (None, true) if !self.http_1_1 => return Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (None, true) => Framing::Chunked,
            (None | Some(0), false) => Framing::Empty,
            (Some(length), false) => Framing::Length(length),
        };
        self.upgrade = upgrade && connection.upgrade && self.http_1_1 && self.framing == Framing::Empty;
        self.keep_alive =
            if self.http_1_1 { !connection.close } else { connection.keep_alive && !connection.close };
        Ok(())
    }

    /// Brings the target into origin form (RFC 9112 section 3.2).
    fn take_target(&mut self, bytes: &[u8], target: Range<usize>) -> Result<(), Refusal> {
        let text = &bytes[target.clone()];
        self.target_prefix = "";
        self.target = target.clone();
        if text.contains(&b'#') {
            return Err(bad("the address contains '#'"));
        }
        if text.first() == Some(&b'/') || (text == b"*" && &bytes[self.method_text.clone()] == b"OPTIONS") {
            return Ok(());
        }
        let Some(scheme_end) = ["http://", "https://"]
            .into_iter()
            .find(|scheme| {
                text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
            })
            .map(str::len)
        else {
            return Err(bad("the address is neither a path nor a URL"));
        };
        let rest = &text[scheme_end..];
        let authority_end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        let same = match (host_name(&rest[..authority_end]), host_name(&bytes[self.host.clone()])) {
            (Some(asked), Some(host)) => asked.eq_ignore_ascii_case(host),
            _ => false,
        };
        if !same {
            return Err(bad("the address and the Host header name different hosts"));
        }
        self.target.start = target.start + scheme_end + authority_end;
        if rest.get(authority_end) != Some(&b'/') {
            self.target_prefix = "/";
        }
        Ok(())
    }
}

impl Response {
    /// Parses a whole head, as found by [`find_end`], into `self`, whose memory is used again. The
    /// error says what is wrong with it; the answer is 502 whatever it is.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let http_1_1 = match bytes.get(..9) {
            Some(b"HTTP/1.1 ") => true,
            Some(b"HTTP/1.0 ") => false,
            _ => return Err(bad("the response does not start with HTTP/1.1")),
        };
        let line_end = value(bytes, 9);
        self.status = match &bytes[9..line_end] {
            [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9']
            | [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => {
                u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
            }
            _ => return Err(bad("the response has no valid status")),
        };
        if bytes[line_end] != b'\r' {
            return Err(bad("the status line contains a control character"));
        }
        self.status_line = 9..line_end;
        fields(bytes, line_end + 2, &mut self.fields)?;

        self.named.clear();
        self.upgrade = false;
        let (mut length, mut chunked) = (None, false);
        let mut connection = Connection::default();
        for field in &self.fields {
            match field.kind {
                Kind::ContentLength => {
                    if length.replace(content_length(&bytes[field.value.clone()])?).is_some() {
                        return Err(bad("there are two Content-Length headers"));
                    }
                }
                Kind::TransferEncoding => {
                    if chunked {
                        return Err(bad("there are two Transfer-Encoding headers"));
                    }
                    only_chunked(bytes, field)?;
                    chunked = true;
                }
                Kind::Connection => connection.take(bytes, field.value.clone(), &mut self.named)?,
                Kind::Upgrade => self.upgrade = !field.value.is_empty(),
                Kind::EndToEnd | Kind::Hop | Kind::Ours | Kind::Host | Kind::Expect => {}
            }
        }
        self.framing = match (length, chunked) {
            (Some(_), true) => return Err(bad("both Content-Length and Transfer-Encoding are there")),
            (None, true) if !http_1_1 => return Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (None, true) => Framing::Chunked,
            (Some(0), false) => Framing::Empty,
            (Some(length), false) => Framing::Length(length),
            (None, false) => Framing::Close,
        };
        if matches!(self.status, 100..=199 | 204 | 304) {
            self.framing = Framing::Empty;
        }
        self.keep_alive =
            if http_1_1 { !connection.close } else { connection.keep_alive && !connection.close };
        Ok(())
    }
}

/// The host part of `Host: name[:port]`, without port and trailing dot; `None` if it is not one.
pub fn host_name(value: &[u8]) -> Option<&[u8]> {
    let (name, port) = match value.first()? {
        b'[' => value.split_at(value.iter().position(|b| *b == b']')? + 1),
        _ => value.split_at(value.iter().position(|b| *b == b':').unwrap_or(value.len())),
    };
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let name_ok = match name {
        [b'[', inner @ .., b']'] => inner.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')),
        _ => name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    // 253 bytes are what DNS allows, and a dot.
    if !port_ok || !name_ok || name.len() > 254 {
        return None;
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Connection {
    fn take(
        &mut self,
        bytes: &[u8],
        value: Range<usize>,
        named: &mut Vec<Range<usize>>,
    ) -> Result<(), Refusal> {
        let mut start = value.start;
        for part in bytes[value].split(|b| *b == b',') {
            let before = part.len() - part.trim_ascii_start().len();
            let word = part.trim_ascii();
            let range = start + before..start + before + word.len();
            start += part.len() + 1;
            match word {
                [] => {}
                word if word.eq_ignore_ascii_case(b"close") => self.close = true,
                word if word.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                word if word.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ if named.len() == CONNECTION_NAMES_MAX => {
                    return Err(bad("the Connection header names too much"));
                }
                _ => named.push(range),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
