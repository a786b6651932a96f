//! pkt-lines, git's framing (gitprotocol-common): four hexadecimal digits of length, themselves
//! included, then the payload; `0000` is a flush.

/// The longest pkt-line, header included (LARGE_PACKET_MAX).
pub(crate) const PKT_LINE_BYTES_MAX: usize = 65520;

/// One pkt-line of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PktLine<'a> {
    /// The end of a section.
    Flush,
    /// A payload, without the newline that may end it.
    Data(&'a [u8]),
}

/// A length that no pkt-line has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pkt-line")]
pub(crate) struct Malformed;

/// Takes the first pkt-line of `bytes`, and says how many bytes it occupies; `None` when it is not
/// complete yet.
pub(crate) fn take(bytes: &[u8]) -> Result<Option<(PktLine<'_>, usize)>, Malformed> {
    let Some(header) = bytes.get(..4) else { return Ok(None) };
    if !header.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed);
    }
    let header = std::str::from_utf8(header).map_err(|_| Malformed)?;
    let length = usize::from_str_radix(header, 16).map_err(|_| Malformed)?;
    match length {
        0 => Ok(Some((PktLine::Flush, 4))),
        1..=4 => Err(Malformed),
        _ if length > PKT_LINE_BYTES_MAX => Err(Malformed),
        _ => Ok(bytes
            .get(4..length)
            .map(|payload| (PktLine::Data(payload.strip_suffix(b"\n").unwrap_or(payload)), length))),
    }
}

/// Appends a payload as one pkt-line. The payload must be short enough; ours are one line of text.
pub(crate) fn put(out: &mut Vec<u8>, payload: &str) {
    debug_assert!(payload.len() + 4 <= PKT_LINE_BYTES_MAX, "a pkt-line holds at most 64 KB");
    out.extend_from_slice(format!("{:04x}{payload}", payload.len() + 4).as_bytes());
}

/// Appends a flush.
pub(crate) fn put_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_as_they_went_in_and_lies_are_noticed() {
        let mut bytes = Vec::new();
        put(&mut bytes, "version=1\0push-options\n");
        put_flush(&mut bytes);
        let (line, used) = take(&bytes).unwrap().unwrap();
        assert_eq!(line, PktLine::Data(b"version=1\0push-options"));
        assert_eq!(take(&bytes[used..]), Ok(Some((PktLine::Flush, 4))));
        assert_eq!(take(&bytes[..used - 1]), Ok(None));
        assert_eq!(take(b"00"), Ok(None));
        for lie in [&b"0001"[..], b"0003x", b"fff5x", b"ffff", b"zzzz", b"-001", b"+00f", b"PACK"] {
            assert_eq!(take(lie), Err(Malformed), "{lie:?}");
        }
    }
}
