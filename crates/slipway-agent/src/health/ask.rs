//! One question to an instance and what came of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use slipway_model::service::{HealthCheck, Probe};
use slipway_shim::exec::ExecSpec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Target;
use crate::agent::Shared;
use crate::bundle;

/// Bytes of an answer that are looked at for its status line.
const STATUS_BYTES_MAX: usize = 1024;
/// Bytes of an answer's head, before the body of which something is shown.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Asks once; the error says what was seen.
pub(super) async fn ask(
    shared: &Shared,
    target: &Target,
    check: &HealthCheck,
    is_first: bool,
) -> Result<(), String> {
    // A semaphore that is never closed.
    let _permit = shared.checks.acquire().await;
    let limit = check.timeout;
    let asked = async {
        match &check.probe {
            Probe::Answer if is_first => {
                let stream = connect(target, port_of(target, check)?).await?;
                status(stream, target, "/").await.map(drop)
            }
            Probe::Tcp | Probe::Answer => connect(target, port_of(target, check)?).await.map(drop),
            Probe::Http(path) => {
                let stream = connect(target, port_of(target, check)?).await?;
                good(path, status(stream, target, path).await?)
            }
            Probe::Https(path) => {
                let port = port_of(target, check)?;
                let stream = connect(target, port).await?;
                let name = ServerName::IpAddress(
                    target.address.map(std::net::IpAddr::from).ok_or("it has no address")?.into(),
                );
                let stream = TLS.connect(name, stream).await;
                let stream = stream.map_err(|error| format!("no TLS is spoken on port {port} ({error})"))?;
                good(path, status(stream, target, path).await?)
            }
            Probe::Command(line) => command(shared, target, line, limit.duration()).await,
        }
    };
    // A command is ended by whoever runs it, inside; this is for when that does not come back.
    let patience = match check.probe {
        Probe::Command(_) => limit.duration() + Duration::from_secs(1),
        _ => limit.duration(),
    };
    match timeout(patience, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {limit}")),
    }
}

/// 200 to 399 (MA-42).
fn good(path: &str, status: u16) -> Result<(), String> {
    match status {
        200..=399 => Ok(()),
        status => Err(format!("GET {path} was answered with status {status}")),
    }
}

/// Where a check asks: at its own port, else at the service's n-th, else at `$PORT` or the first (MA-43).
pub(super) fn port_of(target: &Target, check: &HealthCheck) -> Result<u16, String> {
    if let Some(port) = check.port {
        return Ok(port);
    }
    if let Some(index) = check.port_index {
        let port = target.ports.get(index).copied().filter(|port| *port != 0);
        return port.ok_or_else(|| format!("it has no port with the index {index}"));
    }
    let first = target.ports.first().copied().filter(|port| *port != 0);
    target.port.or(first).ok_or_else(|| "it has no port to be asked at".to_owned())
}

pub(super) async fn connect(target: &Target, port: u16) -> Result<TcpStream, String> {
    let address = target.address.ok_or("it has no address to be asked at")?;
    TcpStream::connect(SocketAddr::from((address, port)))
        .await
        .map_err(|error| format!("nothing answers on port {port} ({error})"))
}

/// The status that one request is answered with. In so many words: an HTTP client would bring pools and
/// redirects that a check must not have.
async fn status(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &Target,
    path: &str,
) -> Result<u16, String> {
    request(&mut stream, target, path, "HTTP/1.1").await?;
    let lost = |error: std::io::Error| format!("GET {path} was not answered ({error})");
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < STATUS_BYTES_MAX {
        if stream.read_buf(&mut answer).await.map_err(lost)? == 0 {
            break;
        }
    }
    status_in(&answer, path)
}

/// The status and the beginning of the body, at most so many bytes of it.
pub(super) async fn answer(
    target: &Target,
    port: u16,
    path: &str,
    body_max: usize,
) -> Result<(u16, String), String> {
    let mut stream = connect(target, port).await?;
    // As that version of HTTP has it, the body is what comes, and not pieces with their lengths.
    request(&mut stream, target, path, "HTTP/1.0").await?;
    let mut answer = Vec::new();
    let end_of_head = |answer: &[u8]| answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let mut head = None;
    loop {
        let enough = head.map_or(HEAD_BYTES_MAX, |head| head + body_max);
        // What has been said counts, also when the connection breaks then.
        if answer.len() >= enough || stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
            break;
        }
        head = head.or_else(|| end_of_head(&answer));
    }
    let status = status_in(&answer, path)?;
    let body = head.map_or(&[][..], |head| &answer[head..answer.len().min(head + body_max)]);
    Ok((status, text_of(body)))
}

/// What is not UTF-8 is replaced; a letter that was cut at the end is left out.
fn text_of(body: &[u8]) -> String {
    let whole = match std::str::from_utf8(body) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => body.len(),
    };
    let text = String::from_utf8_lossy(&body[..whole]);
    let mut end = text.len().min(body.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

async fn request(
    stream: &mut (impl AsyncWrite + Unpin),
    target: &Target,
    path: &str,
    version: &str,
) -> Result<(), String> {
    let acceptable = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !acceptable {
        return Err(format!("the path {path:?} of its check is not one"));
    }
    let host = target.address.map(|address| address.to_string()).unwrap_or_default();
    let request = format!(
        "GET {path} {version}\r\nHost: {host}\r\nUser-Agent: slipway-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let lost = |error: std::io::Error| format!("GET {path} was not answered ({error})");
    stream.write_all(request.as_bytes()).await.map_err(lost)
}

fn status_in(answer: &[u8], path: &str) -> Result<u16, String> {
    status_of(answer).ok_or_else(|| match answer {
        [] => format!("GET {path} was not answered"),
        _ => format!("GET {path} was answered with what is not HTTP"),
    })
}

pub(super) fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// Any certificate will do (MA-42): what is checked is whether the program works, and its own namespace has
/// nobody else in it who could answer.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

static TLS: LazyLock<TlsConnector> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("this provider has what the default versions need")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
});

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Runs a command inside the sandbox, as the program's user, with its environment and its limits.
async fn command(shared: &Shared, target: &Target, line: &str, limit: Duration) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("its check cannot be run: {error}");
    let number = CHECK_NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let spec = ExecSpec {
        bundle: target.bundle.clone(),
        init_pid: target.init_pid,
        cgroups: shared.cgroups.directories_of(&target.instance),
        argv: words_of(&target.bundle, line).map_err(failed)?,
        time_max_ms: limit.as_millis() as u64,
    };
    let file = SpecFile(target.bundle.join(format!("check-{number}.json")));
    slipway_shim::spec::write_whole(&file.0, &spec).map_err(failed)?;
    let mut child = Command::new(&shared.options.shim)
        .arg0(slipway_shim::ARGV0)
        .arg("exec")
        .arg(&file.0)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let status = child.wait().await.map_err(failed)?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(format!("{line:?} ended with status {code}")),
        None => Err(format!("{line:?} was killed")),
    }
}

static CHECK_NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Through the launcher, if the program was started so.
fn words_of(bundle: &Path, line: &str) -> std::io::Result<Vec<String>> {
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
    let launched = config["process"]["args"][0] == bundle::LAUNCHER;
    let entrypoint = launched.then(|| vec![bundle::LAUNCHER.to_owned()]);
    Ok(bundle::command_line(line, &crate::image::Config { entrypoint, ..Default::default() }))
}

struct SpecFile(PathBuf);

impl Drop for SpecFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
