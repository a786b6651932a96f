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
    assert!(lines.contains("X-Forwarded-For: 2001:db8::1\r\n") && lines.contains("for=\"[2001:db8::1]\";proto=https"));
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
