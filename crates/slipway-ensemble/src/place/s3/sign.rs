//! The signature of a request, version 4: the account's secret is turned into a key for the day, the
//! region and the service, and that key signs the parts of the request that matter.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

#[cfg(test)]
mod tests;

/// The headers that are signed, in the alphabet's order.
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// An account's keys.
#[derive(Clone)]
pub struct Keys {
    /// The one that is said.
    pub access: String,
    /// The one that is not.
    pub secret: String,
}

pub(super) struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// In the alphabet's order.
    pub query: &'a [(&'a str, &'a str)],
    pub authority: &'a str,
    pub region: &'a str,
    pub body: &'a [u8],
    pub now: SystemTime,
    pub keys: &'a Keys,
}

pub(super) struct Signed {
    /// Path and query, as they go over the wire.
    pub target: String,
    pub body_sha256: String,
    pub date: String,
    pub authorization: String,
}

pub(super) fn sign(asked: &Asked<'_>) -> Signed {
    let Asked { method, authority, region, keys, .. } = asked;
    let body_sha256 = hex::encode(Sha256::digest(asked.body));
    let date = date(asked.now);
    let day = &date[..8];
    let path = encode(asked.path, true);
    let query = asked
        .query
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)))
        .collect::<Vec<_>>()
        .join("&");
    let request = format!(
        "{method}\n{path}\n{query}\nhost:{authority}\nx-amz-content-sha256:{body_sha256}\n\
         x-amz-date:{date}\n\n{SIGNED}\n{body_sha256}"
    );
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(request)));
    let key = [day, region, "s3", "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", keys.secret).into_bytes(), |key, part| mac(&key, part));
    let signature = hex::encode(mac(&key, &text));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={SIGNED},Signature={signature}",
        keys.access
    );
    let target = if query.is_empty() { path } else { format!("{path}?{query}") };
    Signed { target, body_sha256, date, authorization }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn encode(text: &str, keep_slashes: bool) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_plain || (keep_slashes && byte == b'/') {
            out.push(char::from(byte));
        } else {
            let _never_fails = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// `20260102T030405Z`. Days are counted from the first of March, so that leap days come last.
fn date(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Keys({}, …)", self.access)
    }
}
