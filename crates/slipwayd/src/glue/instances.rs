//! The API reads logs and files from, and attaches to, the agent of this machine.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use slipway_agent::attach::{AttachInput, AttachOutput};
use slipway_agent::{Agent, files, logs};
use slipway_api::client::Frame;
use slipway_api::wire::{LogLine, SandboxInfo};
use slipway_control::api::{FileEntry, FilesFound, FilesWanted, Instances, LogQuery};
use slipway_model::id::InstanceId;
use slipway_model::instance::{ExitReason, InstanceRole};
use slipway_model::name::EnvironmentPath;
use tokio::sync::mpsc;

/// A run that was asked for is placed within this time, or there is no room for it.
pub const PLACED_WITHIN: Duration = Duration::from_secs(60);
/// What is said then.
pub const NOT_PLACED: &str = "could not be placed on any node; `slipway nodes` shows how much room there is";
const LOOK_INTERVAL: Duration = Duration::from_millis(30);

/// The agent in this process.
pub struct LocalInstances(pub Agent);

impl LocalInstances {
    /// Lines, oldest first, look by look: the first has what was there, perhaps nothing.
    pub fn log_looks(&self, query: LogQuery) -> impl Stream<Item = Vec<LogLine>> + Send + use<> {
        let LogQuery { environment, service, instance, lines, follow } = query;
        let looks = self.0.log_looks(logs::LogQuery { environment, service, instance, lines, follow });
        stream::unfold(looks, |mut looks| async move {
            let lines = looks.recv().await?;
            Some((lines.into_iter().map(wire_line).collect(), looks))
        })
    }
}

impl Instances for LocalInstances {
    fn logs(&self, query: LogQuery) -> BoxStream<'static, LogLine> {
        Box::pin(self.log_looks(query).flat_map(stream::iter))
    }

    fn attach(
        &self,
        instance: InstanceId,
        from_client: mpsc::Receiver<Frame>,
        to_client: mpsc::Sender<Frame>,
    ) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(carry(self.0.clone(), instance, from_client, to_client))
    }

    fn sandboxes(&self, environment: EnvironmentPath) -> BoxFuture<'static, Vec<SandboxInfo>> {
        let agent = self.0.clone();
        Box::pin(async move {
            let sandboxes = agent.sandboxes(&environment).await.into_iter();
            let wire = sandboxes.map(|sandbox| SandboxInfo {
                instance: sandbox.instance,
                source: source(sandbox.role),
                ended_at: sandbox.ended_at,
                partial: sandbox.is_partial,
            });
            wire.collect()
        })
    }

    fn files(
        &self,
        environment: EnvironmentPath,
        instance: InstanceId,
        path: String,
        wanted: FilesWanted,
    ) -> BoxFuture<'static, Option<Result<FilesFound, String>>> {
        let agent = self.0.clone();
        Box::pin(async move {
            let sandbox = agent.sandbox(&instance).await?;
            if sandbox.environment != environment {
                return None;
            }
            let found = match wanted {
                FilesWanted::List => agent.browse(&instance, &path).await.map(listing),
                FilesWanted::Piece { offset, length } => {
                    let piece = agent.read_file(&instance, &path, offset, length).await;
                    piece.map(|piece| FilesFound::Piece { data: piece.data, size: piece.size })
                }
                FilesWanted::All => {
                    let all = agent.download(&instance, &path).await;
                    all.map(|all| FilesFound::All { size: all.size, pieces: all.pieces })
                }
            };
            Some(found.map_err(|error| error.to_string()))
        })
    }
}

fn listing(listing: files::Listing) -> FilesFound {
    let entries = listing.entries.into_iter().map(|entry| FileEntry {
        mode: format!("{}{}", letter(entry.kind), permissions(entry.mode)),
        name: entry.name,
        size: entry.size,
        links: entry.links,
        uid: entry.uid,
        gid: entry.gid,
        modified_at: entry.modified_at,
    });
    FilesFound::List { entries: entries.collect(), is_truncated: listing.is_truncated }
}

/// The first letter of what `ls -l` says.
fn letter(kind: files::FileKind) -> char {
    match kind {
        files::FileKind::Directory => 'd',
        files::FileKind::File => '-',
        files::FileKind::Link => 'l',
        files::FileKind::Other => '?',
    }
}

/// The other nine.
fn permissions(mode: u32) -> String {
    let letters = "rwxrwxrwx".chars().enumerate();
    letters.map(|(place, letter)| if mode & 0o400 >> place == 0 { '-' } else { letter }).collect()
}

/// What an instance is for, in the one word that its log has on the wire.
fn source(role: InstanceRole) -> String {
    match role {
        InstanceRole::Service { service } | InstanceRole::Scheduled { service, .. } => service.to_string(),
        InstanceRole::ReleaseCommand => "release".to_owned(),
        InstanceRole::OneOff { .. } => "run".to_owned(),
    }
}

fn wire_line(line: logs::LogLine) -> LogLine {
    // Sources have one word on the wire.
    let source = match line.role.as_str() {
        "release.command" => "release".to_owned(),
        "run.once" => "run".to_owned(),
        _ => line.role,
    };
    LogLine {
        at: line.at,
        instance: line.instance,
        source,
        stream: if line.is_error { "err" } else { "out" }.to_owned(),
        text: line.text,
    }
}

async fn carry(
    agent: Agent,
    instance: InstanceId,
    mut from_client: mpsc::Receiver<Frame>,
    to_client: mpsc::Sender<Frame>,
) -> Result<(), String> {
    let since = Instant::now();
    let mut attachment = loop {
        match agent.attach(&instance) {
            Ok(attachment) => break attachment,
            Err(slipway_agent::Error::UnknownInstance(_)) if since.elapsed() < PLACED_WITHIN => {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            Err(slipway_agent::Error::UnknownInstance(_)) => {
                return Err(NOT_PLACED.to_owned());
            }
            Err(error) => return Err(format!("cannot be attached to: {error}")),
        }
    };
    let input = attachment.input;
    let (run, of) = (agent.clone(), instance.clone());
    let relay = tokio::spawn(async move {
        while let Some(frame) = from_client.recv().await {
            let given = match frame {
                Frame::Data(data) => AttachInput::Stdin(data),
                Frame::Eof => AttachInput::StdinEnd,
                Frame::Resize { columns, rows } => AttachInput::Resize { columns, rows },
                Frame::ErrorData(_) | Frame::Exit { .. } => continue,
            };
            if input.send(given).await.is_err() {
                return;
            }
        }
        // The client has gone: nobody sees what it prints any more, or could find it to end it.
        run.end_run(&of);
    });
    while let Some(output) = attachment.output.recv().await {
        let frame = match output {
            AttachOutput::Stdout(data) => Frame::Data(data),
            AttachOutput::Stderr(data) => Frame::ErrorData(data),
            AttachOutput::Exit(reason) => exit_frame(&reason),
        };
        if to_client.send(frame).await.is_err() {
            break;
        }
    }
    relay.abort();
    Ok(())
}

/// A status as a shell would give it.
fn exit_frame(reason: &ExitReason) -> Frame {
    let (status, told) = match reason {
        ExitReason::Status { code } => (u8::try_from(*code).unwrap_or(255), String::new()),
        ExitReason::Signal { signal } => (128 + (*signal as u8 & 0x7f), reason.to_string()),
        _ => (255, reason.to_string()),
    };
    Frame::Exit { status, reason: told }
}
