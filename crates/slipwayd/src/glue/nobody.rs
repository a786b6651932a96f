//! Instances, in a process that does not lead: no node is connected to it.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use slipway_api::client::Frame;
use slipway_api::wire::{LogLine, SandboxInfo};
use slipway_control::api::{FilesFound, FilesWanted, Instances, LogQuery};
use slipway_model::id::InstanceId;
use slipway_model::name::EnvironmentPath;
use tokio::sync::mpsc;

const WHY: &str = "cannot be reached, because no server leads at this moment; try again in a moment";

/// Reaches none.
pub struct NoInstances;

impl Instances for NoInstances {
    fn logs(&self, _query: LogQuery) -> BoxStream<'static, LogLine> {
        Box::pin(stream::empty())
    }

    fn attach(
        &self,
        _instance: InstanceId,
        _from_client: mpsc::Receiver<Frame>,
        _to_client: mpsc::Sender<Frame>,
    ) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Err(WHY.to_owned()) })
    }

    fn sandboxes(&self, _environment: EnvironmentPath) -> BoxFuture<'static, Vec<SandboxInfo>> {
        Box::pin(async { Vec::new() })
    }

    fn files(
        &self,
        _environment: EnvironmentPath,
        instance: InstanceId,
        _path: String,
        _wanted: FilesWanted,
    ) -> BoxFuture<'static, Option<Result<FilesFound, String>>> {
        Box::pin(async move { Some(Err(format!("{instance} {WHY}"))) })
    }
}
