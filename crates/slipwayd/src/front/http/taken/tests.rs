//! A client that takes nothing.

use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Extensions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::super::{WAITING_BYTES_MAX, serve};
use super::*;

const CHUNK: usize = 64 << 10;
/// What the test's connection itself holds.
const PIPE: usize = 16 << 10;

#[tokio::test]
async fn nothing_is_made_for_a_client_that_takes_nothing() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let routes = Router::new().route(
        "/",
        get(async move || {
            let chunks = futures_util::stream::repeat_with(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Infallible>(vec![b'x'; CHUNK])
            });
            Body::from_stream(chunks)
        }),
    );
    let (mut client, server) = tokio::io::duplex(PIPE);
    let served = tokio::spawn(serve(server, routes, |_: &mut Extensions| {}, CancellationToken::new()));
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // Some bytes of the body are here, so all has been made that is made ahead.
    client.read_exact(&mut [0; 1024]).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let ahead = made.load(Ordering::SeqCst) * CHUNK;
    assert!(ahead <= WAITING_BYTES_MAX + CHUNK + PIPE, "{ahead} bytes were made");
    client.read_exact(&mut vec![0; 16 * CHUNK]).await.unwrap();
    assert!(made.load(Ordering::SeqCst) >= 16, "whoever takes gets more");
    drop(client);
    served.await.unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_unless_its_answer_has_no_end() {
    let limit = Duration::from_millis(50);
    let json = Response::builder().header(header::CONTENT_TYPE, "application/json");
    let events = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
    let endless = || Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, Infallible>>());
    let (_client, server) = tokio::io::duplex(PIPE);
    let (mut taken, patience) = Taken::new(server, limit);
    patience.follow(&events.body(endless()).unwrap());
    let write = tokio::time::timeout(limit * 4, taken.write_all(&[0; 2 * PIPE])).await;
    assert!(write.is_err(), "a stream of events may wait");
    patience.follow(&json.body(endless()).unwrap());
    let error = taken.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
