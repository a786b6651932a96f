//! The text of a join token: `slwj_<id>_<authority>_<secret>_<checksum>`.
//!
//! Like the other secrets that the platform gives out (`slipway-access`), it has a prefix by which a
//! scanner knows it and a checksum that tells a slip of the hand from a wrong secret. Only the SHA-256
//! of the whole text is stored.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use slipway_model::id::JoinTokenId;

use crate::error::Error;

const PREFIX: &str = "slwj";

/// 256 bits in base64url.
const SECRET_CHARS: usize = 43;

/// 128 bits in hexadecimal.
const FINGERPRINT_CHARS: usize = 32;

/// A join token, as the operator carries it to the machine.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinText {
    text: String,
    id: JoinTokenId,
    fingerprint: String,
}

impl JoinText {
    /// Puts a token together from its id, 32 random bytes, and what names the authority.
    pub fn new(id: JoinTokenId, fingerprint: &str, secret: [u8; 32]) -> Self {
        let text = format!("{PREFIX}_{id}_{fingerprint}_{}", URL_SAFE_NO_PAD.encode(secret));
        let text = format!("{text}_{:08x}", crc32(text.as_bytes()));
        Self { text, id, fingerprint: fingerprint.to_owned() }
    }

    /// Which token's.
    pub fn id(&self) -> &JoinTokenId {
        &self.id
    }

    /// What the authority of its cluster is known by.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// All of it, with the secret.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl FromStr for JoinText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::Token { why };
        let shape = || bad("it must look like slwj_…, as 'slipway nodes token' prints it");
        let length = PREFIX.len() + 17 + FINGERPRINT_CHARS + SECRET_CHARS + 8 + 4;
        if !text.is_ascii() || !text.starts_with(PREFIX) {
            return Err(shape());
        }
        if text.len() != length {
            return Err(bad("it is not complete, or there is something after it"));
        }
        let (rest, checksum) = text.split_at(length - 9);
        if checksum != format!("_{:08x}", crc32(rest.as_bytes())) {
            return Err(bad("some of its characters are not as they were printed"));
        }
        let mut parts = rest.splitn(4, '_').skip(1);
        let id = parts.next().and_then(|id| id.parse().ok()).ok_or_else(shape)?;
        let is_hex = |text: &&str| {
            text.len() == FINGERPRINT_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let fingerprint = parts.next().filter(is_hex).ok_or_else(shape)?.to_owned();
        Ok(Self { text: text.to_owned(), id, fingerprint })
    }
}

/// Without the secret.
impl fmt::Debug for JoinText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinText").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The CRC of IEEE 802.3, as in the other secrets.
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    !crc
}

#[cfg(test)]
mod tests;
