//! What can go wrong on a node.

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use slipway_model::cause::chain;
use slipway_model::id::{Digest, Epoch, InstanceId, VolumeId};

/// A failed step of the agent.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("cannot {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the image {digest} cannot be used: {why}")]
    Image { digest: Digest, why: String },
    #[error("the registry cannot give out {digest}")]
    Registry { digest: Digest, source: slipway_registry::Error },
    #[error("a layer cannot be unpacked")]
    Layer {
        #[from]
        source: crate::layers::LayerError,
    },
    #[error("neither crun nor runc can run a container on this host: {why}")]
    NoRuntime { why: String },
    #[error("this host's cgroups cannot be used: {why}")]
    Cgroups { why: String },
    #[error("network of the node")]
    Network { source: crate::network::Error },
    #[error("cannot start the shim {}", path.display())]
    Shim { path: PathBuf, source: io::Error },
    #[error("{why}")]
    Launch { why: String },
    #[error("the volume {id} cannot be used: {why}")]
    Volume { id: VolumeId, why: String },
    #[error("{uri} could not be fetched: {why}")]
    Fetch { uri: String, why: String },
    #[error("cannot make a disk of {bytes} bytes: {why}")]
    Scratch { bytes: u64, why: String },
    #[error("a list of epoch {given} was refused, {seen} has been seen")]
    StaleEpoch { given: Epoch, seen: Epoch },
    #[error("there is no instance {0} here")]
    UnknownInstance(InstanceId),
    #[error("instance {0} is not a one-off run, nobody can attach to it")]
    NotAttachable(InstanceId),
    #[error("{path:?} of the sandbox cannot be had: {why}")]
    SandboxFile { path: String, why: String },
    #[error("another agent uses {}", path.display())]
    Busy { path: PathBuf },
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// The error and its causes on one line, for an instance's end and for people.
    pub fn chain(&self) -> String {
        chain(self)
    }
}
