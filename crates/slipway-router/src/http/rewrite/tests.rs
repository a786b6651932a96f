use super::*;
use crate::http::head::{End, find_end};

#[test]
fn apps_are_told_what_we_know_and_not_what_clients_claim() {
    let text = b"GET http://a.test/p?q HTTP/1.1\r\nAccept: */*\r\nX-Forwarded-For: 6.6.6.6\r\nx_forwarded_proto: https\r\n\
        Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: mine\r\nProxy: evil\r\nX-Slipway-Role: admin\r\n\
        Cookie: c\r\nCookie2: d\r\nTE: trailers\r\nKeep-Alive: 5\r\nHost: a.test:81\r\nX-Mine: x\r\n\
        Connection: X-Mine, Host, Content-Length, close\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nUser-Agent: u\r\n\r\n";
    let mut head = Request::default();
    assert_eq!(find_end(text, 0), Ok(End::At(text.len())));
    head.parse(text).expect("it is valid");
    let via = Via::new(([192, 0, 2, 7], 5555).into(), 80, false);
    let mut out = Vec::new();
    request(&mut out, text, &head, &via, b"0123");
    assert_eq!(
        String::from_utf8(out).expect("it is ASCII"),
        "GET /p?q HTTP/1.1\r\nAccept: */*\r\nCookie: c\r\nCookie2: d\r\nHost: a.test:81\r\nUser-Agent: u\r\n\
         X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n\
         Forwarded: for=192.0.2.7;proto=http;host=\"a.test:81\"\r\nX-Forwarded-Host: a.test:81\r\nX-Request-Id: 0123\r\n\r\n"
    );
    let via = Via::new("[2001:db8::1]:1".parse().expect("an address"), 443, true);
    let lines = String::from_utf8(via.lines).expect("it is ASCII");
    assert!(
        lines.contains("X-Forwarded-For: 2001:db8::1\r\n")
            && lines.contains("for=\"[2001:db8::1]\";proto=https")
    );
}

#[test]
fn clients_do_not_see_this_hop() {
    let text = b"HTTP/1.0 200 Fine\r\nServer: s\r\nConnection: X-Hop, close\r\nX-Hop: h\r\nKeep-Alive: 5\r\n\
        Transfer-Encoding: chunked\r\nX-Request-Id: app\r\nUpgrade: x\r\nSet-Cookie: a\r\n\r\n";
    let mut head = Response::default();
    let text = [b"HTTP/1.1", &text[8..]].concat();
    head.parse(&text).expect("it is valid");
    let mut out = Vec::new();
    response(&mut out, &text, &head, true, After::KeepAlive);
    assert_eq!(
        String::from_utf8(out).expect("it is ASCII"),
        "HTTP/1.1 200 Fine\r\nServer: s\r\nX-Request-Id: app\r\nSet-Cookie: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
}

/// Whatever a client sends, what an app gets is read by our own strict parser as the same request, and
/// as exactly one. Seeds are printed, and can be run alone.
#[test]
fn what_is_sent_on_means_what_was_understood() {
    const PIECES: &[&[u8]] = &[
        b"GET ",
        b"POST ",
        b"/p?q",
        b"*",
        b"http://a.test/x",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"Host: a.test\r\n",
        b"Host: b\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: x\r\n",
        b"Connection: ",
        b"close",
        b"upgrade",
        b"keep-alive",
        b", ",
        b"Host",
        b"Content-Length",
        b"X-A",
        b"X-A: b\r\n",
        b"Upgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"Content_Length: 7\r\n",
        b"x_forwarded_for: 1\r\n",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"\r\n",
        b":",
        b"\0",
        b"\xff",
        b"\x0b",
        b"_",
        b"Forwarded: x\r\n",
    ];
    let (mut understood, via) = (0, Via::new(([127, 0, 0, 1], 1).into(), 80, false));
    for seed in 0..200_000_u64 {
        let mut state = seed;
        let mut roll = |sides: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % sides
        };
        // Mostly a request, with anything in it.
        let mut text = [PIECES[roll(2)], PIECES[2 + roll(3)], PIECES[5 + roll(2)]].concat();
        for _ in 0..roll(7) {
            text.extend_from_slice(PIECES[7 + roll(PIECES.len() - 7)]);
        }
        text.extend_from_slice(b"Host: a.test\r\n\r\n");
        let Ok(End::At(length)) = find_end(&text, 0) else { continue };
        let mut head = Request::default();
        if head.parse(&text[..length]).is_err() {
            continue;
        }
        understood += 1;
        let mut out = Vec::new();
        request(&mut out, &text[..length], &head, &via, b"id");
        assert_eq!(
            find_end(&out, 0),
            Ok(End::At(out.len())),
            "seed {seed}: {:?}",
            String::from_utf8_lossy(&out)
        );
        let mut again = Request::default();
        again
            .parse(&out)
            .unwrap_or_else(|refusal| panic!("seed {seed}: {refusal:?} {:?}", String::from_utf8_lossy(&out)));
        assert_eq!((again.framing, again.upgrade), (head.framing, head.upgrade), "seed {seed}");
        assert_eq!(out[again.host.clone()], text[head.host.clone()], "seed {seed}");
    }
    assert!(understood > 10_000, "only {understood} were requests at all");
}
