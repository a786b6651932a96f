//! Files of sandboxes, with the names that Mesos gave the fields (ME-19).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slipway_model::id::InstanceId;
use slipway_model::unit::Timestamp;

/// What an instance has written, and its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SandboxInfo {
    /// Whose.
    #[schemars(with = "String")]
    pub instance: InstanceId,
    /// The service, or `release` or `run`; the same word as in the log.
    pub source: String,
    /// When the instance ended, milliseconds since 1970; absent while it lives.
    #[schemars(with = "Option<u64>")]
    pub ended_at: Option<Timestamp>,
    /// It had written more than is kept of an instance that ended.
    pub partial: bool,
}

/// `GET …/files`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DirectoryInfo {
    /// By name.
    pub items: Vec<FileInfo>,
    /// There are more than these.
    pub truncated: bool,
}

/// One name in a directory of a sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileInfo {
    /// From the top of the sandbox.
    pub path: String,
    /// As `ls -l` says it.
    pub mode: String,
    /// Bytes.
    pub size: u64,
    /// Names that it has.
    pub nlink: u64,
    /// Whose it is, inside the sandbox.
    pub uid: String,
    /// Whose group's it is, inside the sandbox.
    pub gid: String,
    /// When it was changed, seconds since 1970.
    pub mtime: f64,
}

/// `GET …/files/read`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilePart {
    /// What is there; bytes that are not UTF-8 are replaced.
    pub data: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long the file is, in bytes.
    pub size: u64,
}
