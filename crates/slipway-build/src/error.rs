//! What can go wrong with a build, by the step that failed.

use std::path::{Path, PathBuf};

use slipway_model::cause::chain;

/// A build that did not become an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was pushed cannot be built. One sentence for the pusher that names the thing at fault.
    #[error("{0}")]
    Refused(String),
    /// Somebody cancelled it, or the builder is being stopped.
    #[error("the build was cancelled")]
    Cancelled,
    /// Git could not be run, or did not say what it should.
    #[error("failed to read commit from {repository}: {why}")]
    Git {
        /// The bare repository.
        repository: PathBuf,
        /// What git said, or did not say.
        why: String,
    },
    /// The repository could not be brought here.
    #[error("failed to fetch what was pushed: {0}")]
    Source(String),
    /// The environment's config variables could not be opened.
    #[error("failed to read the config variables: {0}")]
    Config(String),
    /// The sandbox could not be made or run.
    #[error("failed to run the build sandbox: {0}")]
    Sandbox(String),
    /// A file operation of our own failed.
    #[error("failed to {step} {path}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The image could not be read or written.
    #[error("the registry refused")]
    Registry(#[from] slipway_registry::Error),
    /// A record could not be read or written.
    #[error("the store refused")]
    Store(#[from] slipway_store::Error),
    /// The build's output could not be written.
    #[error("failed to write the build log")]
    Log(#[from] slipway_store::journal::Error),
    /// The stack that was asked for is not there, or is no stack.
    #[error("stack {stack} cannot be used: {why}")]
    Stack {
        /// Its name.
        stack: String,
        /// What is missing.
        why: String,
    },
}

impl Error {
    /// A refusal of what was pushed.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }

    /// For `map_err` of file operations.
    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { step, path: path.to_owned(), source }
    }

    /// The one sentence that the build's record and the pusher get. Names in it come from the commit,
    /// so it is made harmless to a terminal.
    pub fn reason(&self) -> String {
        crate::output::harmless(&self.sentence())
    }

    fn sentence(&self) -> String {
        if self.is_disk_full() {
            return "the platform's disk is full; nothing of this build was kept".to_owned();
        }
        match self {
            Self::Refused(reason) => reason.clone(),
            Self::Cancelled | Self::Stack { .. } => self.to_string(),
            _ => format!("the platform failed, not your push: {}", chain(self)),
        }
    }

    /// True when the operator should hear of it: neither the pusher's doing nor anybody's wish.
    pub fn is_platforms_fault(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Cancelled)
    }

    fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded),
            Self::Registry(error) => error.is_disk_full(),
            Self::Store(error) => error.is_full(),
            Self::Log(error) => matches!(error, slipway_store::journal::Error::Full(_)),
            _ => false,
        }
    }
}
