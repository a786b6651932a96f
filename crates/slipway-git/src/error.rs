//! What can go wrong, by step.

use std::io;
use std::path::PathBuf;

use slipway_model::id::BuildNumber;
use slipway_model::name::EnvironmentPath;

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
