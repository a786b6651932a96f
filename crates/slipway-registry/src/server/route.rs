//! What a request asks for. Pure: method and URL in, an [`Operation`] or a refusal out. A
//! repository's name has slashes, so paths are read from their end.

use http::{Method, StatusCode, Uri};
use slipway_model::id::Digest;

use super::answer::Refusal;
use super::query;
use super::token::Action;
use crate::{Reference, Repository, Tag};

/// Tags in one answer; a larger `n` is clamped to this (N44, CVE-2023-2253).
pub(super) const TAGS_MAX: usize = 1000;
/// `tag=` parameters of one manifest.
const TAGS_PER_PUT_MAX: usize = 32;

/// One endpoint of the specification, with its arguments parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Version,
    GetManifest { repository: Repository, reference: Reference },
    PutManifest { repository: Repository, reference: Reference, tags: Vec<Tag> },
    DeleteManifest { repository: Repository, reference: Reference },
    ListTags { repository: Repository, last: String, count: usize },
    ListReferrers { repository: Repository, subject: Digest, artifact_type: Option<String> },
    GetBlob { repository: Repository, digest: Digest },
    DeleteBlob { repository: Repository, digest: Digest },
    StartUpload { repository: Repository, start: Start },
    ContinueUpload { repository: Repository, id: String },
    FinishUpload { repository: Repository, id: String, digest: Digest },
    GetUpload { repository: Repository, id: String },
    CancelUpload { repository: Repository, id: String },
}

/// The ways to start an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// The bytes come in later requests; perhaps hashed with another algorithm than SHA-256.
    Session { algorithm_of: Option<Digest> },
    /// The bytes come in this request.
    Whole { digest: Digest },
    /// The bytes are already here, in another repository.
    Mount { digest: Digest, from: Option<Repository> },
}

impl Operation {
    /// The right that the operation needs; `None` if any caller with a valid token may.
    pub(super) fn needs(&self) -> Option<(&Repository, Action)> {
        use Operation as O;
        Some(match self {
            O::Version => return None,
            O::GetManifest { repository, .. }
            | O::ListTags { repository, .. }
            | O::ListReferrers { repository, .. }
            | O::GetBlob { repository, .. } => (repository, Action::Pull),
            O::PutManifest { repository, .. }
            | O::StartUpload { repository, .. }
            | O::ContinueUpload { repository, .. }
            | O::FinishUpload { repository, .. }
            | O::GetUpload { repository, .. }
            | O::CancelUpload { repository, .. } => (repository, Action::Push),
            O::DeleteManifest { repository, .. } | O::DeleteBlob { repository, .. } => {
                (repository, Action::Delete)
            }
        })
    }
}

pub(super) fn parse(method: &Method, uri: &Uri) -> Result<Operation, Refusal> {
    let path = query::decode(uri.path()).ok_or_else(no_endpoint)?;
    let rest = path.strip_prefix("/v2").ok_or_else(no_endpoint)?;
    if matches!(rest, "" | "/") {
        return one_of(method, &[(&Method::GET, Operation::Version), (&Method::HEAD, Operation::Version)]);
    }
    let rest = rest.strip_prefix('/').ok_or_else(no_endpoint)?;
    let query = query::pairs(uri.query());

    if let Some(name) = rest.strip_suffix("/tags/list") {
        let (last, count) = tag_page(&query)?;
        return one_of(
            method,
            &[(&Method::GET, Operation::ListTags { repository: repository(name)?, last, count })],
        );
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
        let start = Operation::StartUpload { repository: repository(name)?, start: start(&query)? };
        return one_of(method, &[(&Method::POST, start)]);
    }
    if let Some((name, id)) = rest.rsplit_once("/blobs/uploads/") {
        return upload(method, repository(name)?, id.to_owned(), &query);
    }
    let (before, last) = rest.rsplit_once('/').ok_or_else(no_endpoint)?;
    let (name, kind) = before.rsplit_once('/').ok_or_else(no_endpoint)?;
    match kind {
        "manifests" => manifest(method, repository(name)?, last, &query),
        "blobs" => {
            let (repository, digest) = (repository(name)?, digest(last)?);
            let get = || Operation::GetBlob { repository: repository.clone(), digest: digest.clone() };
            let delete = Operation::DeleteBlob { repository: repository.clone(), digest: digest.clone() };
            one_of(method, &[(&Method::GET, get()), (&Method::HEAD, get()), (&Method::DELETE, delete)])
        }
        "referrers" => {
            let artifact_type =
                query::value(&query, "artifactType").filter(|kind| !kind.is_empty()).map(str::to_owned);
            let list = Operation::ListReferrers {
                repository: repository(name)?,
                subject: digest(last)?,
                artifact_type,
            };
            one_of(method, &[(&Method::GET, list)])
        }
        _ => Err(no_endpoint()),
    }
}

fn manifest(
    method: &Method,
    repository: Repository,
    reference: &str,
    query: &[(String, String)],
) -> Result<Operation, Refusal> {
    let reference: Reference = reference.parse().map_err(|error: crate::name::NameError| {
        let code = if error.kind == "digest" { "DIGEST_INVALID" } else { "MANIFEST_INVALID" };
        bad(code, error.to_string())
    })?;
    let tags: Vec<Tag> = {
        let texts = query.iter().filter(|(key, _)| key == "tag").take(TAGS_PER_PUT_MAX + 1);
        texts
            .map(|(_, text)| text.parse())
            .collect::<Result<_, _>>()
            .map_err(|error: crate::name::NameError| bad("MANIFEST_INVALID", error.to_string()))?
    };
    if tags.len() > TAGS_PER_PUT_MAX {
        return Err(bad("MANIFEST_INVALID", format!("more than {TAGS_PER_PUT_MAX} tags in one request")));
    }
    let get = || Operation::GetManifest { repository: repository.clone(), reference: reference.clone() };
    let put = Operation::PutManifest { repository: repository.clone(), reference: reference.clone(), tags };
    let delete = Operation::DeleteManifest { repository: repository.clone(), reference: reference.clone() };
    one_of(
        method,
        &[(&Method::GET, get()), (&Method::HEAD, get()), (&Method::PUT, put), (&Method::DELETE, delete)],
    )
}

fn upload(
    method: &Method,
    repository: Repository,
    id: String,
    query: &[(String, String)],
) -> Result<Operation, Refusal> {
    Ok(match *method {
        Method::PATCH => Operation::ContinueUpload { repository, id },
        Method::PUT => {
            let text = query::value(query, "digest")
                .ok_or_else(|| bad("DIGEST_INVALID", "the digest parameter is missing"))?;
            Operation::FinishUpload { repository, id, digest: digest(text)? }
        }
        Method::GET => Operation::GetUpload { repository, id },
        Method::DELETE => Operation::CancelUpload { repository, id },
        _ => return Err(no_method()),
    })
}

fn start(query: &[(String, String)]) -> Result<Start, Refusal> {
    if let Some(text) = query::value(query, "mount") {
        // A source that cannot exist is one that this caller cannot read: an upload it is.
        let from = query::value(query, "from").map(|from| from.parse().ok());
        let digest = digest(text)?;
        return Ok(match from {
            Some(None) => Start::Session { algorithm_of: None },
            Some(Some(from)) => Start::Mount { digest, from: Some(from) },
            None => Start::Mount { digest, from: None },
        });
    }
    if let Some(text) = query::value(query, "digest") {
        return Ok(Start::Whole { digest: digest(text)? });
    }
    let algorithm_of = match query::value(query, "digest-algorithm") {
        None => None,
        // Any digest of the algorithm stands for it.
        Some("sha256") => format!("sha256:{}", "0".repeat(64)).parse().ok(),
        Some("sha512") => format!("sha512:{}", "0".repeat(128)).parse().ok(),
        Some(_) => return Err(bad("DIGEST_INVALID", "the digest algorithm is neither sha256 nor sha512")),
    };
    Ok(Start::Session { algorithm_of })
}

fn tag_page(query: &[(String, String)]) -> Result<(String, usize), Refusal> {
    let last = query::value(query, "last").unwrap_or_default().to_owned();
    let count = match query::value(query, "n") {
        None | Some("") => TAGS_MAX,
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse::<usize>().unwrap_or(TAGS_MAX).min(TAGS_MAX)
        }
        Some(_) => return Err(bad("PAGINATION_NUMBER_INVALID", "n is not a number")),
    };
    Ok((last, count))
}

fn one_of(method: &Method, known: &[(&Method, Operation)]) -> Result<Operation, Refusal> {
    known.iter().find(|(own, _)| *own == method).map(|(_, operation)| operation.clone()).ok_or_else(no_method)
}

fn repository(text: &str) -> Result<Repository, Refusal> {
    text.parse().map_err(|error: crate::name::NameError| bad("NAME_INVALID", error.to_string()))
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: slipway_model::name::NameError| bad("DIGEST_INVALID", error.to_string()))
}

fn bad(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, message)
}

fn no_endpoint() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such endpoint")
}

fn no_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the endpoint does not have this method")
}

#[cfg(test)]
mod tests;
