use super::*;

/// Feeds a body in two pieces, cut at every place; what is passed on must not depend on the cut.
fn check(body: impl Fn() -> Body, input: &[u8], expected: Result<(&[u8], &[u8]), BadBody>) {
    for cut in 0..=input.len() {
        let result = pass(body(), &[&input[..cut], &input[cut..]]);
        let result = result.as_ref().map(|(passed, rest)| (&passed[..], &rest[..])).map_err(|bad| *bad);
        assert_eq!(result, expected, "{:?} cut at {cut}", String::from_utf8_lossy(input));
    }
}

fn pass(mut body: Body, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), BadBody> {
    let (mut passed, mut rest) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut piece = *piece;
        while !piece.is_empty() && !body.is_done() {
            let scan = body.scan(piece)?;
            passed.extend_from_slice(&piece[..scan.forward]);
            piece = &piece[scan.forward + scan.skip..];
        }
        rest.extend_from_slice(piece);
    }
    if !body.is_done() {
        return Err(BadBody::Framing);
    }
    Ok((passed, rest))
}

fn chunked() -> Body {
    Body::new(Framing::Chunked, 1 << 20)
}

#[test]
fn chunks_pass_and_what_is_around_them_does_not() {
    check(chunked, b"0\r\n\r\n", Ok((b"0\r\n\r\n", b"")));
    check(chunked, b"3\r\nabc\r\n0\r\n\r\nGET /", Ok((b"3\r\nabc\r\n0\r\n\r\n", b"GET /")));
    check(
        chunked,
        b"3;a=\"b\"\r\nabc\r\n0;x\r\nT: u\r\nV: w\r\n\r\nrest",
        Ok((b"3\r\nabc\r\n0\r\n\r\n", b"rest")),
    );
    check(|| chunked().bare(), b"3;a\r\nabc\r\n1\r\nd\r\n0\r\nT: u\r\n\r\nrest", Ok((b"abcd", b"rest")));
    check(|| Body::new(Framing::Length(3), 9), b"abcdef", Ok((b"abc", b"def")));
}

#[test]
fn refuses_framing_that_others_may_read_differently() {
    // N51
    let cases: &[&[u8]] = &[
        b"+1\r\na\r\n0\r\n\r\n",
        b"-0\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"1_0\r\na\r\n0\r\n\r\n",
        b"\r\n\r\n",
        b";a\r\n\r\n",
        b" 1\r\na\r\n0\r\n\r\n",
        b"1 \r\na\r\n0\r\n\r\n",
        b"1 ;a\r\na\r\n0\r\n\r\n",
        b"00000000000000001\r\na\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"1\rXa\r\n0\r\n\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na\rX0\r\n\r\n",
        b"1;a\rb\r\na\r\n0\r\n\r\n",
        b"1;a\nb\r\na\r\n0\r\n\r\n",
        b"1;a\0\r\na\r\n0\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\n: a\r\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\n X: a\r\n\r\n",
        b"0\r\n\rX",
    ];
    for case in cases {
        check(chunked, case, Err(BadBody::Framing));
    }
}

#[test]
fn bounds() {
    let small = || Body::new(Framing::Chunked, 4);
    check(small, b"3\r\nabc\r\n2\r\n", Err(BadBody::TooLarge));
    check(small, b"ffffffffffffffff\r\n", Err(BadBody::TooLarge));
    let extension = format!("1;{}\r\n", "a".repeat(CHUNK_EXTENSION_BYTES_MAX + 1));
    assert_eq!(pass(chunked(), &[extension.as_bytes()]), Err(BadBody::Framing));
    let trailers = format!("0\r\n{}\r\n", "X: a\r\n".repeat(TRAILER_BYTES_MAX));
    assert_eq!(pass(chunked(), &[trailers.as_bytes()]), Err(BadBody::TooLarge));
}

#[test]
fn only_a_body_without_end_ends_with_the_connection() {
    let mut until_close = Body::new(Framing::Close, 0);
    assert_eq!(until_close.scan(b"abc"), Ok(Scan { forward: 3, skip: 0 }));
    assert!(until_close.end_of_stream() && until_close.is_done());
    assert!(!Body::new(Framing::Length(3), 9).end_of_stream());
    assert!(!chunked().end_of_stream());
}
