use super::*;
use crate::limits::FIELDS_MAX;

fn parse(text: &[u8]) -> Result<Request, u16> {
    let end = match find_end(text, 0) {
        Ok(End::At(end)) => end,
        Ok(End::From(_)) => return Err(0),
        Err(refusal) => return Err(refusal.status),
    };
    let mut request = Request::default();
    request.parse(&text[..end]).map_err(|refusal| refusal.status)?;
    Ok(request)
}

/// A request with these lines between the request line and `Host`.
fn with_lines(lines: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\n{lines}Host: a.test\r\n\r\n").into_bytes()
}

#[test]
fn refuses_what_could_be_read_in_two_ways() {
    let lines: &[&str] = &[
        // N50: how long is the body?
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3_0\r\n",
        "Content-Length: 3 3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content_Length: 3\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: chunked \r\n",
        "Transfer-Encoding: chunked\t\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer_Encoding: chunked\r\n",
        // N52: where does a header begin and end?
        "Transfer-Encoding : chunked\r\n",
        "X: a\0b\r\n",
        "X: a\rb\r\n",
        "X: a\nb\r\n",
        "X\0: a\r\n",
        "X: \u{7f}\r\n",
        "X: ä\r\n",
        "X: aä\r\n",
        "Xä: a\r\n",
        "X y: a\r\n",
        "X : a\r\n",
        " X: a\r\n",
        "X\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        ": a\r\n",
        "X(: a\r\n",
        "X: a\n",
        // N53
        "Host: a.test\r\n",
        "Host: b.test\r\n",
        "host_: a\r\nHOST: b.test\r\n",
    ];
    for line in lines {
        assert_eq!(parse(&with_lines(line)).err(), Some(400), "{line:?}");
    }
    let wholes: &[&[u8]] = &[
        b"GET / HTTP/1.32\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.255\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\nHost: a\r\n\r\n",
        b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G\"T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ];
    for whole in wholes {
        assert_eq!(parse(whole).err(), Some(400), "{:?}", String::from_utf8_lossy(whole));
    }
}

#[test]
fn bounds_have_their_own_answers() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(TARGET_BYTES_MAX));
    assert_eq!(parse(long_target.as_bytes()).err(), Some(414));
    let many = with_lines(&"X: a\r\n".repeat(FIELDS_MAX));
    assert_eq!(parse(&many).err(), Some(431));
    let just_enough = with_lines(&"X: a\r\n".repeat(FIELDS_MAX - 1));
    assert!(parse(&just_enough).is_ok());
    let large = with_lines(&format!("X: {}\r\n", "a".repeat(HEAD_BYTES_MAX)));
    assert_eq!(parse(&large).err(), Some(431));
    assert_eq!(parse(&large[..HEAD_BYTES_MAX + 1]).err(), Some(431));
    assert_eq!(parse(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").err(), Some(405));
    assert_eq!(parse(&with_lines("Expect: coffee\r\n")).err(), Some(417));
    assert_eq!(parse(&with_lines("Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n")).err(), Some(400));
}

#[test]
fn understands_what_apps_and_browsers_say() {
    let text = b"PUT http://A.test:80?q HTTP/1.1\r\nHost: a.test\r\nContent-Length:  12 \r\nX: \xc3\xa4 b\t\r\nConnection: X, keep-alive\r\n\r\n";
    // The last byte of X's value is 'b', the first is not ASCII.
    assert_eq!(parse(text).err(), Some(400));
    let text = b"PUT http://A.test:80?q HTTP/1.1\r\nHost: a.test\r\nContent-Length:  12 \r\nX: a\xc3\xa4 b\t\r\nConnection: X, keep-alive\r\n\r\n";
    let request = parse(text).expect("it is valid");
    assert_eq!(request.framing, Framing::Length(12));
    assert_eq!((request.target_prefix, &text[request.target.clone()]), ("/", &b"?q"[..]));
    assert_eq!(request.named.iter().map(|name| &text[name.clone()]).collect::<Vec<_>>(), [b"X"]);
    assert!(request.keep_alive && !request.upgrade);

    let upgrade = with_lines("Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert!(parse(&upgrade).expect("it is valid").upgrade);
    for no_upgrade in [
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
    ] {
        assert!(!parse(&with_lines(no_upgrade)).expect("it is valid").upgrade, "{no_upgrade:?}");
    }
    for (version, lines, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(parse(text.as_bytes()).expect("it is valid").keep_alive, keep_alive, "{text:?}");
    }
}

#[test]
fn finds_the_end_wherever_the_pieces_are_cut() {
    let text = b"GET / HTTP/1.1\r\nHost: abcdefghijklmnop\r\nX: y\r\n\r\nrest";
    for first in 0..text.len() - 4 {
        let from = match find_end(&text[..first], 0) {
            Ok(End::From(from)) => from,
            end => {
                assert_eq!((end, first), (Ok(End::At(text.len() - 4)), text.len() - 4));
                continue;
            }
        };
        assert_eq!(find_end(text, from), Ok(End::At(text.len() - 4)), "cut at {first}");
    }
}

#[test]
fn host_names() {
    let check = |text: &str, name: Option<&str>| {
        assert_eq!(host_name(text.as_bytes()), name.map(str::as_bytes), "{text:?}");
    };
    check("a.test", Some("a.test"));
    check("a.test.", Some("a.test"));
    check("a.test:8080", Some("a.test"));
    check("a.test.:8080", Some("a.test"));
    check("[::1]:80", Some("[::1]"));
    check("a_b-c.test", Some("a_b-c.test"));
    for bad in ["", ".", ":80", "a:b", "a:123456", "a b", "a/b", "a@b", "a,b", "[::1", "[::1]x", "a\"", "ä"]
    {
        check(bad, None);
    }
}

#[test]
fn responses() {
    let check = |text: &str, expected: Option<(u16, Framing)>| {
        let mut response = Response::default();
        let end = match find_end(text.as_bytes(), 0) {
            Ok(End::At(end)) => end,
            other => return assert_eq!(expected, None, "{text:?} {other:?}"),
        };
        let parsed =
            response.parse(&text.as_bytes()[..end]).ok().map(|()| (response.status, response.framing));
        assert_eq!(parsed, expected, "{text:?}");
    };
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some((200, Framing::Length(5))));
    check("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", Some((200, Framing::Chunked)));
    check("HTTP/1.0 404 Not Found\r\n\r\n", Some((404, Framing::Close)));
    check("HTTP/1.1 204 No\r\n\r\n", Some((204, Framing::Empty)));
    check("HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n", Some((304, Framing::Empty)));
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", None);
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", None);
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", None);
    check("HTTP/1.1 20 OK\r\n\r\n", None);
    check("HTTP/1.1 999 OK\r\n\r\n", None);
    check("HTTP/1.1 2000 OK\r\n\r\n", None);
    check("HTTP/1.1 200 O\u{1}K\r\n\r\n", None);
    check("HTTP/1.1 200 OK\nX: y\n\n", None);
    check("HTTP/2 200 OK\r\n\r\n", None);
    check("SSH-2.0-OpenSSH\r\n\r\n", None);
}
