//! What can go wrong, by step.

use std::io;
use std::path::PathBuf;

use slipway_model::id::BuildNumber;
use slipway_model::name::{EnvironmentPath, ProjectPath};

/// Why the git endpoint could not do something. What is a pusher's fault is not an error here but a
/// refusal, in words for the pusher.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket for hooks could not be made.
    #[error("failed to make the hook socket {path}")]
    HookSocket {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The host key could not be read or made.
    #[error("failed to read or make the SSH host key {path}")]
    HostKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: russh::keys::ssh_key::Error,
    },
    /// A file or directory could not be made, read or removed.
    #[error("failed to {what} {path}")]
    File {
        /// What was tried, such as `make`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// git runs as a user that cannot get through a directory.
    #[error("git runs as user {uid}, who cannot enter {path}: give it mode 711, or own it")]
    Unreachable {
        /// Which directory.
        path: PathBuf,
        /// git's user.
        uid: u32,
    },
    /// git could not be started, or its output not be read.
    #[error("failed to run git {command} in {repository}")]
    RunGit {
        /// The sub-command.
        command: &'static str,
        /// Where.
        repository: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// git refused.
    #[error("git {command} in {repository} failed: {stderr}")]
    Git {
        /// The sub-command.
        command: &'static str,
        /// Where.
        repository: PathBuf,
        /// What it wrote on standard error, shortened.
        stderr: String,
    },
    /// git answered something that cannot be understood, or that is longer than it can rightly be.
    #[error("git {command} in {repository} answered what was not expected: {what}")]
    GitAnswer {
        /// The sub-command.
        command: &'static str,
        /// Where.
        repository: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The shared storage could not do it.
    #[error("failed to {what} {project} in the shared storage")]
    Storage {
        /// What was tried.
        what: &'static str,
        /// Whose repository.
        project: String,
        /// Why.
        source: slipway_storage::Error,
    },
    /// What the shared storage has of a repository is not what it was.
    #[error(
        "{object} in {place} {what}, and {project} cannot be used without it: restore it from a backup of \
         the storage, or let the server lead that led last, whose own copy has it"
    )]
    Damaged {
        /// Whose repository.
        project: ProjectPath,
        /// Its full name.
        object: String,
        /// Where.
        place: String,
        /// `is missing`, `is damaged`.
        what: &'static str,
    },
    /// The newest state of a repository is not the newest that there was.
    #[error(
        "the newest state of the repository of {project} in {place} is number {found} and not the one that \
         was there, number {known}: newer ones were deleted, or an older storage was put back. Put back what \
         is missing from a backup; if the older one is wanted, stop all servers and run `slipwayd \
         accept-storage`"
    )]
    PutBack {
        /// Whose repository.
        project: ProjectPath,
        /// Where.
        place: String,
        /// The number of the newest that is there; 0 for none.
        found: u64,
        /// The number of the one that was there.
        known: u64,
    },
    /// Another server has moved refs that this one was about to move, or leads now.
    #[error("another server has written to the repository of {project}")]
    Overtaken {
        /// Whose repository.
        project: ProjectPath,
    },
    /// The push could not be recorded.
    #[error("failed to record push {number} to {environment}")]
    Record {
        /// Where to.
        environment: EnvironmentPath,
        /// Its number.
        number: BuildNumber,
        /// What the store said.
        source: Box<slipway_store::Error>,
    },
    /// The store could not be read.
    #[error("failed to read the records of {environment}")]
    Store {
        /// Whose.
        environment: String,
        /// What the store said.
        source: slipway_store::Error,
    },
    /// A hook did not follow the protocol, which only a damaged installation explains.
    #[error("a hook of a push was not understood: {0}")]
    Hook(&'static str),
    /// The hook, or the git process behind it, has gone away.
    #[error("the connection to the hook broke")]
    HookGone(#[source] io::Error),
}

impl Error {
    /// Whether the same may work a moment later.
    pub fn is_worth_a_retry(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if source.is_worth_a_retry())
    }

    /// Whether another server was faster.
    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(self, Self::Overtaken { .. })
    }

    /// What a pusher or reader can make something of.
    pub(crate) fn words_for_a_pusher(&self) -> Option<String> {
        match self {
            Self::Overtaken { .. } => {
                Some("Another server leads now, or has moved a branch meanwhile: fetch first, then push again.".into())
            }
            Self::Storage { .. } if self.is_worth_a_retry() => {
                Some("The storage of the repositories cannot be reached; nothing was changed. Try again in a moment.".into())
            }
            Self::Damaged { project, object, what, .. } => Some(format!(
                "The repository of {project} is not whole: {object} {what}. Tell whoever runs this server."
            )),
            Self::Storage { project, source: slipway_storage::Error::Forged { .. }, .. }  => {
                Some(format!("The repository of {project} cannot be believed: {}", TELL))
            }
            Self::PutBack { project, .. } => {
                Some(format!("The repository of {project} is older than it was: {}", TELL))
            }
            _ => None,
        }
    }
}

const TELL: &str = "somebody has changed the storage. Tell whoever runs this server.";
