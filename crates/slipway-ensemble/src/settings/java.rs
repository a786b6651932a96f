//! Options for Java. Exhibitor writes this setting into a shell file; here it is a list of arguments,
//! and those that would load or start something else are refused.

use serde::{Deserialize, Serialize};

const TEXT_BYTES_MAX: usize = 4000;

/// Options that run programs, load code, write where they like or open a port.
const REFUSED: [&str; 9] = [
    "-XX:OnError",
    "-XX:OnOutOfMemoryError",
    "-XX:Flags",
    "-XX:VMOptionsFile",
    "-XX:+UnlockDiagnosticVMOptions",
    "-Xbootclasspath",
    "-Xrun",
    "-Xdebug",
    "-Dcom.sun.management",
];

/// Arguments such as `-Xmx512m`, in one text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JavaOptions(String);

/// Why an option is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not `-X…` or `-D…`, or one that does more than tune.
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
        let tunes = |option: &str| {
            ["-X", "-D"].iter().any(|begin| option.starts_with(begin))
                && !REFUSED.iter().any(|begin| option.starts_with(begin))
        };
        match text.split_ascii_whitespace().find(|option| !tunes(option)) {
            Some(option) => Err(Error::Refused(option.to_owned())),
            None => Ok(Self(text)),
        }
    }
}

impl From<JavaOptions> for String {
    fn from(options: JavaOptions) -> Self {
        options.0
    }
}
