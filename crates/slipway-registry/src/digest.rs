//! Hashing while the bytes pass by.

use sha2::{Digest as _, Sha256, Sha512};
use slipway_model::id::Digest;

/// A hash in the making.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256, what everybody uses.
    Sha256(Sha256),
    /// SHA-512, the other registered algorithm.
    Sha512(Sha512),
}

impl Hasher {
    /// Starts a SHA-256.
    pub fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    /// Starts a hash of the same algorithm as `digest`.
    pub fn like(digest: &Digest) -> Self {
        match digest.algorithm() {
            "sha512" => Self::Sha512(Sha512::new()),
            _ => Self::sha256(),
        }
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        let text = match self {
            Self::Sha256(hash) => format!("sha256:{}", hex::encode(hash.finalize())),
            Self::Sha512(hash) => format!("sha512:{}", hex::encode(hash.finalize())),
        };
        text.parse().expect("a hash in lower-case hexadecimal is a digest")
    }
}

/// The SHA-256 digest of a text that is in memory.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::sha256();
    hasher.update(bytes);
    hasher.finish()
}
