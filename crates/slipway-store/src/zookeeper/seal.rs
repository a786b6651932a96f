//! The form of what is in a node: JSON, and after it, on a line of its own, a code over it.
//!
//! The servers, their disks and everybody who may write below the root could change a record. The code
//! (HMAC-SHA-256, its first half) is over the record's full key and its JSON, with a key that is made
//! from the cluster's secret and its id: so a record that has rotted, was forged, or was copied from
//! another key, cluster or time before the key was changed is noticed.
//!
//! It is also over what the writer knew of the write beforehand ([`Written`]), which whoever reads
//! compares with what the servers say of the node. An earlier content that somebody puts back is
//! noticed by the node's version, which a set counts up; when the node was deleted and made again, so
//! that versions begin anew, by the transaction that wrote it, which no client chooses and which comes
//! long after the one that the content names.
//!
//! What is *not* noticed: that a record is missing; that a content was put back, in a node that was
//! made again, within so few transactions of its first writing that it could be late itself
//! ([`super::window`]: some seconds on a busy ensemble, minutes on a quiet one); an earlier leader's
//! node that was made again, which has no such bound (it stops the leader, and agents refuse the lists
//! of an earlier epoch); and what the servers themselves do: whoever has a majority of them, or
//! restores all of them from an old backup, decides what they say of nodes.
//!
//! The JSON stays readable for a person who looks with ZooKeeper's own tools. It has no line breaks, so
//! a payload with and one without a code are told apart.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use slipway_model::id::ClusterId;
use slipway_storage::mac::{keyed, same};

use super::wire::Stat;

/// What comes before [`Written`] and the code.
const MARK: &[u8] = b"\nhmac:";
const CODE_BYTES: usize = 16;

/// What is known of a write before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// The content version that the node has with it: 0 when it makes the node, and the one after the
    /// demanded one when it sets it.
    pub(super) version: i32,
    /// The newest transaction that the writer had seen anything of.
    pub(super) after: i64,
    /// How many transactions later than that it comes at most.
    pub(super) within: i64,
}

impl Written {
    /// Nothing is known but the version.
    pub(super) fn version(version: i32) -> Self {
        Self { version, after: 0, within: i64::MAX }
    }

    fn encode(&self) -> String {
        format!("{}:{:x}:{:x}:", self.version, self.after, self.within)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.split(':');
        let version = parts.next()?.parse().ok()?;
        let after = i64::from_str_radix(parts.next()?, 16).ok()?;
        let within = i64::from_str_radix(parts.next()?, 16).ok()?;
        // What comes after the last colon is nothing, and comes last.
        (parts.eq([""])).then_some(Self { version, after, within })
    }

    /// Whether it can be this write that the servers speak of.
    fn is(&self, stat: &Stat) -> bool {
        self.version == stat.version && self.comes_in_time(stat.mzxid)
    }

    /// Whether a write by this transaction would be believed. One after an election of the servers,
    /// which begins a new range of numbers, never is when `after` was before it.
    pub(super) fn comes_in_time(&self, transaction: i64) -> bool {
        transaction > self.after && transaction - self.after <= self.within
    }
}

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

    /// The payload of the node for `key`, which will be written so.
    pub(super) fn close(&self, key: &str, json: &[u8], written: Written) -> Vec<u8> {
        self.close_with(key, json, &written.encode())
    }

    /// The payload of a node of which an earlier content is as good as the present one.
    pub(super) fn close_for_ever(&self, key: &str, json: &[u8]) -> Vec<u8> {
        self.close_with(key, json, "")
    }

    fn close_with(&self, key: &str, json: &[u8], written: &str) -> Vec<u8> {
        let Some(mac) = &self.0 else { return json.to_vec() };
        [json, MARK, written.as_bytes(), &code(mac, key, written.as_bytes(), json)].concat()
    }

    /// The JSON in the payload of the node for `key`, of which the servers say this; or what is wrong
    /// with it.
    pub(super) fn open<'a>(
        &self,
        key: &str,
        payload: &'a [u8],
        stat: &Stat,
    ) -> Result<&'a [u8], &'static str> {
        let (json, written) = self.open_with(key, payload)?;
        match Written::parse(written) {
            _ if self.0.is_none() => Ok(json),
            Some(written) if written.is(stat) => Ok(json),
            _ => {
                Err("an earlier content of it was put back, or the node was moved here by other means than \
                      a backup of the servers")
            }
        }
    }

    /// The same for what was closed with [`Seal::close_for_ever`].
    pub(super) fn open_for_ever<'a>(&self, key: &str, payload: &'a [u8]) -> Result<&'a [u8], &'static str> {
        self.open_with(key, payload).map(|(json, _)| json)
    }

    /// The JSON and what is said of its writing.
    fn open_with<'a>(&self, key: &str, payload: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), &'static str> {
        let sealed = payload.iter().rposition(|byte| *byte == b'\n').and_then(|at| {
            let (json, rest) = payload.split_at(at);
            let rest = rest.strip_prefix(MARK)?;
            let (written, found) = rest.split_at_checked(rest.len().checked_sub(2 * CODE_BYTES)?)?;
            Some((json, written, found))
        });
        match (&self.0, sealed) {
            (None, None) => Ok((payload, &[])),
            (None, Some(_)) => {
                Err("it was written with a key for authentication, and none was given to read it")
            }
            (Some(_), None) => {
                Err("it is not authenticated: it was written without the cluster's key, or is damaged")
            }
            (Some(mac), Some((json, written, found))) if same(&code(mac, key, written, json), found) => {
                Ok((json, written))
            }
            (Some(_), Some(_)) => {
                Err("its authentication code is wrong: it is damaged, was forged or put in another's place, \
                 or another key was used to write it")
            }
        }
    }
}

/// In hexadecimal digits.
fn code(mac: &Hmac<Sha256>, key: &str, written: &[u8], json: &[u8]) -> [u8; 2 * CODE_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Neither a key nor what is said of the writing has line breaks.
    let parts = [key.as_bytes(), b"\n", written, b"\n", json];
    let code = parts.into_iter().fold(mac.clone(), Mac::chain_update).finalize().into_bytes();
    let mut text = [0; 2 * CODE_BYTES];
    for (digits, byte) in text.chunks_exact_mut(2).zip(code) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests;
