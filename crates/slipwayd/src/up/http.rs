//! Serves the API: connections in, the routes' answers out, with the times that a library leaves to
//! its caller.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::{Extensions, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use slipway_control::api::{ConnectionEnd, Local};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::raised;

/// Connections at once; one that follows a log sleeps.
const CONNECTIONS_MAX: usize = 1024;
/// A request's header must be there within this time (N58).
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// After a failed accept, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves whoever can reach the port.
pub async fn serve_tcp(listener: TcpListener, routes: Router, stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = raised(stop.clone()) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _nagle = stream.set_nodelay(true);
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let mark = move |extensions: &mut Extensions| {
            extensions.insert(ConnectInfo::<SocketAddr>(peer));
        };
        tokio::spawn(serve(stream, routes.clone(), mark, place));
    }
}

/// Serves root on this machine.
pub async fn serve_unix(listener: UnixListener, routes: Router, stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = raised(stop.clone()) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // The socket's mode keeps others out; the kernel's word on it costs nothing.
        if stream.peer_cred().is_ok_and(|peer| peer.uid() == 0)
            && let Ok(place) = places.clone().try_acquire_owned()
        {
            let mark = |extensions: &mut Extensions| {
                extensions.insert(Local);
            };
            tokio::spawn(serve(stream, routes.clone(), mark, place));
        }
    }
}

async fn serve<S>(
    stream: S,
    routes: Router,
    mark: impl Fn(&mut Extensions) + Send + 'static,
    place: OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(routes);
    let end = ConnectionEnd::default();
    let ended = end.clone();
    let answer = service_fn(move |mut request: Request<Incoming>| {
        mark(request.extensions_mut());
        request.extensions_mut().insert(end.clone());
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    tokio::select! {
        // A connection that breaks is the client's affair.
        _ended = connection => {}
        // A handler wants it to end, whatever the client does.
        () = ended.0.notified() => {}
    }
    drop(place);
}
