//! The form of what is in a node: JSON, and after it, on a line of its own, a code over it.
//!
//! The servers, their disks and everybody who may write below the root could change a record. The code
//! (HMAC-SHA-256, its first half) is over the record's full key and its JSON, with a key that is made
//! from the cluster's secret and its id: so a record that has rotted, was forged, or was copied from
//! another key, cluster or time before the key was changed is noticed. What cannot be noticed is that a
//! record is missing, or that an earlier content of the same record was put back.
//!
//! The JSON stays readable for a person who looks with ZooKeeper's own tools. It has no line breaks, so
//! a payload with and one without a code are told apart.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use slipway_model::id::ClusterId;

/// What comes before the code.
const MARK: &[u8] = b"\nhmac:";
const CODE_BYTES: usize = 16;

/// Seals payloads and opens them; without a key it does nothing, and refuses what was sealed.
#[derive(Clone)]
pub(super) struct Seal(Option<Hmac<Sha256>>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Seal(..)" } else { "Seal(without a key)" })
    }
}

impl Seal {
    pub(super) fn new(key: Option<&[u8; 32]>) -> Self {
        Self(key.map(keyed))
    }

    /// For the records of one cluster only.
    pub(super) fn of_cluster(&self, cluster: &ClusterId) -> Self {
        Self(self.0.clone().map(|mac| {
            let key = mac.chain_update(b"records of ").chain_update(cluster.as_str()).finalize();
            keyed(&key.into_bytes().into())
        }))
    }

    /// The payload of the node for `key`.
    pub(super) fn close(&self, key: &str, json: &[u8]) -> Vec<u8> {
        let mut payload = Vec::with_capacity(json.len() + MARK.len() + 2 * CODE_BYTES);
        payload.extend_from_slice(json);
        if let Some(mac) = &self.0 {
            payload.extend_from_slice(MARK);
            payload.extend_from_slice(&code(mac, key, json));
        }
        payload
    }

    /// The JSON in the payload of the node for `key`, or what is wrong with it.
    pub(super) fn open<'a>(&self, key: &str, payload: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let sealed = payload.len().checked_sub(MARK.len() + 2 * CODE_BYTES).and_then(|at| {
            let (json, rest) = payload.split_at(at);
            Some((json, rest.strip_prefix(MARK)?))
        });
        match (&self.0, sealed) {
            (None, None) => Ok(payload),
            (None, Some(_)) => {
                Err("it was written with a key for authentication, and none was given to read it")
            }
            (Some(_), None) => {
                Err("it is not authenticated: it was written without the cluster's key, or is damaged")
            }
            // In constant time: whoever can write nodes could otherwise guess a code bit by bit.
            (Some(mac), Some((json, found))) if same(&code(mac, key, json), found) => Ok(json),
            (Some(_), Some(_)) => {
                Err("its authentication code is wrong: it is damaged, was forged or put in another's place, \
                 or another key was used to write it")
            }
        }
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // A shorter key is filled up with zeroes (RFC 2104).
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::<Sha256>::new(&block.into())
}

/// In hexadecimal digits.
fn code(mac: &Hmac<Sha256>, key: &str, json: &[u8]) -> [u8; 2 * CODE_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // A key has no line breaks.
    let code = mac.clone().chain_update(key).chain_update(b"\n").chain_update(json).finalize().into_bytes();
    let mut text = [0; 2 * CODE_BYTES];
    for (digits, byte) in text.chunks_exact_mut(2).zip(code) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
