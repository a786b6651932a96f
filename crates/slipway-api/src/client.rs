//! The client: typed calls over one HTTP/1.1 connection each, to `http://`, `https://` or, for an
//! operator on the machine itself, `unix:/path`.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ErrorBody, ErrorCode};

mod attach;
mod connect;

pub use attach::{Attachment, Frame};
pub use connect::Server;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one we can use.
    #[error("{0:?} is not a server address: write http://host:port, https://host or unix:/path")]
    Address(String),
    /// Nobody answered there.
    #[error("cannot reach the Slipway server at {server}")]
    Connect {
        /// Where.
        server: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke or spoke something else than HTTP.
    #[error("the connection to {server} failed")]
    Http {
        /// Where.
        server: String,
        /// Why.
        source: hyper::Error,
    },
    /// The server refused.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// The answer was not of the expected form.
    #[error("the server's answer to {what} was not understood")]
    Answer {
        /// The call.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    /// The refusal's code, when it was one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Refused(body) => Some(body.code),
            _ => None,
        }
    }
}

/// A server and the token to use there.
#[derive(Clone)]
pub struct Client {
    server: Server,
    token: Option<String>,
    when_old: Option<fn(&str)>,
}

/// A header of answers that may be old, because no server leads that could tell better: when what they say
/// was last known to be so, in RFC 3339.
pub const AS_OF: &str = "slipway-as-of";

/// Answers are bounded too: a list of 1,000 releases is some 300 KiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl Client {
    /// A client without a token, for logging in.
    ///
    /// # Errors
    /// [`Error::Address`]
    pub fn new(address: &str) -> Result<Self, Error> {
        Ok(Self { server: Server::parse(address)?, token: None, when_old: None })
    }

    /// The same client with a token.
    pub fn with_token(mut self, token: String) -> Self {
        self.token = Some(token);
        self
    }

    /// The same client, which calls `tell` for each answer that may be old, with the time of it.
    pub fn when_old(mut self, tell: fn(&str)) -> Self {
        self.when_old = Some(tell);
        self
    }

    /// `GET`
    ///
    /// # Errors
    /// All of [`Error`].
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Error> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// `DELETE`
    ///
    /// # Errors
    /// All of [`Error`].
    pub async fn delete<A: DeserializeOwned>(&self, path: &str) -> Result<A, Error> {
        self.call(Method::DELETE, path, None::<&()>).await
    }

    /// `POST` with a body.
    ///
    /// # Errors
    /// All of [`Error`].
    pub async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, Error> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Any method, with or without a body.
    ///
    /// # Errors
    /// All of [`Error`].
    pub async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<A, Error> {
        let what = format!("{method} {path}");
        let response = self.send(method, path, body).await?;
        let bytes = self.collect(response).await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Answer { what, source })
    }

    /// `GET` of a stream; the caller reads frames until it ends.
    ///
    /// # Errors
    /// All of [`Error`] but [`Error::Answer`].
    pub async fn stream(&self, path: &str) -> Result<Stream, Error> {
        let response = self.send(Method::GET, path, None::<&()>).await?;
        Ok(Stream { body: response.into_body(), server: self.server.to_string() })
    }

    /// Connects to a one-off command.
    ///
    /// # Errors
    /// All of [`Error`] but [`Error::Answer`].
    pub async fn attach(&self, path: &str) -> Result<Attachment, Error> {
        let mut request = self.request(Method::GET, path, Bytes::new());
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("slipway-attach"));
        let response = self.exchange(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            let bytes = self.collect(response).await?;
            return Err(refusal(status, &bytes));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|source| Error::Http { server: self.server.to_string(), source })?;
        Ok(Attachment::new(TokioIo::new(upgraded)))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<http::Response<Incoming>, Error> {
        let what = format!("{method} {path}");
        let bytes = match body {
            Some(body) => serde_json::to_vec(body).map_err(|source| Error::Answer { what, source })?,
            None => Vec::new(),
        };
        let response = self.exchange(self.request(method, path, bytes.into())).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = self.collect(response).await?;
        Err(refusal(status, &bytes))
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // Paths are made of checked names and of queries that `query` below has encoded.
        *request.uri_mut() = path.parse().unwrap_or_else(|_| http::Uri::from_static("/"));
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.server.host_header());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        request
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, Error> {
        let http = |source| Error::Http { server: self.server.to_string(), source };
        let io = self.server.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(http)?;
        // Ends by itself when the answer has been read or given up.
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request).await.map_err(http)?;
        if let (Some(tell), Some(as_of)) = (self.when_old, response.headers().get(AS_OF)) {
            tell(as_of.to_str().unwrap_or("an unknown time"));
        }
        Ok(response)
    }

    async fn collect(&self, response: http::Response<Incoming>) -> Result<Bytes, Error> {
        let http = |source| Error::Http { server: self.server.to_string(), source };
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(http)?.into_data() {
                let room = ANSWER_BYTES_MAX.saturating_sub(bytes.len());
                bytes.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok(bytes.into())
    }
}

/// A body that is read as it comes.
pub struct Stream {
    body: Incoming,
    server: String,
}

impl Stream {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Http`] when the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| Error::Http { server: self.server.clone(), source })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

fn refusal(status: StatusCode, bytes: &[u8]) -> Error {
    let body = serde_json::from_slice(bytes).unwrap_or_else(|_| ErrorBody {
        code: ErrorCode::Internal,
        message: format!("the server answered {status} without saying why; is it a Slipway server?"),
    });
    Error::Refused(body)
}

/// A value for a query, percent-encoded.
pub fn query(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
