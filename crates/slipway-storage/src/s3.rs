//! A bucket with S3's API: Amazon's, Ceph's, or another's, spoken to by the crate `object_store`.
//!
//! Addresses are path style (`https://host/bucket/key`), which every server understands.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{
    Certificate, ClientOptions, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig, WriteMultipart,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Error, NAMES_MAX, Of};

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing may come of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a small request may take with its answer and what is tried again; a backup's part of some MiB
/// has to fit.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often what may be asked twice is tried again, when the server is in trouble.
const RETRIES_MAX: usize = 2;
/// Files go up in parts of this size.
const PART_BYTES: usize = 8 << 20;
/// So many parts of a file are under way at once.
const PARTS_MAX: usize = 2;
/// The longest that is told of a refusal.
const REASON_CHARS_MAX: usize = 500;

/// An account's keys.
#[derive(Clone)]
pub struct Keys {
    /// The one that is said.
    pub access: String,
    /// The one that is not.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Keys({})", self.access)
    }
}

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
    /// For what may be asked twice.
    repeating: AmazonS3,
    /// For what has to be asked once: the answer to a condition that was met may be lost, and asked again
    /// it is not met any more.
    once: AmazonS3,
}

impl Bucket {
    /// Reads the description. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// The description is wrong.
    pub fn new(description: Description) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Description(format!("{reason}: {}", description.endpoint));
        let endpoint: http::Uri = description.endpoint.parse().map_err(|_| wrong("not an address"))?;
        if !matches!(endpoint.scheme_str(), Some("https" | "http")) {
            return Err(wrong("the address begins with neither https:// nor http://"));
        }
        if !matches!(endpoint.path(), "" | "/") || endpoint.query().is_some() {
            return Err(wrong("the address has more than a host and a port"));
        }
        super::check(&description.bucket)?;
        if !description.prefix.is_empty() {
            super::check(&description.prefix)?;
        }
        let repeating = client(&description, RETRIES_MAX)?;
        let once = client(&description, 0)?;
        Ok(Self(Arc::new(Inner { description, repeating, once })))
    }

    /// Whether [`Place::create`](super::Place::create) may be relied upon; see [`Description`].
    pub fn trusts_conditions(&self) -> bool {
        self.0.description.trust_conditions
    }

    /// Whether the server knows `If-None-Match`: a second object of the same name has to be refused.
    /// The name should be one that nobody else uses.
    ///
    /// # Errors
    /// The bucket is away or refuses.
    pub async fn knows_conditions(&self, folder: &str, name: &str) -> Result<bool, Error> {
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

    pub(super) async fn list(&self, folder: &str, of: Of) -> Result<Vec<String>, Error> {
        let folder = self.key(folder, None);
        let listing = self.in_time(self.0.repeating.list_with_delimiter(Some(&folder))).await?;
        let paths = match of {
            Of::Objects => listing.objects.into_iter().map(|object| object.location).collect(),
            Of::Folders => listing.common_prefixes,
        };
        if paths.len() > NAMES_MAX {
            return Err(Error::TooBig(format!("the folder {folder}"), NAMES_MAX as u64));
        }
        Ok(paths.iter().filter_map(|path| path.filename()).map(str::to_owned).collect())
    }

    pub(super) async fn get(
        &self,
        folder: &str,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, Error> {
        let whole = async {
            let Some(found) = self.find(folder, name, bytes_max as u64).await? else { return Ok(None) };
            let mut bytes = BytesMut::new();
            let mut chunks = found.into_stream();
            while let Some(chunk) = chunks.try_next().await.map_err(|error| self.error(&error))? {
                if bytes.len() + chunk.len() > bytes_max {
                    return Err(Error::TooBig(format!("{folder}/{name}"), bytes_max as u64));
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(Some(bytes.freeze()))
        };
        tokio::time::timeout(PATIENCE, whole).await.map_err(|_| self.away("no answer in time"))?
    }

    pub(super) async fn get_file(
        &self,
        folder: &str,
        name: &str,
        to: &Path,
        bytes_max: u64,
    ) -> Result<bool, Error> {
        let unwritable = |source| Error::File { path: to.to_owned(), source };
        let Some(found) = self.find(folder, name, bytes_max).await? else { return Ok(false) };
        let mut file = tokio::fs::File::create(to).await.map_err(unwritable)?;
        let mut left = bytes_max;
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|error| self.error(&error))? {
            let too_big = || Error::TooBig(format!("{folder}/{name}"), bytes_max);
            left = left.checked_sub(chunk.len() as u64).ok_or_else(too_big)?;
            file.write_all(&chunk).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)?;
        Ok(true)
    }

    pub(super) async fn size(&self, folder: &str, name: &str) -> Result<Option<u64>, Error> {
        let key = self.key(folder, Some(name));
        let asked = self.in_time(self.0.repeating.head(&key)).await;
        Ok(missing_is_none(asked)?.map(|object| object.size))
    }

    pub(super) async fn put(&self, folder: &str, name: &str, bytes: Bytes) -> Result<(), Error> {
        let key = self.key(folder, Some(name));
        self.in_time(self.0.repeating.put(&key, PutPayload::from(bytes))).await.map(drop)
    }

    pub(super) async fn put_file(&self, folder: &str, name: &str, from: &Path) -> Result<(), Error> {
        let unreadable = |source| Error::File { path: from.to_owned(), source };
        let mut file = tokio::fs::File::open(from).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        if size <= PART_BYTES as u64 {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).await.map_err(unreadable)?;
            return self.put(folder, name, bytes.into()).await;
        }
        let key = self.key(folder, Some(name));
        let upload = self.in_time(self.0.repeating.put_multipart(&key)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut part = vec![0; PART_BYTES];
        loop {
            let read = match read_part(&mut file, &mut part).await {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    let _left_to_the_servers_own_sweeping = upload.abort().await;
                    return Err(unreadable(error));
                }
            };
            // It ends the upload by itself when it cannot go on.
            self.in_time(upload.wait_for_capacity(PARTS_MAX)).await?;
            upload.write(&part[..read]);
        }
        self.in_time(upload.finish()).await.map(drop)
    }

    pub(super) async fn create(&self, folder: &str, name: &str, bytes: Bytes) -> Result<bool, Error> {
        let key = self.key(folder, Some(name));
        let only_if_absent = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let asked = self.0.once.put_opts(&key, PutPayload::from(bytes), only_if_absent);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(object_store::Error::AlreadyExists { source, .. })) => {
                // Somebody else is about to create or delete it. Nobody has won yet.
                let is_undecided = source.to_string().contains("ConditionalRequestConflict");
                if is_undecided {
                    Err(self.away("another request for the same object is under way"))
                } else {
                    Ok(false)
                }
            }
            Ok(Err(error)) => Err(self.error(&error)),
            Err(_) => Err(self.away("no answer in time")),
        }
    }

    pub(super) async fn delete(&self, folder: &str, name: &str) -> Result<(), Error> {
        let key = self.key(folder, Some(name));
        let asked = self.in_time(self.0.repeating.delete(&key)).await;
        missing_is_none(asked).map(drop)
    }

    /// The beginning of an object.
    async fn find(&self, folder: &str, name: &str, bytes_max: u64) -> Result<Option<GetResult>, Error> {
        let key = self.key(folder, Some(name));
        let asked = self.in_time(self.0.repeating.get(&key)).await;
        let Some(found) = missing_is_none(asked)? else { return Ok(None) };
        if found.meta.size > bytes_max {
            return Err(Error::TooBig(format!("{folder}/{name}"), bytes_max));
        }
        Ok(Some(found))
    }

    fn key(&self, folder: &str, name: Option<&str>) -> object_store::path::Path {
        let parts = [
            Some(self.0.description.prefix.as_str()).filter(|prefix| !prefix.is_empty()),
            Some(folder),
            name,
        ];
        // Nothing in our names needs to be written in another way.
        object_store::path::Path::from(parts.into_iter().flatten().collect::<Vec<_>>().join("/"))
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.error(&error)),
            Err(_) => Err(self.away("no answer in time")),
        }
    }

    fn away(&self, reason: &str) -> Error {
        Error::Away { place: self.to_string(), reason: reason.to_owned() }
    }

    /// What an error of the crate's means to us. It says in its text alone whether it was the server's no.
    fn error(&self, error: &object_store::Error) -> Error {
        let text = error.to_string();
        let reason: String = text.chars().take(REASON_CHARS_MAX).collect();
        let is_no = match error {
            object_store::Error::NotFound { .. } if !text.contains("NoSuchBucket") => {
                return Error::Missing { place: self.to_string(), reason };
            }
            object_store::Error::Generic { .. } => {
                let status = text.split("status code: ").nth(1).and_then(|rest| rest.get(..3));
                // 408 and 429 ask for patience; 501 is for ever.
                status.is_some_and(|status| {
                    status == "501" || status.starts_with('4') && !matches!(status, "408" | "429")
                })
            }
            _ => true,
        };
        if is_no { Error::Refused { place: self.to_string(), reason } } else { self.away(&reason) }
    }
}

fn missing_is_none<T>(asked: Result<T, Error>) -> Result<Option<T>, Error> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read_part(file: &mut tokio::fs::File, part: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < part.len() {
        match file.read(&mut part[read..]).await? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

fn client(description: &Description, retries_max: usize) -> Result<AmazonS3, Error> {
    let wrong = |error: object_store::Error| Error::Description(error.to_string());
    // Somebody else in this program may have chosen the same before.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let mut options = ClientOptions::new()
        .with_allow_http(description.endpoint.starts_with("http://"))
        .with_connect_timeout(CONNECT_PATIENCE)
        .with_read_timeout(SILENCE_MAX)
        .with_timeout_disabled();
    if let Some(pem) = &description.authority_pem {
        options = Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(wrong)?
            .into_iter()
            .fold(options.with_no_system_certificates(true), ClientOptions::with_root_certificate);
    }
    AmazonS3Builder::new()
        .with_endpoint(description.endpoint.trim_end_matches('/'))
        .with_region(&description.region)
        .with_bucket_name(&description.bucket)
        .with_access_key_id(&description.keys.access)
        .with_secret_access_key(&description.keys.secret)
        .with_allow_http(description.endpoint.starts_with("http://"))
        .with_virtual_hosted_style_request(false)
        // A file is deleted by a request of its own, which every server knows.
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig {
            max_retries: retries_max,
            retry_timeout: PATIENCE,
            ..RetryConfig::default()
        })
        .with_client_options(options)
        .build()
        .map_err(wrong)
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
