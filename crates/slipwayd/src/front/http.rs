//! Serves the API: connections in, the routes' answers out, with the times that a library leaves to
//! its caller.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
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
use tokio::sync::watch;

use super::raised;

mod taken;

/// Connections at once; one that follows a log sleeps.
const CONNECTIONS_MAX: usize = 1024;
/// Of one address, so that nobody who only holds connections open keeps everybody else out.
const CONNECTIONS_OF_SOURCE_MAX: usize = 512;
/// A request's header must be there within this time (N58).
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// What of an answer waits for a client that does not read it. Also the bound of a request's header.
const WAITING_BYTES_MAX: usize = 128 << 10;
/// A client that takes nothing of an answer for so long is gone.
const TAKEN_TIME_MAX: Duration = Duration::from_secs(30);
/// After a failed accept, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many connections there are, in all and of each address.
#[derive(Debug, Default)]
struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Places {
    /// A place for a connection from there, until it is dropped; `None` when there is none left. Root's own
    /// connections come from nowhere.
    fn take(self: &Arc<Self>, source: Option<IpAddr>) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = source.map_or(0, |source| taken.by_source.get(&source).copied().unwrap_or(0));
        if taken.all >= CONNECTIONS_MAX || of_source >= CONNECTIONS_OF_SOURCE_MAX {
            return None;
        }
        taken.all += 1;
        if let Some(source) = source {
            taken.by_source.insert(source, of_source + 1);
        }
        Some(Place { places: self.clone(), source })
    }
}

/// Held as long as a connection is there.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    source: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(source) = self.source else { return };
        if let Some(count) = taken.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                taken.by_source.remove(&source);
            }
        }
    }
}

/// Serves whoever can reach the port.
pub async fn serve_tcp(listener: TcpListener, routes: Router, stop: watch::Receiver<bool>) {
    let places = Arc::new(Places::default());
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
        let Some(place) = places.take(Some(peer.ip())) else { continue };
        let mark = move |extensions: &mut Extensions| {
            extensions.insert(ConnectInfo::<SocketAddr>(peer));
        };
        tokio::spawn(serve(stream, routes.clone(), mark, place));
    }
}

/// Serves root on this machine.
pub async fn serve_unix(listener: UnixListener, routes: Router, stop: watch::Receiver<bool>) {
    let places = Arc::new(Places::default());
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
            && let Some(place) = places.take(None)
        {
            let mark = |extensions: &mut Extensions| {
                extensions.insert(Local);
            };
            tokio::spawn(serve(stream, routes.clone(), mark, place));
        }
    }
}

async fn serve<S>(stream: S, routes: Router, mark: impl Fn(&mut Extensions) + Send + 'static, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(routes);
    let end = ConnectionEnd::default();
    let ended = end.clone();
    let (stream, patience) = taken::Taken::new(stream, TAKEN_TIME_MAX);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        mark(request.extensions_mut());
        request.extensions_mut().insert(end.clone());
        let answered = routes.call(request);
        let patience = patience.clone();
        async move { answered.await.inspect(|response| patience.follow(response)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_buf_size(WAITING_BYTES_MAX)
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

#[cfg(test)]
mod tests;
