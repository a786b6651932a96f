//! HMAC-SHA-256, as codes of objects and records are made with it.

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

/// A code that nothing has been put into yet, under that key.
pub fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // A shorter key is filled up with zeroes (RFC 2104).
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::<Sha256>::new(&block.into())
}

/// Whether two codes are the same, in a time that does not tell where they differ: whoever can write what is
/// compared could otherwise guess a code piece by piece.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other)) == 0
}
