//! Names of the distribution specification: repositories, tags, references. Parsed once, at the
//! edge, so that no path or key is ever made of an unchecked text (N48).

use std::fmt;
use std::str::FromStr;

use slipway_model::id::Digest;
use slipway_model::name::ProjectPath;

/// Longest repository name. The specification leaves it open; clients agree on 255 with the host.
const REPOSITORY_BYTES_MAX: usize = 255;
/// Longest tag (OCI distribution, "Pulling manifests").
const TAG_BYTES_MAX: usize = 128;

/// Why a text is not a repository, tag or reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {kind}")]
pub struct NameError {
    /// `repository name`, `tag` or `reference`.
    pub kind: &'static str,
    /// The refused text, shortened to 80 characters.
    pub text: String,
}

impl NameError {
    fn new(kind: &'static str, text: &str) -> Self {
        Self { kind, text: text.chars().take(80).collect() }
    }
}

/// `tenant/project` and perhaps more levels below.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(String);

impl Repository {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The repository of a project's images.
    pub fn of_project(project: &ProjectPath) -> Self {
        // A project path is a narrower grammar than a repository name.
        Self(project.to_string())
    }

    /// The first level: the tenant that owns it.
    pub fn tenant(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }
}

impl FromStr for Repository {
    type Err = NameError;

    /// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, joined by `/` (OCI distribution, "Pulling manifests").
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > REPOSITORY_BYTES_MAX || !text.split('/').all(is_path_component) {
            return Err(NameError::new("repository name", text));
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_path_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_fit =
        bytes.first().is_some_and(|b| alphanumeric(*b)) && bytes.last().is_some_and(|b| alphanumeric(*b));
    let separators_fit = text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'));
    ends_fit && separators_fit
}

/// A movable name of a manifest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    /// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let first_fits = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let rest_fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !first_fits || !rest_fits || text.len() > TAG_BYTES_MAX {
            return Err(NameError::new("tag", text));
        }
        Ok(Self(text.to_owned()))
    }
}

/// How a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By a name that may move.
    Tag(Tag),
    /// By its content.
    Digest(Digest),
}

impl Reference {
    /// Takes apart what people write for an image: `repository@digest`, `repository:tag`, or
    /// `repository` alone for the tag `latest`. The first value is the repository's part, unread.
    pub fn split(image: &str) -> (&str, Result<Self, NameError>) {
        if let Some((repository, text)) = image.split_once('@') {
            let digest = text.parse().map_err(|_| NameError::new("digest", text));
            return (repository, digest.map(Self::Digest));
        }
        let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        (repository, tag.parse().map(Self::Tag))
    }
}

impl FromStr for Reference {
    type Err = NameError;

    /// A tag has no `:`, a digest always has one.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') {
            return text.parse().map(Self::Digest).map_err(|_| NameError::new("digest", text));
        }
        text.parse().map(Self::Tag)
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag.as_str()),
            Self::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}

macro_rules! shown_as_text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
shown_as_text!(Repository);
shown_as_text!(Tag);

#[cfg(test)]
mod tests;
