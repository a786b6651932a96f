//! Ids that the platform gives. Each has its own type and prints with a prefix, so that a log line
//! or an error names what kind of thing it means.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::name::NameError;

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl $type {
            /// The number after this one.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            /// Takes the number with or without its prefix.
            fn from_str(text: &str) -> Result<Self, NameError> {
                let digits = text.strip_prefix($prefix).unwrap_or(text);
                digits.parse().map(Self).map_err(|_| NameError::new($kind, text, "it is not a number"))
            }
        }
    };
}

number!(
    /// A push, and the build that it causes: numbered 1, 2, … in its environment.
    BuildNumber, "", "build number"
);
number!(
    /// A release, `v1`, `v2`, … in its environment.
    ReleaseNumber, "v", "release number"
);
number!(
    /// A deployment, `d1`, `d2`, … in its environment.
    DeploymentNumber, "d", "deployment number"
);
number!(
    /// Rises with each change of leader; a write with a lower one is refused (S2).
    Epoch, "e", "epoch"
);

/// Letters and digits after an id's prefix.
const TOKEN_LEN: usize = 16;

macro_rules! token_id {
    ($(#[$doc:meta])* $type:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        // In place, because the leader has hundreds of thousands of them in its maps.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type([u8; $prefix.len() + TOKEN_LEN]);

        impl $type {
            /// Makes an id from random bytes that the caller drew; this crate rolls no dice.
            pub fn from_random(bytes: [u8; 10]) -> Self {
                // Crockford's alphabet without the letters that look like digits.
                const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
                let bits = bytes.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
                let mut token = [0; TOKEN_LEN];
                for (place, letter) in token.iter_mut().rev().enumerate() {
                    *letter = ALPHABET[(bits >> (place * 5)) as usize & 31];
                }
                Self::of_token(&token)
            }

            fn of_token(token: &[u8; TOKEN_LEN]) -> Self {
                let mut text = [0; $prefix.len() + TOKEN_LEN];
                let (prefix, rest) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix.as_bytes());
                rest.copy_from_slice(token);
                Self(text)
            }

            /// The id as text, prefix included.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("a prefix and letters or digits")
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let rest = text.strip_prefix($prefix).unwrap_or_default();
                let token: Option<&[u8; TOKEN_LEN]> = rest.as_bytes().try_into().ok();
                let is_good = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
                match token.filter(|token| token.iter().all(is_good)) {
                    Some(token) => Ok(Self::of_token(token)),
                    None => {
                        let why = concat!("it must be '", $prefix, "' and 16 letters or digits");
                        Err(NameError::new($kind, text, why))
                    }
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.as_str().to_owned()
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($type)).field(&self.as_str()).finish()
            }
        }
    };
}

token_id!(
    /// A cluster, or a machine of its own: made with its store, and kept when that is moved.
    ClusterId, "cluster-", "cluster id"
);
token_id!(
    /// A running copy of a service, a one-off run, or a build sandbox.
    InstanceId, "i", "instance id"
);
token_id!(
    /// A directory on a node that outlives the instances which use it.
    VolumeId, "d", "volume id"
);
token_id!(
    /// An API token; the id is public, the secret is shown once.
    TokenId, "t", "token id"
);
token_id!(
    /// An invitation to join a tenant.
    InvitationId, "n", "invitation id"
);
token_id!(
    /// A token with which one machine joins the cluster.
    JoinTokenId, "j", "join token id"
);

/// A deployment over several services, written as Marathon writes it: a UUID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupDeploymentId(String);

impl GroupDeploymentId {
    /// Makes an id from random bytes that the caller drew; this crate rolls no dice.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        // RFC 9562, section 5.4: version 4, variant 10.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = String::with_capacity(36);
        for (place, byte) in bytes.iter().enumerate() {
            if [4, 6, 8, 10].contains(&place) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupDeploymentId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_dash = |place: usize| [8, 13, 18, 23].contains(&place);
        let is_good = text.len() == 36
            && text.bytes().enumerate().all(|(place, byte)| match byte {
                b'-' => is_dash(place),
                b'0'..=b'9' | b'a'..=b'f' => !is_dash(place),
                _ => false,
            });
        if is_good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new("deployment id", text, "it is not a UUID"))
        }
    }
}

impl TryFrom<String> for GroupDeploymentId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<GroupDeploymentId> for String {
    fn from(id: GroupDeploymentId) -> String {
        id.0
    }
}

impl fmt::Display for GroupDeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `SHA256:…`, as OpenSSH prints it: base64 without padding, 43 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyFingerprint(String);

impl KeyFingerprint {
    /// The fingerprint as text, `SHA256:` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyFingerprint {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let rest = text.strip_prefix("SHA256:").unwrap_or_default();
        let wanted =
            rest.len() == 43 && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
        if !wanted {
            return Err(NameError::new("key fingerprint", text, "it must be SHA256: and 43 characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for KeyFingerprint {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<KeyFingerprint> for String {
    fn from(fingerprint: KeyFingerprint) -> String {
        fingerprint.0
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A git object id of 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven digits, as git shows them.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }

    /// True for the all-zero id with which git says "no such object".
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

impl FromStr for CommitId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wanted = matches!(text.len(), 40 | 64)
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !wanted {
            return Err(NameError::new("commit id", text, "it must be 40 or 64 hexadecimal digits"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for CommitId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> String {
        id.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of an OCI blob or manifest, `sha256:` or `sha512:` and lower-case hexadecimal
/// (OCI image-spec, "Digests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest as text, algorithm included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wanted_digits = match text.split_once(':') {
            Some(("sha256", _)) => 64,
            Some(("sha512", _)) => 128,
            _ => return Err(NameError::new("digest", text, "the algorithm must be sha256 or sha512")),
        };
        let hex = &text[7..];
        if hex.len() != wanted_digits
            || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Err(NameError::new(
                "digest",
                text,
                "the digits are not lower-case hexadecimal of the right length",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
