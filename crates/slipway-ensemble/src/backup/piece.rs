//! A piece of a file: what is in one object.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Error, PART_BYTES};
use crate::user::open_plain;

/// The SHA-256 of a piece, before gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest([u8; 32]);

/// Up to [`PART_BYTES`] of a file.
pub(super) struct Piece {
    pub digest: Digest,
    bytes: Bytes,
}

/// Cuts a file into pieces.
pub(super) struct Reader {
    path: PathBuf,
    file: Option<File>,
    left: u64,
}

impl Reader {
    /// The file's first so many bytes.
    pub async fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        let opened = path.to_owned();
        let file = blocking(path, move || open_plain(&opened)).await?;
        Ok(Self { path: path.to_owned(), file: Some(file), left: bytes })
    }

    /// The next piece; nothing at the end. Not to be called again after an error.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        let length = self.left.min(PART_BYTES as u64);
        let Some(mut file) = self.file.take().filter(|_| length > 0) else { return Ok(None) };
        let read = move || {
            let mut bytes = vec![0; usize::try_from(length).expect("a part fits into memory")];
            file.read_exact(&mut bytes)?;
            Ok((file, Digest::of(&bytes), bytes))
        };
        let (file, digest, bytes) = blocking(&self.path, read).await?;
        self.file = Some(file);
        self.left -= length;
        Ok(Some(Piece { digest, bytes: bytes.into() }))
    }
}

impl Piece {
    pub async fn gzip(&self) -> Bytes {
        let bytes = self.bytes.clone();
        let compress = move || {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&bytes).and_then(|()| gzip.finish()).expect("memory takes everything")
        };
        Bytes::from(tokio::task::spawn_blocking(compress).await.expect("compressing does not panic"))
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub fn object(self) -> String {
        format!("{}.gz", hex::encode(self.0))
    }

    pub fn of_object(name: &str) -> Option<Self> {
        let digest = Self::parse(name.strip_suffix(".gz")?)?;
        (digest.object() == name).then_some(digest)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(Self(digest))
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no checksum"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        hex::encode(digest.0)
    }
}

/// What was in the object; nothing unless it is what its name says.
pub(super) fn unpack(gzip: &[u8], digest: Digest) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed has another checksum.
    GzDecoder::new(gzip).take(PART_BYTES as u64 + 1).read_to_end(&mut bytes).ok()?;
    (Digest::of(&bytes) == digest).then_some(bytes)
}

/// Does what waits for a disk, on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let outcome =
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    outcome.map_err(|error| Error::File(path.to_owned(), error))
}
