//! Who may do what. A client is sent to `/token` with its user and password; it comes back with a
//! short-lived signed list of what it may do, and that list is asked at every request.
//!
//! The token is `<claims>.<mac>`, both base64url: the claims as JSON, and their HMAC-SHA-256 under
//! a key that is made at start and never leaves the process. A restart makes clients ask again.

use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::answer::{self, Refusal};
use super::{Body, Shared, query};
use crate::Repository;

/// What we call ourselves in challenges and tokens.
pub(super) const SERVICE: &str = "slipway-registry";
/// How long a token is good for: as long as a right may outlive its withdrawal.
const TOKEN_LIFE: Duration = Duration::from_secs(300);
/// Scopes in one request for a token.
const SCOPES_MAX: usize = 32;

/// Somebody who has proven who they are; the text is the authority's own, such as `user alice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(pub String);

/// What can be done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read.
    Pull,
    /// Add.
    Push,
    /// Remove.
    Delete,
}

impl Action {
    /// What to ask for in order to be allowed this; clients that push read as well.
    pub(super) fn scope(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            Self::Delete => "delete",
        }
    }
}

/// Who knows users and rights; `slipwayd` implements it over `slipway-access`.
pub trait Authority: Send + Sync + 'static {
    /// Who this is, if user and password (or token) fit. `from` is where the request came from.
    fn authenticate(
        &self,
        user: &str,
        password: &str,
        from: IpAddr,
    ) -> impl Future<Output = Option<Subject>> + Send;

    /// Whether they may. Asked for each repository and action when a token is made.
    fn allows(
        &self,
        subject: &Subject,
        repository: &Repository,
        action: Action,
    ) -> impl Future<Output = bool> + Send;
}

/// What the bearer of a token may do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Access {
    pub(super) subject: Subject,
    /// Seconds since 1970.
    expires: u64,
    rights: Vec<(String, Vec<Action>)>,
}

impl Access {
    pub(super) fn allows(&self, repository: &Repository, action: Action) -> bool {
        self.rights.iter().any(|(name, actions)| name == repository.as_str() && actions.contains(&action))
    }

    /// The repositories that may be read from.
    pub(super) fn readable(&self) -> impl Iterator<Item = Repository> {
        let readable = self.rights.iter().filter(|(_, actions)| actions.contains(&Action::Pull));
        readable.filter_map(|(name, _)| name.parse().ok())
    }
}

/// Makes and checks tokens.
pub(super) struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { key: rand::random() }
    }

    fn sign(&self, access: &Access) -> String {
        let claims = serde_json::to_vec(access).expect("strings and numbers are JSON");
        let claims = URL_SAFE_NO_PAD.encode(claims);
        let mac = self.mac(&claims).finalize().into_bytes();
        format!("{claims}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// What the request's token allows; `None` without a valid one.
    pub(super) fn check(&self, headers: &HeaderMap) -> Option<Access> {
        let token = credentials(headers, "bearer")?;
        let (claims, mac) = token.split_once('.')?;
        self.mac(claims).verify_slice(&URL_SAFE_NO_PAD.decode(mac).ok()?).ok()?;
        let access: Access = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (access.expires > now_seconds()).then_some(access)
    }

    fn mac(&self, claims: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(claims.as_bytes());
        mac
    }
}

impl<A: super::Authority> Shared<A> {
    /// `GET /token?service=…&scope=repository:<name>:<actions>` with Basic credentials. What is not
    /// allowed is left out of the token, without a word (distribution, "Token authentication").
    pub(super) async fn issue_token(&self, head: &Parts, from: IpAddr) -> Result<Response<Body>, Refusal> {
        if head.method != http::Method::GET {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "a token is asked for with GET",
            ));
        }
        let wrong = || {
            Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "the user name or password is wrong")
                .with(header::WWW_AUTHENTICATE, format!("Basic realm=\"{SERVICE}\""))
        };
        let (user, password) = basic(&head.headers).ok_or_else(wrong)?;
        let subject = self.authority.authenticate(&user, &password, from).await.ok_or_else(wrong)?;
        let mut rights = Vec::new();
        for (repository, actions) in scopes(head.uri.query()) {
            let mut allowed = Vec::new();
            for action in actions {
                if self.authority.allows(&subject, &repository, action).await {
                    allowed.push(action);
                }
            }
            rights.push((repository.to_string(), allowed));
        }
        let token =
            self.tokens.sign(&Access { subject, expires: now_seconds() + TOKEN_LIFE.as_secs(), rights });
        let answer =
            serde_json::json!({ "token": token, "access_token": token, "expires_in": TOKEN_LIFE.as_secs() });
        let mut response = answer::json(StatusCode::OK, &answer);
        answer::set(&mut response, header::CACHE_CONTROL, "no-store");
        Ok(response)
    }
}

/// The repositories and actions that a token is asked for. Several scopes come in one parameter,
/// divided by spaces, or in several.
fn scopes(query: Option<&str>) -> Vec<(Repository, Vec<Action>)> {
    let pairs = query::pairs(query);
    let texts = pairs.iter().filter(|(key, _)| key == "scope").flat_map(|(_, value)| value.split(' '));
    texts.take(SCOPES_MAX).filter_map(scope).collect()
}

fn scope(text: &str) -> Option<(Repository, Vec<Action>)> {
    let (name, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
    let actions = actions.split(',').flat_map(|action| match action {
        "pull" => vec![Action::Pull],
        "push" => vec![Action::Push],
        "delete" => vec![Action::Delete],
        "*" => vec![Action::Pull, Action::Push, Action::Delete],
        _ => vec![],
    });
    Some((name.parse().ok()?, actions.collect()))
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(credentials(headers, "basic")?).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn credentials<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
