//! The API's way to instances on all nodes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{StreamExt, TryStreamExt};
use http::Method;
use slipway_api::client::Frame;
use slipway_api::wire::{LogLine, SandboxInfo};
use slipway_control::api::{FilesFound, FilesWanted, Instances, LogQuery};
use slipway_model::id::InstanceId;
use slipway_model::name::{EnvironmentPath, NodeName};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::link::{self, Link, Unanswered, read, read_json};
use super::wire::{self, FilesWhat, FilesWish, Listing, SIZE, SandboxesWish};
use super::{Hub, Shared, logs};
use crate::glue::instances::{NOT_PLACED, PLACED_WITHIN};

/// Lines of a log that wait for a slow reader.
const LINES_WAITING_MAX: usize = 256;
/// Pieces of a file that wait for a slow reader.
const PIECES_WAITING_MAX: usize = 8;
/// A file that does not go on for so long has ended.
const PIECE_TIME: Duration = Duration::from_secs(30);
/// A node has been given a one-off run, and its agent begins to know of it.
const ATTACH_TIME: Duration = Duration::from_secs(70);
/// What still comes of a run whose client has gone is not waited for longer.
const END_TIME: Duration = Duration::from_secs(60);

impl Instances for Hub {
    fn logs(&self, query: LogQuery) -> BoxStream<'static, LogLine> {
        let (send, lines) = mpsc::channel(LINES_WAITING_MAX);
        tokio::spawn(logs::merge(self.clone(), query, send));
        Box::pin(wire::received(lines))
    }

    fn attach(
        &self,
        instance: InstanceId,
        from_client: mpsc::Receiver<Frame>,
        to_client: mpsc::Sender<Frame>,
    ) -> BoxFuture<'static, Result<(), String>> {
        let hub = self.clone();
        Box::pin(async move {
            let placed = timeout(PLACED_WITHIN, hub.shared.placed(&instance)).await;
            let (node, link) = placed.map_err(|_| NOT_PLACED.to_owned())?;
            carry(&node, link, &instance, from_client, to_client).await
        })
    }

    fn sandboxes(&self, environment: EnvironmentPath) -> BoxFuture<'static, Vec<SandboxInfo>> {
        let hub = self.clone();
        Box::pin(async move {
            hub.shared.ran.read().await;
            let (wish, ran) = (SandboxesWish { environment }, &hub.shared.ran);
            let asked = hub.shared.links().into_iter().filter_map(|(name, link)| Some((name, link?)));
            let answers: FuturesUnordered<_> = asked
                .map(|(name, link)| {
                    let wish = &wish;
                    async move {
                        let found = async { read_json(link.get("/sandboxes", wish).await?).await };
                        let found: Result<Vec<SandboxInfo>, Unanswered> = found.await;
                        let mut found = found.unwrap_or_else(|error| {
                            tracing::warn!(node.name = %name, "a node did not tell of its sandboxes: {error}");
                            Vec::new()
                        });
                        found.retain(|sandbox| ran.was_given(&name, &sandbox.instance));
                        found
                    }
                })
                .collect();
            answers.concat().await
        })
    }

    fn files(
        &self,
        environment: EnvironmentPath,
        instance: InstanceId,
        path: String,
        wanted: FilesWanted,
    ) -> BoxFuture<'static, Option<Result<FilesFound, String>>> {
        let hub = self.clone();
        Box::pin(async move {
            let (what, offset, length) = match wanted {
                FilesWanted::List => (FilesWhat::List, 0, 0),
                FilesWanted::Piece { offset, length } => (FilesWhat::Piece, offset, length),
                FilesWanted::All => (FilesWhat::All, 0, 0),
            };
            hub.shared.ran.read().await;
            let node = hub.shared.ran.node(&instance)?;
            let wish = FilesWish { environment, instance, path, what, offset, length };
            let does_not_answer = || format!("node {node}, where it ran, does not answer");
            let Some(link) = hub.shared.link(&node) else { return Some(Err(does_not_answer())) };
            match look(&link, &wish).await {
                Err(Unanswered::TooLate(_) | Unanswered::Broken(_)) => Some(Err(does_not_answer())),
                Err(Unanswered::Refused(_, why)) => Some(Err(why)),
                Ok(found) => found.map(Ok),
            }
        })
    }
}

impl Shared {
    /// Waits until a connected node has an instance on its list.
    async fn placed(&self, instance: &InstanceId) -> (NodeName, Link) {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(node) = self.node_with(instance)
                && let Some(link) = self.link(&node)
            {
                return (node, link);
            }
            // Its sender is in `self`.
            let _changed = changed.changed().await;
        }
    }
}

/// Looks at one node; `None` when it has no such sandbox.
async fn look(link: &Link, wish: &FilesWish) -> Result<Option<FilesFound>, Unanswered> {
    let response = match link.get("/files", wish).await {
        Err(Unanswered::Refused(http::StatusCode::NOT_FOUND, _)) => return Ok(None),
        response => response?,
    };
    let size = response.headers().get(SIZE).and_then(|size| size.to_str().ok()?.parse().ok());
    let size = move || size.ok_or_else(|| Unanswered::Broken("it did not say how long the file is".into()));
    Ok(Some(match wish.what {
        FilesWhat::List => {
            let Listing { entries, is_truncated } = read_json(response).await?;
            FilesFound::List { entries, is_truncated }
        }
        FilesWhat::Piece => {
            let size = size()?;
            FilesFound::Piece { data: read(response, wire::ANSWER_BYTES_MAX, PIECE_TIME).await?, size }
        }
        FilesWhat::All => {
            let (send, pieces) = mpsc::channel(PIECES_WAITING_MAX);
            let size = size()?;
            tokio::spawn(async move {
                let mut data = wire::data_of(response.into_body());
                // What is cut off is shorter than its size says.
                while let Ok(Ok(Some(piece))) = timeout(PIECE_TIME, data.try_next()).await {
                    if send.send(Bytes::into(piece)).await.is_err() {
                        return;
                    }
                }
            });
            FilesFound::All { size, pieces }
        }
    }))
}

/// Carries frames between a client and a run on that node.
async fn carry(
    node: &NodeName,
    link: Link,
    instance: &InstanceId,
    mut from_client: mpsc::Receiver<Frame>,
    to_client: mpsc::Sender<Frame>,
) -> Result<(), String> {
    let lost = |error: Unanswered| match error {
        Unanswered::Refused(_, why) => why,
        error => format!("node {node} does not answer: {error}"),
    };
    // The way out is made first: its body is the question's.
    let (outgoing, body) = wire::attachment(http_body_util::Empty::new());
    let mut send = outgoing.send;
    let asked =
        link.ask(link::request(Method::POST, &format!("/attach/{instance}"), body), ATTACH_TIME).await;
    let response = asked.map_err(lost)?;
    let (incoming, _) = wire::attachment(response.into_body());
    let mut receive = incoming.receive;
    let client_gone = async {
        while let Some(frame) = from_client.recv().await {
            if send.send(&frame).await.is_err() {
                break;
            }
        }
        // Said by the end of the body: then the node ends the run, which nobody could find again.
        drop(send);
        tokio::time::sleep(END_TIME).await;
    };
    let carried = async {
        loop {
            match receive.next().await {
                // What nobody sees any more is read to its end, so that the node hears all of this.
                Ok(Some(frame)) => drop(to_client.send(frame).await),
                Ok(None) => return Ok(()),
                Err(error) => {
                    return Err(format!("the connection to node {node} broke: {error}; the run goes on"));
                }
            }
        }
    };
    tokio::select! {
        carried = carried => carried,
        () = client_gone => Ok(()),
    }
}
