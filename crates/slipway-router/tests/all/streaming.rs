//! Bodies and tunnels: both ways at once, without end, with the router's memory flat.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{App, Client, read_head, router_to};

/// Resident memory of this process, router, app and client together.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Sends so many bytes to `/echo`, in chunks or not, and gets them back while it sends.
async fn echo(bytes: u64, chunked: bool) {
    const PIECE: usize = 100_000;
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    let framing =
        if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {bytes}") };
    client.send(format!("POST /echo HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n")).await;
    let (mut read, mut write) = client.stream.into_split();
    let before = resident_bytes();
    let mut most = before;
    let send = async {
        let payload: Vec<u8> = (0..PIECE).map(|at| (at % 251) as u8).collect();
        for _ in 0..bytes / PIECE as u64 {
            if chunked {
                write.write_all(format!("{PIECE:x}\r\n").as_bytes()).await.unwrap();
            }
            write.write_all(&payload).await.unwrap();
            if chunked {
                write.write_all(b"\r\n").await.unwrap();
            }
        }
        if chunked {
            write.write_all(b"0\r\n\r\n").await.unwrap();
        }
    };
    let receive = async {
        let mut buffer = Vec::new();
        let head = read_head(&mut read, &mut buffer).await.unwrap();
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        let framing_bytes = if chunked { (bytes / PIECE as u64) * 9 + 5 } else { 0 };
        let mut left = bytes + framing_bytes - buffer.len() as u64;
        let mut piece = vec![0; 64 << 10];
        while left > 0 {
            let count = read.read(&mut piece).await.unwrap();
            assert!(count > 0, "{left} bytes are missing");
            left -= count as u64;
            most = most.max(resident_bytes());
        }
    };
    tokio::time::timeout(Duration::from_secs(120), async { tokio::join!(send, receive) }).await.unwrap();
    let grown = most.saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes more while {bytes} passed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_pass_both_ways_at_once() {
    echo(100_000_000, false).await;
    echo(100_000_000, true).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_app_up() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client.send("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n").await;
    let piece = vec![0; 1 << 20];
    let mut sent = 0_u64;
    // It can only send what the buffers of the kernel on the way take.
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(500), client.stream.write(&piece)).await
    {
        sent += written.unwrap() as u64;
        assert!(sent < 100 << 20, "nobody holds this client up");
    }
}

#[tokio::test]
async fn chunk_extensions_and_trailers_are_left_out() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client
        .send(
            "POST /echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n\
             3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        )
        .await;
    let all = client.rest().await;
    assert!(all.contains("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{all:?}");
    assert!(!app.heads()[0].contains("Trailer"));
}

#[tokio::test]
async fn a_websocket_is_a_tunnel() {
    let app = App::raw(|_| Vec::new()).await;
    // Takes the upgrade, then echoes until the other side closes, and says goodbye.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = Vec::new();
        let head = String::from_utf8(read_head(&mut stream, &mut buffer).await.unwrap()).unwrap();
        assert!(
            head.contains("\r\nUpgrade: websocket\r\n") && head.contains("\r\nConnection: Upgrade\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi";
        stream.write_all(answer).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.write_all(b"bye").await.unwrap();
    });
    let mut table = crate::bed::table(1, &[("a.test", &[&app])]);
    table.routes.get_mut("a.test").unwrap().endpoints[0].address = address;
    let router = slipway_router::Router::start(crate::bed::options()).unwrap();
    router.set_table(table).await.unwrap();

    let mut client = Client::connect(&router).await;
    client
        .send(
            "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let response = client.receive_to(false).await.unwrap();
    assert_eq!(response.status, 101);
    assert!(
        response.head.contains("\r\nUpgrade: websocket\r\n")
            && response.head.contains("\r\nConnection: Upgrade\r\n")
    );
    let frame = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    client.send(frame).await;
    client.stream.shutdown().await.unwrap();
    let rest = client.rest().await;
    let expected = [&b"\x81\x02hi"[..], frame, b"bye"].concat();
    assert_eq!(rest, String::from_utf8_lossy(&expected));
}
