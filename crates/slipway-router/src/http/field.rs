//! Header fields: where their parts are, and what each is to a router.

use std::ops::Range;

use super::head::{Refusal, bad};
use crate::limits::FIELDS_MAX;

/// What a header field is to a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Passed on as it came.
    EndToEnd,
    /// Says how long the body is.
    ContentLength,
    /// Says how the body is framed; for this hop only.
    TransferEncoding,
    /// Names what is for this hop only.
    Connection,
    /// Passed on only with a request to upgrade.
    Upgrade,
    /// `Host`.
    Host,
    /// `Expect`.
    Expect,
    /// For this hop only: never passed on.
    Hop,
    /// What only we may tell an app (N59): not passed on in a request.
    Ours,
}

/// One field: its line from the first byte of the name to the line feed, and the parts in it.
#[derive(Debug, Clone)]
pub struct Field {
    /// The whole line, end of line included.
    pub line: Range<usize>,
    /// The name.
    pub name: Range<usize>,
    /// The value, without the white space around it.
    pub value: Range<usize>,
    /// What it is to us.
    pub kind: Kind,
}

/// Digits only, no sign, no list; 18 of them cannot overflow.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad("Content-Length is not a number"));
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// `Transfer-Encoding: chunked`, exactly: no list, no white space that another parser might not
/// take for white space (N50).
pub(super) fn only_chunked(bytes: &[u8], field: &Field) -> Result<(), Refusal> {
    let exact = field.line.end - 2 == field.value.end;
    if !exact || !bytes[field.value.clone()].eq_ignore_ascii_case(b"chunked") {
        return Err(bad("Transfer-Encoding is not 'chunked'"));
    }
    Ok(())
}

/// Parses field lines from `start` to the end of the head.
pub(super) fn fields(bytes: &[u8], start: usize, fields: &mut Vec<Field>) -> Result<(), Refusal> {
    fields.clear();
    let mut at = start;
    while at + 2 < bytes.len() {
        let name = at..token(bytes, at);
        if name.is_empty() || bytes[name.end] != b':' {
            return Err(bad("a header line is not 'Name: value'"));
        }
        let mut value_start = name.end + 1;
        while matches!(bytes[value_start], b' ' | b'\t') {
            value_start += 1;
        }
        let stop = value(bytes, value_start);
        if bytes[stop] != b'\r' || bytes.get(stop + 1) != Some(&b'\n') {
            return Err(bad("a header value contains a control character"));
        }
        let mut value_end = stop;
        while value_end > value_start && matches!(bytes[value_end - 1], b' ' | b'\t') {
            value_end -= 1;
        }
        let value = value_start..value_end;
        let at_edge = |position: Option<usize>| position.is_some_and(|position| bytes[position] >= 0x80);
        if !value.is_empty() && (at_edge(Some(value.start)) || at_edge(value.end.checked_sub(1))) {
            return Err(bad("a header value starts or ends with a byte that is not ASCII"));
        }
        if fields.len() == FIELDS_MAX {
            return Err(Refusal { status: 431, why: "there are more than 100 headers" });
        }
        let kind = kind(&bytes[name.clone()])?;
        fields.push(Field { line: at..stop + 2, name, value, kind });
        at = stop + 2;
    }
    // `find_end` stops at the first empty line, so this is it.
    if bytes.get(at..) != Some(b"\r\n") {
        return Err(bad("the header does not end with an empty line"));
    }
    Ok(())
}

/// What a field name means to us. CGI and WSGI cannot tell `_` from `-`, so neither do we: an
/// underscored twin of a name that we set is dropped, of one that frames messages refused.
fn kind(name: &[u8]) -> Result<Kind, Refusal> {
    const LONGEST: usize = 19;
    // Most names are told apart by their first letter.
    if !matches!(name[0] | 0x20, b'c' | b'e' | b'f' | b'h' | b'k' | b'p' | b't' | b'u' | b'x') {
        return Ok(Kind::EndToEnd);
    }
    let mut lower = [0; LONGEST];
    let length = name.len().min(LONGEST);
    let mut underscored = false;
    for (lower, byte) in lower.iter_mut().zip(name) {
        underscored |= *byte == b'_';
        *lower = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    }
    let lower = &lower[..length];
    let kind = match (name.len(), lower[0]) {
        (4, b'h') if lower == b"host" => Kind::Host,
        (6, b'e') if lower == b"expect" => Kind::Expect,
        (7, b'u') if lower == b"upgrade" => Kind::Upgrade,
        (10, b'c') if lower == b"connection" => Kind::Connection,
        (14, b'c') if lower == b"content-length" => Kind::ContentLength,
        (17, b't') if lower == b"transfer-encoding" => Kind::TransferEncoding,
        (2, b't') if lower == b"te" => Kind::Hop,
        (7, b't') if lower == b"trailer" => Kind::Hop,
        (10, b'k') if lower == b"keep-alive" => Kind::Hop,
        (9, b'f') if lower == b"forwarded" => Kind::Ours,
        (14, b'h') if lower == b"http2-settings" => Kind::Hop,
        // `Proxy` becomes HTTP_PROXY in a CGI program's environment ("httpoxy").
        (5, b'p') if lower == b"proxy" => Kind::Hop,
        (_, b'p') if lower.starts_with(b"proxy-connection") || lower.starts_with(b"proxy-authorization") => {
            Kind::Hop
        }
        (_, b'x') if lower.starts_with(b"x-forwarded-") || lower.starts_with(b"x-slipway-") => Kind::Ours,
        (9, b'x') if lower == b"x-real-ip" => Kind::Ours,
        (12, b'x') if lower == b"x-request-id" => Kind::Ours,
        _ => Kind::EndToEnd,
    };
    if underscored && !matches!(kind, Kind::EndToEnd | Kind::Hop | Kind::Ours) {
        return Err(bad("a header name imitates another one with '_'"));
    }
    Ok(kind)
}

const TOKEN: u8 = 1;
const PRINTABLE: u8 = 2;
const VALUE: u8 = 4;

/// The class of each byte: `token` of RFC 9110, visible ASCII, and what a field value may hold.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let token = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        if token {
            classes[byte] |= TOKEN;
        }
        if b > 0x20 && b < 0x7f {
            classes[byte] |= PRINTABLE;
        }
        if b == b'\t' || (b >= 0x20 && b != 0x7f) {
            classes[byte] |= VALUE;
        }
        byte += 1;
    }
    classes
};

/// End of the run of bytes of a class. A head ends with a line feed, which is in none, so the
/// result is always the position of a byte.
fn run(bytes: &[u8], start: usize, class: u8) -> usize {
    let mut at = start;
    while at < bytes.len() - 1 && CLASSES[usize::from(bytes[at])] & class != 0 {
        at += 1;
    }
    at
}

/// End of the token that begins here.
pub(super) fn token(bytes: &[u8], start: usize) -> usize {
    run(bytes, start, TOKEN)
}

/// End of the visible ASCII that begins here.
pub(super) fn printable(bytes: &[u8], start: usize) -> usize {
    run(bytes, start, PRINTABLE)
}

/// Like [`run`] for values, the bulk of a head: eight bytes at a time while none is a control
/// character.
pub(super) fn value(bytes: &[u8], start: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let mut at = start;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let delete = word ^ (ONES * 0x7f);
        let is_delete = delete.wrapping_sub(ONES) & !delete & TOPS;
        if (below_space | is_delete) != 0 {
            break;
        }
        at += 8;
    }
    run(bytes, at, VALUE)
}
