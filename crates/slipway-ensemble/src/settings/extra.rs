//! Lines that the settings add to ZooKeeper's configuration.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// More lines than anybody needs.
const LINES_MAX: usize = 100;
/// A line that is longer is not meant for a configuration.
const VALUE_BYTES_MAX: usize = 1000;
const KEY_BYTES_MAX: usize = 100;

/// What we write ourselves, or what would take the server out of our hands: who is a member, what
/// guards it, where it listens and who may do everything there, which words it answers, where its files are.
/// In small letters, compared as beginnings.
const RESERVED: [&str; 31] = [
    "4lw.",
    "admin.",
    "audit.impl",
    "authprovider",
    "autopurge.",
    "clientport",
    "configpath",
    "datadir",
    "datalogdir",
    "digestauthenticationprovider",
    "dynamicconfigfile",
    "enforce.auth.",
    "group.",
    "initialconfig",
    "metricsprovider",
    "peertype",
    "portunification",
    "quorumlistenonallips",
    "reconfigenabled",
    "secureclientport",
    "server.",
    "servercnxnfactory",
    "skipacl",
    "ssl",
    "standaloneenabled",
    "superuser",
    "weight.",
    "x509authenticationprovider",
    "zookeeper.",
    "ignored.",
    "client.portunification",
];

/// Keys and values, none of which is a second line or a key of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Extra(BTreeMap<String, String>);

/// Why a line is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key has other characters than a key has.
    #[error("zooCfgExtra: {0:?} is not a key: letters, digits, dots, dashes and underscores")]
    Key(String),
    /// The value does not fit on one line as it is.
    #[error("zooCfgExtra: the value of {0} is not one short line of plain ASCII without a backslash")]
    Value(String),
    /// The key is ours.
    #[error("zooCfgExtra: {0} is not for this place: other settings decide it")]
    Reserved(String),
    /// A time is not a number that one can reckon with.
    #[error("zooCfgExtra: {0} must be a whole number from 1 to 1000000")]
    Number(String),
    /// There are too many.
    #[error("zooCfgExtra: there are more than {LINES_MAX} lines")]
    TooMany,
}

impl Extra {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Extra {
    type Error = Error;

    fn try_from(lines: BTreeMap<String, String>) -> Result<Self, Error> {
        if lines.len() > LINES_MAX {
            return Err(Error::TooMany);
        }
        lines.iter().try_for_each(|(key, value)| check(key, value))?;
        Ok(Self(lines))
    }
}

fn check(key: &str, value: &str) -> Result<(), Error> {
    let in_key = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) || !key.bytes().all(in_key) {
        return Err(Error::Key(key.to_owned()));
    }
    let small = key.to_ascii_lowercase();
    if RESERVED.iter().any(|reserved| small.starts_with(reserved)) {
        return Err(Error::Reserved(key.to_owned()));
    }
    let in_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'\\';
    if value.len() > VALUE_BYTES_MAX || !value.bytes().all(in_value) {
        return Err(Error::Value(key.to_owned()));
    }
    // These decide how patient we are, so they must be what ZooKeeper reads.
    let is_time = ["ticktime", "initlimit", "synclimit"].contains(&small.as_str());
    if is_time && !value.parse::<u32>().is_ok_and(|number| (1..=1_000_000).contains(&number)) {
        return Err(Error::Number(key.to_owned()));
    }
    Ok(())
}

impl From<Extra> for BTreeMap<String, String> {
    fn from(extra: Extra) -> Self {
        extra.0
    }
}

/// As Exhibitor's properties have it: `syncLimit=5&tickTime=2000`.
impl FromStr for Extra {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut lines = BTreeMap::new();
        for line in text.split('&').filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=').ok_or_else(|| Error::Key(line.to_owned()))?;
            lines.insert(key.to_owned(), value.to_owned());
        }
        lines.try_into()
    }
}
