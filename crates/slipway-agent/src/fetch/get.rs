//! One file over HTTP, through redirects, within bounds.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine as _;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, LOCATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::resolve::resolve;
use super::tree::Budget;
use super::uri::Target;

const REDIRECTS_MAX: usize = 5;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// For an answer to begin, and between two pieces of it.
const STALL_PATIENCE: Duration = Duration::from_secs(60);
/// Of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Writes what the target has into the file.
pub(super) async fn download(
    mut target: Target,
    resolver: Ipv4Addr,
    tls: &TlsConnector,
    file: &mut File,
    budget: &mut Budget,
) -> Result<(), String> {
    for _ in 0..=REDIRECTS_MAX {
        let response = timeout(STALL_PATIENCE, ask(&target, resolver, tls)).await;
        let response = response.map_err(|_| format!("no answer came within {STALL_PATIENCE:?}"))??;
        match response.status() {
            StatusCode::OK => return take(response, file, budget).await,
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                target = target.redirected(location.ok_or("it is redirected without saying where to")?)?;
            }
            status => return Err(format!("it was answered with status {}", status.as_u16())),
        }
    }
    Err(format!("it is redirected more than {REDIRECTS_MAX} times"))
}

async fn ask(target: &Target, resolver: Ipv4Addr, tls: &TlsConnector) -> Result<Response<Incoming>, String> {
    let stream = connect(target, resolver).await?;
    if !target.is_tls {
        return request(target, stream).await;
    }
    let name = ServerName::try_from(target.host.clone());
    let name = name.map_err(|_| format!("{:?} is not the name of a server", target.host))?;
    let stream = tls.connect(name, stream).await;
    request(target, stream.map_err(|error| format!("no TLS with {}: {error}", target.host))?).await
}

async fn connect(target: &Target, resolver: Ipv4Addr) -> Result<TcpStream, String> {
    let mut last = format!("{} has no address", target.host);
    for address in resolve(&target.host, resolver).await? {
        last = match timeout(CONNECT_PATIENCE, TcpStream::connect((address, target.port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => format!("{} cannot be reached: {error}", target.authority()),
            Err(_) => format!("{} cannot be reached from the sandbox: nothing answers", target.authority()),
        };
    }
    Err(last)
}

async fn request(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Response<Incoming>, String> {
    let lost =
        |error: hyper::Error| format!("{} did not answer as a server does: {error}", target.authority());
    let builder = hyper::client::conn::http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).to_owned();
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    let mut request = Request::get(&target.path)
        .header(HOST, target.authority())
        .header(USER_AGENT, "slipway-fetch")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close");
    if let Some(credentials) = &target.credentials {
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        request = request.header(AUTHORIZATION, format!("Basic {encoded}"));
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|error| format!("it cannot be asked for: {error}"))?;
    sender.send_request(request).await.map_err(lost)
}

async fn take(response: Response<Incoming>, file: &mut File, budget: &mut Budget) -> Result<(), String> {
    let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > budget.bytes_left()) {
        return Err(budget.exceeded());
    }
    let mut body = response.into_body();
    loop {
        let frame = timeout(STALL_PATIENCE, body.frame()).await;
        let frame = frame.map_err(|_| format!("nothing more came for {STALL_PATIENCE:?}"))?;
        let Some(frame) = frame else { return Ok(()) };
        // A body that is cut short is an error here, too.
        let frame = frame.map_err(|error| format!("it broke off: {error}"))?;
        let Some(data) = frame.data_ref() else { continue };
        budget.spend(data.len() as u64)?;
        file.write_all(data).map_err(|error| format!("it cannot be written: {error}"))?;
    }
}
