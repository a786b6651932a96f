//! What a request says, as the model's types: who asks, what the path names, the body.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request};
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::de::DeserializeOwned;
use slipway_access::{Caller, Error, Kind};
use slipway_api::error::ErrorCode;
use slipway_model::name::{EnvironmentPath, NameError, ProjectPath};

use super::{Api, Refusal};

/// Marks requests that came through the server's own socket, which only root can open.
#[derive(Debug, Clone, Copy)]
pub struct Local;

/// Who asks. Checked before anything else of the request is looked at.
pub struct Asking(pub Caller);

impl FromRequestParts<Api> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let header = parts.headers.get(AUTHORIZATION);
        if header.is_none() && parts.extensions.get::<Local>().is_some() {
            return Ok(Self(api.access.local_operator()));
        }
        let text = header.and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("Bearer "));
        let token = text.ok_or_else(|| Refusal::from(Error::NotAuthenticated))?;
        Ok(Self(api.access.token(token.trim()).await?))
    }
}

/// Where the request comes from, for slowing down those who guess.
pub struct Source(pub IpAddr);

impl FromRequestParts<Api> for Source {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Refusal> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |info| info.0.ip())))
    }
}

/// A body must be there within this time, so that nobody holds a connection with half of one.
const BODY_TIME_MAX: Duration = Duration::from_secs(15);

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        let arriving = tokio::time::timeout(BODY_TIME_MAX, bytes::Bytes::from_request(request, api));
        let arrived =
            arriving.await.map_err(|_| Refusal::new(ErrorCode::BadRequest, "the body took too long"))?;
        let bytes = arrived.map_err(|rejection| {
            let code = match rejection.status() {
                http::StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
                _ => ErrorCode::BadRequest,
            };
            Refusal::new(code, "the body is larger than 1 MiB, or did not arrive")
        })?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Body).map_err(|error| {
            let code = if error.is_data() { ErrorCode::Invalid } else { ErrorCode::BadRequest };
            Refusal::new(code, format!("the body is not what this endpoint takes: {error}"))
        })
    }
}

/// One parameter of the path by its name, as the type that it must be.
pub struct Named<T>(pub T);

macro_rules! named {
    ($type:ty, $param:literal) => {
        impl FromRequestParts<Api> for Named<$type> {
            type Rejection = Refusal;

            async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
                let text = parameters(parts, api, &[$param]).await?;
                Ok(Self(text.parse().map_err(unknown)?))
            }
        }
    };
}
named!(slipway_model::name::TenantName, "tenant");
named!(slipway_model::name::UserName, "user");
named!(slipway_model::name::NodeName, "node");
named!(slipway_model::id::TokenId, "token");
named!(slipway_model::id::JoinTokenId, "token");
named!(slipway_model::id::InvitationId, "invitation");
named!(slipway_model::id::BuildNumber, "build");
named!(slipway_model::id::DeploymentNumber, "deployment");
named!(slipway_model::id::InstanceId, "instance");

impl FromRequestParts<Api> for Named<ProjectPath> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let text = parameters(parts, api, &["tenant", "project"]).await?;
        Ok(Self(text.parse().map_err(unknown)?))
    }
}

impl FromRequestParts<Api> for Named<EnvironmentPath> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let text = parameters(parts, api, &["tenant", "project", "environment"]).await?;
        Ok(Self(text.parse().map_err(unknown)?))
    }
}

/// The tenant whose quota it is: of operators' paths, where a tenant's name gives no right in it.
pub struct Owner(pub slipway_model::name::TenantName);

impl FromRequestParts<Api> for Owner {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let text = parameters(parts, api, &["owner"]).await?;
        Ok(Self(text.parse().map_err(unknown)?))
    }
}

/// A fingerprint as it is written in a path, `/` as `_`.
pub struct Fingerprint(pub slipway_model::id::KeyFingerprint);

impl FromRequestParts<Api> for Fingerprint {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let text = parameters(parts, api, &["fingerprint"]).await?;
        Ok(Self(text.replace('_', "/").parse().map_err(unknown)?))
    }
}

/// A host name in the path; which names are good is the domain layer's to say.
pub struct Host(pub String);

impl FromRequestParts<Api> for Host {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        Ok(Self(parameters(parts, api, &["host"]).await?))
    }
}

/// The named parameters, joined by `/`.
async fn parameters(parts: &mut Parts, api: &Api, names: &[&str]) -> Result<String, Refusal> {
    let found = RawPathParams::from_request_parts(parts, api).await;
    let found = found.map_err(|_| Refusal::new(ErrorCode::BadRequest, "the path is not UTF-8"))?;
    let value = |name: &str| found.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
    let values: Vec<&str> = names.iter().map(|name| value(name)).collect();
    Ok(values.join("/"))
}

/// A path that names something impossible names nothing.
fn unknown(error: NameError) -> Refusal {
    Refusal::new(ErrorCode::NotFound, error.to_string())
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::NotAuthenticated => ErrorCode::NotLoggedIn,
            Kind::Throttled => ErrorCode::TooManyRequests,
            Kind::NotFound => ErrorCode::NotFound,
            Kind::Forbidden => ErrorCode::Forbidden,
            Kind::Conflict => ErrorCode::Conflict,
            Kind::Invalid => ErrorCode::Invalid,
            Kind::Unavailable => ErrorCode::Unavailable,
            Kind::Internal => return Refusal::internal(&error),
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Refusal::new(code, format!("{error}{cause}"))
    }
}
