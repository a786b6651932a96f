//! The command of an exec request: exactly one of git's two, with one quoted path, or a refusal.
//!
//! What a client sends here was remote code execution in Gogs (CVE-2024-39930) and others, so this
//! is a grammar, not a shell's tokenizer: nothing is unescaped, nothing is passed on. What comes out
//! is a service and names that cannot hold anything but letters, digits and dashes (N15).

use slipway_model::name::EnvironmentPath;

/// Longest command that is looked at: three names of 30 bytes and the words around them.
const COMMAND_BYTES_MAX: usize = 160;

/// What a client wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Push.
    ReceivePack,
    /// Fetch, pull or clone.
    UploadPack,
}

impl Service {
    /// The sub-command of git that serves it.
    pub(crate) fn git_command(self) -> &'static str {
        match self {
            Service::ReceivePack => "receive-pack",
            Service::UploadPack => "upload-pack",
        }
    }
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not one of git's two.
    NotGit,
    /// It is, but the path cannot be that of an environment; in words for the client.
    BadPath(String),
}

/// Reads a command as git writes it: `git-receive-pack '/acme/shop/dev.git'`, or with a space
/// instead of the first dash. The leading slash (absent in `host:path` URLs) and `.git` are optional.
pub(crate) fn parse(command: &[u8]) -> Result<(Service, EnvironmentPath), Refusal> {
    if command.len() > COMMAND_BYTES_MAX {
        return Err(Refusal::NotGit);
    }
    let command = std::str::from_utf8(command).map_err(|_| Refusal::NotGit)?;
    let rest =
        command.strip_prefix("git-").or_else(|| command.strip_prefix("git ")).ok_or(Refusal::NotGit)?;
    let (service, argument) = match rest.split_once(' ').ok_or(Refusal::NotGit)? {
        ("receive-pack", argument) => (Service::ReceivePack, argument),
        ("upload-pack", argument) => (Service::UploadPack, argument),
        _ => return Err(Refusal::NotGit),
    };
    let path = argument
        .strip_prefix('\'')
        .and_then(|path| path.strip_suffix('\''))
        .ok_or_else(|| Refusal::BadPath("the path must stand in single quotes, as git writes it".into()))?;
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix(".git").unwrap_or(path);
    let environment: Result<EnvironmentPath, _> = path.parse();
    environment.map(|environment| (service, environment)).map_err(|error| Refusal::BadPath(error.to_string()))
}

#[cfg(test)]
mod tests;
