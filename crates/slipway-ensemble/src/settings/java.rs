//! Options for Java. Exhibitor writes this setting into a shell file; here it is a list of arguments,
//! and only those that tune are taken: sizes, numbers and switches. Whoever can write the shared settings
//! could otherwise have Java load code, write files or read others, as whoever the instance runs as.

use serde::{Deserialize, Serialize};

const TEXT_BYTES_MAX: usize = 4000;

/// Options with the size behind them: of the heap, of what is young of it, of a stack.
const SIZES: [&str; 4] = ["-Xms", "-Xmx", "-Xmn", "-Xss"];

/// Which addresses Java prefers.
const PREFERENCES: [&str; 2] = ["-Djava.net.preferIPv4Stack=", "-Djava.net.preferIPv6Addresses="];

/// Arguments such as `-Xmx512m`, in one text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JavaOptions(String);

/// Why an option is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is none of those that only tune.
    #[error("javaEnvironment: {0:?} is not an option that tunes Java, such as -Xmx512m")]
    Refused(String),
    /// The text is too long or not plain.
    #[error("javaEnvironment is not at most {TEXT_BYTES_MAX} bytes of printable ASCII")]
    Text,
}

impl JavaOptions {
    /// The options one by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_ascii_whitespace()
    }
}

impl TryFrom<String> for JavaOptions {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        if text.len() > TEXT_BYTES_MAX || !text.bytes().all(is_plain) {
            return Err(Error::Text);
        }
        match text.split_ascii_whitespace().find(|option| !tunes(option)) {
            Some(option) => Err(Error::Refused(option.to_owned())),
            None => Ok(Self(text)),
        }
    }
}

/// Parts of the names of options that name a file: to be read, to be written, or with more options in it.
const NAMES_A_FILE: [&str; 7] = ["File", "Flags", "Path", "Options", "Archive", "Recording", "Command"];

/// Whether an option can do nothing but tune: it names no file, class or program, and opens nothing.
fn tunes(option: &str) -> bool {
    if SIZES.iter().any(|size| option.strip_prefix(size).is_some_and(is_number)) {
        return true;
    }
    if PREFERENCES
        .iter()
        .any(|one| option.strip_prefix(one).is_some_and(|value| value.parse::<bool>().is_ok()))
    {
        return true;
    }
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
    };
    if let Some(option) = option.strip_prefix("-XX:") {
        let switch = option.strip_prefix(['+', '-']);
        let number = option.split_once('=').is_some_and(|(name, value)| is_name(name) && is_number(value));
        // `OnError` and the like run what they say; a file may be called like a number.
        let does_more = option.starts_with("On") || NAMES_A_FILE.iter().any(|part| option.contains(part));
        // What is diagnostic does more than tune.
        return (number && !does_more)
            || switch.is_some_and(|name| is_name(name) && !name.starts_with("Unlock"));
    }
    // ZooKeeper's own properties whose value is a number, such as `-Djute.maxbuffer=2097152`.
    let property = ["-Djute.", "-Dzookeeper."].iter().find_map(|begin| option.strip_prefix(begin));
    property
        .and_then(|property| property.split_once('='))
        .is_some_and(|(name, value)| is_name(name) && is_number(value))
}

/// `512m`, `75.0`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T']).unwrap_or(text);
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

impl From<JavaOptions> for String {
    fn from(options: JavaOptions) -> Self {
        options.0
    }
}
