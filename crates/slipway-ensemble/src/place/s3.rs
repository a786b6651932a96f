//! A bucket with S3's API: Amazon's, Ceph's, or another's. A client of our own, because we need five
//! requests of it, and the usual crates bring a second TLS provider and a second HTTP client along.
//!
//! Addresses are path style (`https://host/bucket/key`), which every server understands. Each request
//! has a connection of its own: there is one each half minute, or a backup's parts of some MiB.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Error, NAMES_MAX};

mod listing;
mod sign;

pub use sign::Keys;

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a request may take with its answer; a backup's part of some MiB has to fit.
const PATIENCE: Duration = Duration::from_secs(60);
/// A listing's page has at most 1000 keys.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// A refusal is short.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// How a bucket is reached.
#[derive(Debug, Clone)]
pub struct Description {
    /// `https://host[:port]`, or `http://` inside a network that one trusts.
    pub endpoint: String,
    /// `us-east-1` where the server has no regions.
    pub region: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// What all our keys begin with, without a slash at its end; may be empty.
    pub prefix: String,
    /// Who we are.
    pub keys: Keys,
    /// The authority that signed the server's certificate, in PEM; nothing for those that the system
    /// trusts.
    pub authority_pem: Option<String>,
    /// Whether the server may be relied upon to let one of many win who create the same object with
    /// `If-None-Match`. Some know the header and still let two win; where this is false, the recipe of a
    /// lock is used instead. Where it is true, the server is asked once whether it knows the header.
    pub trust_conditions: bool,
}

/// A bucket as a place.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    description: Description,
    /// `host[:port]`, as the header and the signature say it.
    authority: String,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Bucket {
    /// Reads the description. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// The description is wrong.
    pub fn new(description: Description) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Description(format!("{reason}: {}", description.endpoint));
        let endpoint: Uri = description.endpoint.parse().map_err(|_| wrong("not an address"))?;
        let is_tls = match endpoint.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("the address begins with neither https:// nor http://")),
        };
        if !matches!(endpoint.path(), "" | "/") || endpoint.query().is_some() {
            return Err(wrong("the address has more than a host and a port"));
        }
        let authority = endpoint.authority().ok_or_else(|| wrong("the address has no host"))?;
        super::check(&description.bucket)?;
        if !description.prefix.is_empty() {
            super::check(&description.prefix)?;
        }
        let tls = is_tls.then(|| connector(description.authority_pem.as_deref())).transpose()?;
        Ok(Self(Arc::new(Inner {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            tls,
            description,
        })))
    }

    pub(crate) fn trusts_conditions(&self) -> bool {
        self.0.description.trust_conditions
    }

    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let prefix = format!("{}/", self.key(folder, None));
        let mut names: Vec<String> = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = vec![("list-type", "2"), ("prefix", prefix.as_str())];
            if let Some(token) = &token {
                query.insert(0, ("continuation-token", token));
            }
            let answer = self.ask(Method::GET, "", &query, Bytes::new(), false, PAGE_BYTES_MAX).await?;
            let page =
                listing::read(&self.accept(answer)?.body).ok_or_else(|| self.away("no listing came"))?;
            names.extend(page.keys.iter().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned));
            if names.len() > NAMES_MAX {
                return Err(Error::TooBig(format!("the folder {folder}"), NAMES_MAX));
            }
            match page.next {
                // A server that says the same again would keep us for ever.
                Some(next) if token.as_ref() != Some(&next) && !page.keys.is_empty() => token = Some(next),
                Some(_) => return Err(self.away("the listing does not go on")),
                None => return Ok(names),
            }
        }
    }

    pub(super) async fn get(
        &self,
        folder: &str,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, Error> {
        let key = self.key(folder, Some(name));
        let answer = self.ask(Method::GET, &key, &[], Bytes::new(), false, bytes_max).await?;
        let is_missing = answer.status == StatusCode::NOT_FOUND
            && listing::code(&answer.body).as_deref() != Some("NoSuchBucket");
        if is_missing { Ok(None) } else { Ok(Some(self.accept(answer)?.body)) }
    }

    pub(super) async fn put(&self, folder: &str, name: &str, bytes: Bytes) -> Result<(), Error> {
        let key = self.key(folder, Some(name));
        let answer = self.ask(Method::PUT, &key, &[], bytes, false, REFUSAL_BYTES_MAX).await?;
        self.accept(answer).map(drop)
    }

    pub(super) async fn create(&self, folder: &str, name: &str, bytes: Bytes) -> Result<bool, Error> {
        let key = self.key(folder, Some(name));
        let answer = self.ask(Method::PUT, &key, &[], bytes, true, REFUSAL_BYTES_MAX).await?;
        match answer.status {
            StatusCode::PRECONDITION_FAILED => Ok(false),
            // Somebody else is about to create or delete it. Nobody has won yet.
            StatusCode::CONFLICT => Err(self.away("another request for the same object is under way")),
            _ => self.accept(answer).map(|_| true),
        }
    }

    pub(super) async fn delete(&self, folder: &str, name: &str) -> Result<(), Error> {
        let key = self.key(folder, Some(name));
        let answer = self.ask(Method::DELETE, &key, &[], Bytes::new(), false, REFUSAL_BYTES_MAX).await?;
        let is_gone = answer.status == StatusCode::NOT_FOUND
            && listing::code(&answer.body).as_deref() != Some("NoSuchBucket");
        if is_gone { Ok(()) } else { self.accept(answer).map(drop) }
    }

    /// Whether the server knows `If-None-Match`: a second object of the same name has to be refused.
    /// The name should be one that nobody else uses.
    pub(crate) async fn knows_conditions(&self, folder: &str, name: &str) -> Result<bool, Error> {
        let first = self.create(folder, name, Bytes::new()).await;
        let second = match first {
            Ok(true) => self.create(folder, name, Bytes::new()).await,
            other => other.map(|_| true),
        };
        let _left = self.delete(folder, name).await;
        match second {
            Ok(is_created) => Ok(!is_created),
            // Some say that they do not implement it.
            Err(Error::Refused { reason, .. }) if reason.contains("NotImplemented") => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn key(&self, folder: &str, name: Option<&str>) -> String {
        let parts = [
            Some(self.0.description.prefix.as_str()).filter(|prefix| !prefix.is_empty()),
            Some(folder),
            name,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    }

    fn accept(&self, answer: Answer) -> Result<Answer, Error> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status.as_u16();
        let code = listing::code(&answer.body).unwrap_or_default();
        let message = listing::message(&answer.body).unwrap_or_default();
        let reason = format!("{status} {code}: {message}");
        // The server's own trouble, or too many requests.
        if answer.status.is_server_error() && status != 501 || status == 429 {
            return Err(self.away(&reason));
        }
        Err(Error::Refused { place: self.to_string(), reason })
    }

    fn away(&self, reason: &str) -> Error {
        Error::Away { place: self.to_string(), reason: reason.to_owned() }
    }

    async fn ask(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        body: Bytes,
        only_if_absent: bool,
        bytes_max: usize,
    ) -> Result<Answer, Error> {
        let Inner { description, authority, .. } = &*self.0;
        let path = if key.is_empty() {
            format!("/{}", description.bucket)
        } else {
            format!("/{}/{key}", description.bucket)
        };
        let signed = sign::sign(&sign::Asked {
            method: method.as_str(),
            path: &path,
            query,
            authority,
            region: &description.region,
            body: &body,
            now: SystemTime::now(),
            keys: &description.keys,
        });
        let mut request = Request::builder()
            .method(method)
            .uri(signed.target)
            .header(http::header::HOST, authority)
            .header("x-amz-content-sha256", signed.body_sha256)
            .header("x-amz-date", signed.date)
            .header(http::header::AUTHORIZATION, signed.authorization);
        if only_if_absent {
            request = request.header(http::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Error::Description(format!("no request can be made of it: {error}")))?;
        let answer = async {
            let stream = tokio::time::timeout(CONNECT_PATIENCE, self.connect())
                .await
                .map_err(|_| self.away("no connection in time"))?
                .map_err(|error| self.away(&error.to_string()))?;
            self.exchange(stream, request, bytes_max).await
        };
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| self.away("no answer in time"))?
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let Inner { host, port, tls, .. } = &*self.0;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }

    async fn exchange(
        &self,
        stream: Box<dyn Stream>,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Answer, Error> {
        let away = |error: hyper::Error| self.away(&error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(away)?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(away)?;
            let status = answer.status();
            let bytes_max = if status.is_success() { bytes_max } else { REFUSAL_BYTES_MAX };
            let body = Limited::new(answer.into_body(), bytes_max).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    Error::TooBig(format!("an answer of {self}"), bytes_max)
                } else {
                    self.away(&error.to_string())
                }
            })?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection may end with the answer's last byte.
            _ended = connection => answer.await,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn connector(authority_pem: Option<&str>) -> Result<TlsConnector, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = authority_pem {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate
                .map_err(|error| Error::Description(format!("the authority's certificate: {error:?}")))?;
            roots.add(certificate).map_err(|error| Error::Description(error.to_string()))?;
        }
    } else {
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that is of no use does not make the others useless.
            let _ignored = roots.add(certificate);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Description(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Display for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Description { endpoint, bucket, .. } = &self.0.description;
        write!(out, "the bucket {bucket} at {endpoint}")
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
