//! Who may ask.

use argon2::Argon2;
use base64::Engine as _;
use subtle::ConstantTimeEq as _;

use crate::shared::Keys;

/// Decides by a request's `Authorization` header.
pub trait Authority: Send + Sync {
    /// Whether who sent this may see and change everything.
    fn allows(&self, authorization: Option<&str>) -> bool;
}

/// Names with passwords (`NAME:PASSWORD`, sent as basic) and tokens (sent as bearer), one a line.
#[derive(Clone, Default)]
pub struct Credentials {
    passwords: Vec<String>,
    tokens: Vec<String>,
    /// Of all lines, in their order.
    keys: Vec<[u8; 32]>,
}

/// Why a file of credentials is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody could come in, which is hardly meant.
    #[error("there is no line with NAME:PASSWORD or a token")]
    Empty,
    /// Too short to resist guessing.
    #[error("line {0} is shorter than {SECRET_BYTES_MIN} characters")]
    Short(usize),
    /// More people than look after an ensemble.
    #[error("there are more than {LINES_MAX} lines")]
    Many,
}

/// A password or token that is shorter can be guessed over the network.
const SECRET_BYTES_MIN: usize = 12;
/// Each line costs the work of a key at the start.
const LINES_MAX: usize = 64;
/// What makes a key from a line that is good for nothing else.
const SALT: &[u8] = b"slipway ensemble, shared place";

impl Credentials {
    /// Reads the lines. Empty ones and those that begin with `#` count for nothing.
    ///
    /// # Errors
    /// A secret is too short, or there is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut all = Self::default();
        for (at, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (kind, secret) = match line.split_once(':') {
                Some((_, password)) => (&mut all.passwords, password),
                None => (&mut all.tokens, line),
            };
            if secret.len() < SECRET_BYTES_MIN {
                return Err(Error::Short(at + 1));
            }
            kind.push(line.to_owned());
            if all.keys.len() == LINES_MAX {
                return Err(Error::Many);
            }
            all.keys.push(key(line));
        }
        if all.passwords.is_empty() && all.tokens.is_empty() { Err(Error::Empty) } else { Ok(all) }
    }

    /// The keys by which instances with this file believe each other: the first line's writes.
    pub fn keys(&self) -> Keys {
        Keys::new(self.keys.clone())
    }
}

/// Slow, because whoever reads the shared place can try passwords on what is there.
fn key(line: &str) -> [u8; 32] {
    let mut key = [0; 32];
    // With these lengths it cannot fail; and a key of zeroes would be one that everybody has.
    let made = Argon2::default().hash_password_into(line.as_bytes(), SALT, &mut key);
    assert!(made.is_ok(), "a line of credentials makes a key: {made:?}");
    key
}

impl Authority for Credentials {
    fn allows(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, given)) = authorization.and_then(|header| header.split_once(' ')) else {
            return false;
        };
        let given = given.trim();
        let is_one_of = |secrets: &[String], given: &[u8]| {
            secrets.iter().fold(false, |found, secret| found | bool::from(secret.as_bytes().ct_eq(given)))
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return is_one_of(&self.tokens, given.as_bytes());
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(given);
        scheme.eq_ignore_ascii_case("basic") && decoded.is_ok_and(|given| is_one_of(&self.passwords, &given))
    }
}
