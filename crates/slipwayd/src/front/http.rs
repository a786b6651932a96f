//! HTTP/1 on a connection, wherever it came from, with the times that a library leaves to its caller.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Extensions, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use slipway_api::error::{ErrorBody, ErrorCode};
use slipway_control::api::ConnectionEnd;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

mod taken;

/// A request's header must be there within this time (N58).
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// What of an answer waits for a client that does not read it. Also the bound of a request's header.
const WAITING_BYTES_MAX: usize = 128 << 10;
/// A client that takes nothing of an answer for so long is gone.
const TAKEN_TIME_MAX: Duration = Duration::from_secs(30);
/// When connections shall end, a request under way gets this long.
pub const END_TIME_MAX: Duration = Duration::from_secs(5);

/// Answers requests from `routes` until the connection ends, or soon after `until`. `mark` says what is
/// known of the caller.
pub async fn serve<S>(
    stream: S,
    routes: Router,
    mark: impl Fn(&mut Extensions) + Send + 'static,
    until: CancellationToken,
) where
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
    tokio::pin!(connection);
    tokio::select! {
        // A connection that breaks is the client's affair.
        _ended = &mut connection => {}
        // A handler wants it to end, whatever the client does.
        () = ended.0.notified() => {}
        () = until.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _late = tokio::time::timeout(END_TIME_MAX, connection).await;
        }
    }
}

/// Answers every request with 503 and why.
pub async fn serve_refusals<S>(stream: S, why: &'static str, until: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer =
        service_fn(move |_request: Request<Incoming>| async move { Ok::<_, Infallible>(refusal(why)) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        _ended = connection => {}
        () = until.cancelled() => {}
    }
}

/// 503 and why, in a body that clients of both APIs understand, and when to come again.
pub fn refusal(why: &str) -> Response<Body> {
    let body = ErrorBody { code: ErrorCode::Unavailable, message: why.to_owned() };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}
