//! Manifests, tags and referrers over HTTP.

use http::StatusCode;
use http::header::{self, HeaderName};
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use slipway_model::id::Digest;

use super::answer::{self, CONTENT_DIGEST, Refusal};
use super::{Answer, blocking};
use crate::error::Error;
use crate::image::{Index, media_type};
use crate::store::{MANIFEST_BYTES_MAX, PutManifest};
use crate::{Reference, Registry, Repository, Tag};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

pub(super) fn get(registry: &Registry, repository: &Repository, reference: &Reference, head: bool) -> Answer {
    let unknown =
        || Error::ManifestUnknown { repository: repository.clone(), reference: reference.to_string() };
    let manifest = registry.manifest(repository, reference)?.ok_or_else(unknown)?;
    let length = manifest.bytes.len();
    let bytes = if head { bytes::Bytes::new() } else { manifest.bytes };
    let mut response = answer::typed(StatusCode::OK, &manifest.media_type, bytes);
    answer::set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    answer::set(&mut response, CONTENT_DIGEST, manifest.digest.as_str());
    answer::set(&mut response, header::ETAG, &format!("\"{}\"", manifest.digest));
    Ok(response)
}

pub(super) async fn put(
    registry: &Registry,
    repository: Repository,
    reference: Reference,
    mut tags: Vec<Tag>,
    head: &Parts,
    body: &mut Incoming,
) -> Answer {
    let media_type = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    let bytes = match Limited::new(body, MANIFEST_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("a manifest has at most {MANIFEST_BYTES_MAX} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message));
        }
        Err(_) => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "the body was cut off"));
        }
    };
    let mut response = answer::empty(StatusCode::CREATED);
    let digest = match &reference {
        Reference::Digest(digest) => {
            for tag in &tags {
                if let Ok(tag) = tag.as_str().parse() {
                    response.headers_mut().append(TAG, tag);
                }
            }
            Some(digest.clone())
        }
        Reference::Tag(tag) => {
            tags = vec![tag.clone()];
            None
        }
    };
    let (registry, location) = (registry.clone(), format!("/v2/{repository}/manifests/"));
    let put = blocking(move || {
        registry.put(
            &repository,
            &PutManifest { bytes: &bytes, media_type: &media_type, digest: digest.as_ref(), tags: &tags },
        )
    })
    .await?;
    answer::set(&mut response, header::LOCATION, &format!("{location}{}", put.digest));
    answer::set(&mut response, CONTENT_DIGEST, put.digest.as_str());
    if let Some(subject) = put.subject {
        answer::set(&mut response, SUBJECT, subject.as_str());
    }
    Ok(response)
}

pub(super) async fn delete(registry: &Registry, repository: Repository, reference: Reference) -> Answer {
    let registry = registry.clone();
    blocking(move || match reference {
        Reference::Tag(tag) => registry.delete_tag(&repository, &tag),
        Reference::Digest(digest) => registry.delete_manifest(&repository, &digest),
    })
    .await?;
    Ok(answer::empty(StatusCode::ACCEPTED))
}

pub(super) fn list_tags(registry: &Registry, repository: &Repository, last: &str, count: usize) -> Answer {
    // One more than asked, to know whether there is a next page.
    let Some(mut tags) = registry.tags(repository, last, count + 1)? else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            format!("{repository} is not known"),
        ));
    };
    let has_more = tags.len() > count;
    tags.truncate(count);
    let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    let mut response =
        answer::json(StatusCode::OK, &serde_json::json!({ "name": repository.as_str(), "tags": names }));
    if let Some(last) = names.last().filter(|_| has_more) {
        let link = format!("</v2/{repository}/tags/list?n={count}&last={last}>; rel=\"next\"");
        answer::set(&mut response, header::LINK, &link);
    }
    Ok(response)
}

/// Always an index, empty for a subject that we have never seen (OCI distribution, "Listing
/// referrers").
pub(super) fn list_referrers(
    registry: &Registry,
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Answer {
    let mut manifests = registry.referrers(repository, subject)?;
    if let Some(wanted) = artifact_type {
        manifests.retain(|referrer| referrer.artifact_type.as_deref() == Some(wanted));
    }
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX.to_owned(),
        manifests,
        annotations: Default::default(),
    };
    let mut response = answer::json(StatusCode::OK, &index);
    answer::set(&mut response, header::CONTENT_TYPE, media_type::INDEX);
    if artifact_type.is_some() {
        answer::set(&mut response, FILTERS, "artifactType");
    }
    Ok(response)
}
