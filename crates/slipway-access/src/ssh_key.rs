//! Public keys as OpenSSH writes them (RFC 4253 section 6.6, RFC 5656, RFC 8709, OpenSSH's
//! PROTOCOL.u2f), read with care: a line that is not wholly understood is refused.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use slipway_model::id::KeyFingerprint;

use crate::error::Error;

/// An RSA key of 16,384 bits has 2,800 characters.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Shortest RSA modulus that is accepted (N18).
const RSA_BITS_MIN: usize = 2048;
/// Longer ones only cost time at each login.
const RSA_BITS_MAX: usize = 16_384;
const LABEL_CHARS_MAX: usize = 100;

const ACCEPTED: &str = "ssh-ed25519, ecdsa-sha2-nistp256/384/521, sk-ssh-ed25519, sk-ecdsa-sha2-nistp256, \
                        or ssh-rsa with at least 2048 bits";

/// A public key that has been understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// `SHA256:…`, as OpenSSH prints it.
    pub fingerprint: KeyFingerprint,
    /// `algorithm base64`.
    pub text: String,
    /// The comment, as far as it can be printed.
    pub label: String,
}

impl PublicKey {
    /// Reads one line of a `.pub` file.
    ///
    /// # Errors
    /// [`Error::Invalid`] with a sentence for whoever pasted the line.
    pub fn parse(line: &str) -> Result<Self, Error> {
        let line = line.trim();
        if line.contains("PRIVATE KEY") {
            return Err(Error::invalid(
                "this is a private key: it must not leave your machine; give the line of the .pub file",
            ));
        }
        if line.len() > LINE_BYTES_MAX || line.contains(['\n', '\r', '\0']) {
            return Err(Error::invalid("an SSH public key is one line, as in a .pub file"));
        }
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let (Some(algorithm), Some(encoded)) = (words.next(), words.next()) else {
            return Err(Error::invalid(
                "an SSH public key is one line: the algorithm, a space, and the key in base64",
            ));
        };
        let label: String = words.collect::<Vec<_>>().join(" ");
        let label = label.chars().filter(|c| !c.is_control()).take(LABEL_CHARS_MAX).collect();
        let accepted = matches!(
            algorithm,
            "ssh-ed25519"
                | "ssh-rsa"
                | "ecdsa-sha2-nistp256"
                | "ecdsa-sha2-nistp384"
                | "ecdsa-sha2-nistp521"
                | "sk-ssh-ed25519@openssh.com"
                | "sk-ecdsa-sha2-nistp256@openssh.com"
        );
        if !accepted {
            let shown: String = algorithm.chars().filter(|c| c.is_ascii_graphic()).take(60).collect();
            return Err(Error::invalid(format!(
                "{shown:?} is not a kind of SSH key that is accepted; use {ACCEPTED}"
            )));
        }
        let blob = STANDARD
            .decode(encoded)
            .map_err(|_| Error::invalid("the key is not whole: its base64 is broken"))?;
        check_blob(algorithm, &blob).map_err(|why| Error::invalid(format!("the {algorithm} key {why}")))?;
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))).parse()?;
        Ok(Self { fingerprint, text: format!("{algorithm} {encoded}"), label })
    }
}

fn check_blob(algorithm: &str, blob: &[u8]) -> Result<(), &'static str> {
    const BROKEN: &str = "is not whole";
    let mut fields = Fields(blob);
    if fields.next().ok_or(BROKEN)? != algorithm.as_bytes() {
        return Err("does not match the algorithm that is written before it");
    }
    match algorithm {
        "ssh-rsa" => check_rsa(&mut fields)?,
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" => {
            if fields.next().ok_or(BROKEN)?.len() != 32 {
                return Err("does not have 32 bytes");
            }
        }
        _ => {
            // The only ones left are on the curve that their name ends in.
            let curve = algorithm.trim_end_matches("@openssh.com").rsplit('-').next().unwrap_or_default();
            let coordinate_bytes = match curve {
                "nistp256" => 32,
                "nistp384" => 48,
                _ => 66,
            };
            if fields.next().ok_or(BROKEN)? != curve.as_bytes() {
                return Err("is on another curve than its algorithm");
            }
            let point = fields.next().ok_or(BROKEN)?;
            if point.len() != 1 + 2 * coordinate_bytes || point[0] != 4 {
                return Err("is not an uncompressed point of its curve");
            }
        }
    }
    if algorithm.starts_with("sk-") {
        let application = fields.next().ok_or(BROKEN)?;
        if !application.starts_with(b"ssh:") || application.len() > 256 {
            return Err("is of a security key that was not made for SSH");
        }
    }
    if !fields.0.is_empty() {
        return Err("is followed by something that does not belong to it");
    }
    Ok(())
}

fn check_rsa(fields: &mut Fields<'_>) -> Result<(), &'static str> {
    let exponent = fields.number().ok_or("has no exponent")?;
    let modulus = fields.number().ok_or("has no modulus")?;
    let bits =
        |number: &[u8]| number.len() * 8 - number.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if exponent.last().is_none_or(|last| last % 2 == 0) || !(2..=64).contains(&bits(exponent)) {
        return Err("has an exponent that no sound key has");
    }
    match bits(modulus) {
        short if short < RSA_BITS_MIN => {
            Err("is too short: it needs 2048 bits; an ssh-ed25519 key is better still")
        }
        long if long > RSA_BITS_MAX => Err("is longer than 16384 bits"),
        _ if modulus.last().is_none_or(|last| last % 2 == 0) => Err("has an even modulus"),
        _ => Ok(()),
    }
}

/// The fields of a key: each is a length of four bytes, then so many bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some(field)
    }

    /// A positive number in its shortest form, without the zero that keeps its sign.
    fn number(&mut self) -> Option<&'a [u8]> {
        match self.next()? {
            [0, rest @ ..] if rest.first().is_some_and(|first| first & 0x80 != 0) => Some(rest),
            number @ [first, ..] if (1..0x80).contains(first) => Some(number),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
