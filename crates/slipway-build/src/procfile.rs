//! The Procfile: `type: command` on each line, `#` comments (BP-06).

use std::collections::BTreeMap;

use slipway_model::name::ServiceName;

use crate::error::Error;

/// What a Procfile says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Procfile {
    /// Command lines by service.
    pub services: BTreeMap<ServiceName, String>,
    /// The line `release:`, which is no service but runs once before a new release takes over.
    pub release: Option<String>,
}

/// Longest command line, as in the manifest.
const COMMAND_BYTES_MAX: usize = 4096;
/// Process types in one Procfile.
const TYPES_MAX: usize = 100;

/// Reads a Procfile.
///
/// # Errors
/// [`Error::Refused`] with the line that is wrong.
pub fn parse(bytes: &[u8]) -> Result<Procfile, Error> {
    let refuse = |line: usize, why: &str| Error::refused(format!("Procfile:{line}: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|_| Error::refused("Procfile is not UTF-8 text"))?;
    let mut procfile = Procfile::default();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, command) = line
            .split_once(':')
            .map(|(name, command)| (name.trim(), command.trim()))
            .ok_or_else(|| refuse(number, "a line must read `type: command`"))?;
        if command.is_empty() {
            return Err(refuse(number, &format!("{name} has no command")));
        }
        if command.len() > COMMAND_BYTES_MAX || command.chars().any(char::is_control) {
            return Err(refuse(
                number,
                &format!("the command of {name} is too long or has control characters"),
            ));
        }
        let taken = if name == "release" {
            procfile.release.replace(command.to_owned()).is_some()
        } else {
            let service: ServiceName = name.parse().map_err(|e| refuse(number, &format!("{e}")))?;
            procfile.services.insert(service, command.to_owned()).is_some()
        };
        if taken {
            return Err(refuse(number, &format!("{name} is given twice")));
        }
        if procfile.services.len() > TYPES_MAX {
            return Err(refuse(number, "more than 100 process types"));
        }
    }
    Ok(procfile)
}

#[cfg(test)]
mod tests;
