//! What a request says: who asks, its query, its body.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Query};
use futures_util::StreamExt;
use http::request::Parts;
use http::{StatusCode, header};
use serde_json::Value;
use slipway_access::{Caller, Error};
use slipway_marathon::error::Error as Told;
use slipway_model::limit::API_BODY_BYTES_MAX;
use slipway_model::unit::Timestamp;

use super::refusal::Refusal;
use crate::api::{Api, Local};

/// A body must be there within this time, so that nobody holds a connection with half of one.
const BODY_TIME_MAX: Duration = Duration::from_secs(15);
/// A larger body is parsed where it keeps no other request waiting: a MiB takes some ten milliseconds.
const PARSED_AT_ONCE_MAX: usize = 64 << 10;
/// What is read and thrown away of a body that is too large, so that a client which writes all of it
/// before it reads gets its answer instead of a broken connection.
const DISCARD_BYTES_MAX: usize = 16 << 20;

/// A request without its body.
pub struct Asked {
    /// Who.
    pub caller: Caller,
    /// What follows the `?`.
    pub query: Parameters,
    /// Whence.
    pub source: IpAddr,
    /// The path, as it was sent.
    pub path: String,
    /// The `Accept` header.
    pub accept: String,
}

impl Asked {
    /// Checks who asks.
    pub async fn of(api: &Api, parts: &Parts) -> Result<Self, Refusal> {
        let source = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let source = source.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |info| info.0.ip());
        Ok(Self {
            caller: caller(api, parts, source).await?,
            query: Parameters::of(parts),
            source,
            path: parts.uri.path().to_owned(),
            accept: accept(parts),
        })
    }

    /// Whether others' deployments of the same apps are broken off.
    pub fn force(&self) -> bool {
        self.query.is_set("force")
    }
}

/// Bearer and Basic, and the `token=` of DC/OS, which marathon-python and dcos-cli send.
async fn caller(api: &Api, parts: &Parts, source: IpAddr) -> Result<Caller, Refusal> {
    let Some(header) = parts.headers.get(header::AUTHORIZATION) else {
        if parts.extensions.get::<Local>().is_some() {
            return Ok(api.access.local_operator());
        }
        return Err(Told::Unauthorized.into());
    };
    let text = header.to_str().map_err(|_| Error::NotAuthenticated)?;
    let is_basic = text.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "));
    if is_basic {
        return Ok(api.access.basic(text[6..].trim(), source).await?);
    }
    let is_bearer = text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    let token = if is_bearer { Some(&text[7..]) } else { text.strip_prefix("token=") };
    Ok(api.access.token(token.ok_or(Error::NotAuthenticated)?.trim()).await?)
}

/// The `Accept` header, empty when there is none.
pub fn accept(parts: &Parts) -> String {
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.unwrap_or_default().to_owned()
}

/// The query's names and values, in their order.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(parts: &Parts) -> Self {
        Self(Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default())
    }

    /// The values of a name, also of `name[]`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let is_it = move |known: &str| known == name || known.strip_suffix("[]") == Some(name);
        self.0.iter().filter(move |(known, _)| is_it(known)).map(|(_, value)| value.as_str())
    }

    /// The value of a name.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Whether the name is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// `?force`, `?force=true`, and Python's `?force=True`.
    pub fn flag(&self, name: &str) -> Option<bool> {
        let value = self.first(name)?;
        Some(value.is_empty() || value.eq_ignore_ascii_case("true") || value == "1")
    }

    /// A flag that is down unless raised.
    pub fn is_set(&self, name: &str) -> bool {
        self.flag(name).unwrap_or(false)
    }
}

/// The body as JSON; chunked or not is no difference (MA-28). `None` when it is empty.
///
/// # Errors
/// 400 when it is no JSON, 413 when it is too large, 408 when it takes too long.
pub async fn json(body: Body) -> Result<Option<Value>, Refusal> {
    let arriving = tokio::time::timeout(BODY_TIME_MAX, bytes(body));
    let slow = || Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long");
    let bytes = arriving.await.map_err(|_| slow())??;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    if bytes.len() <= PARSED_AT_ONCE_MAX {
        return Ok(Some(slipway_marathon::json::parse(&bytes)?));
    }
    let parsed = tokio::task::spawn_blocking(move || slipway_marathon::json::parse(&bytes)).await;
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be read");
    Ok(Some(parsed.map_err(failed)??))
}

/// The same for endpoints that need one.
///
/// # Errors
/// As for [`json`], and 400 when it is empty.
pub async fn some_json(body: Body) -> Result<Value, Refusal> {
    let empty = || Told::NotJson { what: "the body is empty".to_owned() };
    Ok(json(body).await?.ok_or_else(empty)?)
}

async fn bytes(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut discarded) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Told::BadRequest("the body did not arrive".to_owned()))?;
        if discarded == 0 && bytes.len() + chunk.len() <= API_BODY_BYTES_MAX {
            bytes.extend_from_slice(&chunk);
            continue;
        }
        discarded += bytes.len() + chunk.len();
        bytes = Vec::new();
        if discarded > DISCARD_BYTES_MAX {
            break;
        }
    }
    if discarded > 0 {
        return Err(Told::TooLarge { limit: API_BODY_BYTES_MAX }.into());
    }
    Ok(bytes)
}

/// What a version's text means.
pub fn version_of(text: &str) -> Result<Timestamp, Refusal> {
    let bad = || Told::BadRequest(format!("{text} is not a version, such as 2026-11-22T17:05:09.123Z"));
    Ok(slipway_marathon::timestamp::parse(text).ok_or_else(bad)?)
}

#[cfg(test)]
mod tests;
