//! Secrets that the platform gives out: tokens, invitations, credentials, the claim.
//!
//! Each is `prefix_public…_secret_checksum`: the prefix lets a scanner recognise one that was
//! committed by mistake, the public parts say which record to look at, the secret is 256 random bits,
//! and the checksum tells a typing error from a wrong secret before anything is looked up. Only the
//! SHA-256 of the whole text is stored; no more is needed against guessing 256 bits.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The longest text that is looked at.
const BYTES_MAX: usize = 256;
const SECRET_CHARS: usize = 43;

/// What a secret is for; its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Token,
    Invitation,
    Credential,
    Claim,
}

impl Purpose {
    fn prefix(self) -> &'static str {
        match self {
            Purpose::Token => "slwp",
            Purpose::Invitation => "slwi",
            Purpose::Credential => "slwc",
            Purpose::Claim => "slwo",
        }
    }
}

/// Makes a secret; `public` parts contain no `_`.
pub(crate) fn make(purpose: Purpose, public: &[&str]) -> String {
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let mut text = purpose.prefix().to_owned();
    for part in public.iter().chain([&&*secret]) {
        text.push('_');
        text.push_str(part);
    }
    format!("{text}_{:08x}", crc32(text.as_bytes()))
}

/// The public parts of a text that has the shape of such a secret.
pub(crate) fn public_parts(purpose: Purpose, text: &str) -> Option<Vec<&str>> {
    if text.len() > BYTES_MAX || !text.is_ascii() {
        return None;
    }
    let (rest, checksum) = text.rsplit_once('_')?;
    if checksum != format!("{:08x}", crc32(rest.as_bytes())) {
        return None;
    }
    // The secret may itself contain '_', so it is cut off by its length.
    let (head, secret) = rest.split_at_checked(rest.len().checked_sub(SECRET_CHARS + 1)?)?;
    let public = head.strip_prefix(purpose.prefix())?;
    if !secret.starts_with('_') {
        return None;
    }
    match public.strip_prefix('_') {
        Some(public) => Some(public.split('_').collect()),
        None => public.is_empty().then(Vec::new),
    }
}

/// What is stored of a secret.
pub(crate) fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Compares without telling by its duration how much is right.
pub(crate) fn matches(text: &str, stored_hash: &str) -> bool {
    hash(text).as_bytes().ct_eq(stored_hash.as_bytes()).into()
}

/// The CRC of IEEE 802.3, bit by bit; texts are short.
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    !crc
}

#[cfg(test)]
mod tests;
