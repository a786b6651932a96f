//! One push or fetch: git's pipes on one side, an SSH channel on the other.
//!
//! What comes from the client goes to git as it comes; when git is slow, the channel's small buffer
//! fills, the connection is not read, and TCP holds the client back. So memory does not grow with
//! the push. When the client goes away, git is told by the end of its input, and whoever follows a
//! build is told too; git then finishes or gives up by itself, within a grace time.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use slipway_access::Scoped;
use slipway_model::name::UserName;
use slipway_model::project::{Environment, Project};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::watch;

use crate::error::Error;
use crate::git;
use crate::hook;
use crate::push_request::{PushRequest, Refused};
use crate::receive::{self, Incoming};
use crate::repository::{Busy, Repository};
use crate::server::{Shared, raised};
use crate::shallow::{self, ShallowFile};
use crate::ssh::command::Service;

/// Bytes read from git at once: one SSH packet.
const CHUNK_BYTES: usize = 32 << 10;
/// A client that sends nothing for this long has lost interest. It is long because a client that
/// compresses a large repository is silent for minutes.
const CLIENT_SILENCE_MAX: Duration = Duration::from_secs(15 * 60);
/// git without its client, or with a client that was refused, ends within this.
const ALONE_TIME_MAX: Duration = Duration::from_secs(60);
/// What git says on standard error outside of its protocol that is passed on.
const STDERR_BYTES_MAX: u64 = 64 << 10;
/// Below this much room on the disk no push begins: the store on the same disk needs it more.
const DISK_FREE_MIN: u64 = 32 << 20;

/// A transfer that has been authorised.
pub(crate) struct Transfer {
    pub(crate) service: Service,
    pub(crate) repository: Repository,
    pub(crate) environment: Environment,
    pub(crate) project: Scoped<Project>,
    pub(crate) by: UserName,
    pub(crate) busy: Busy,
}

/// Serves a transfer to its end and returns the exit status for the client.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    transfer: Transfer,
    reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> Result<u32, Error> {
    let Transfer { service, repository, environment, project, by, busy } = transfer;
    let is_push = service == Service::ReceivePack;
    if is_push && has_no_room(&shared.root) {
        say(writer, "slipway: the server's disk is full; nothing was changed\n").await;
        return Ok(1);
    }
    let (gone_sender, gone) = watch::channel(false);
    let failed = |source| Error::RunGit {
        command: service.git_command(),
        repository: repository.path.clone(),
        source,
    };

    let mut command = repository.git.command(service.git_command(), &repository.path);
    command
        .arg(&repository.path)
        .env("GIT_NAMESPACE", environment.path.environment.as_str())
        .stdin(Stdio::piped());
    let push = Arc::new(Incoming {
        repository: repository.clone(),
        environment,
        project,
        by,
        gone,
        progress: Default::default(),
        _busy: busy,
    });
    // Lives as long as git does, which may be longer than its client.
    let shallow = Arc::new(ShallowFile::begin(&shared.shallow_files, &repository).await?);
    let announced = is_push.then(|| shared.announce(push.clone()));
    if let Some(announced) = &announced {
        command.env(hook::SOCKET_VARIABLE, &shared.hook_socket).env(hook::TOKEN_VARIABLE, &announced.token);
        command.env(shallow::VARIABLE, shallow.path());
    }
    git::limit(&mut command);
    let mut git = command.spawn().map_err(failed)?;
    let (Some(stdin), Some(stdout), Some(stderr)) = (git.stdin.take(), git.stdout.take(), git.stderr.take())
    else {
        return Err(failed(std::io::Error::other("no pipes")));
    };

    let mut input = tokio::spawn(receive_input(
        reader,
        stdin,
        is_push.then(|| (PushRequest::default(), shallow.clone())),
        push.clone(),
    ));
    let mut output = std::pin::pin!(async {
        tokio::join!(
            send_output(stdout, writer, None, push.gone.clone()),
            send_output(stderr.take(STDERR_BYTES_MAX), writer, Some(1), push.gone.clone()),
        )
    });
    let input_ended = tokio::select! {
        _ = &mut output => None,
        ended = &mut input => Some(ended.unwrap_or(InputEnd::Gone)),
    };
    match input_ended {
        None => input.abort(),
        Some(InputEnd::Refused(Refused(words))) => {
            say(writer, &format!("slipway: {words}\n")).await;
            git::end(&mut git).await;
            return Ok(1);
        }
        Some(InputEnd::Gone) => {
            let _ = gone_sender.send(true);
            let _ = tokio::time::timeout(ALONE_TIME_MAX, &mut output).await;
        }
    }
    let Ok(status) = tokio::time::timeout(ALONE_TIME_MAX, git.wait()).await else {
        tracing::warn!(environment = %push.environment.path, "git did not end by itself");
        git::end(&mut git).await;
        return Ok(1);
    };
    let status = status.map_err(failed)?;
    if is_push {
        receive::keep_shallow(&push).await?;
    }
    if is_push && !status.success() && !push.was_received() && has_no_room(&shared.root) {
        say(writer, "slipway: the server's disk is full; nothing was changed\n").await;
    }
    Ok(status.code().and_then(|code| u32::try_from(code).ok()).unwrap_or(1))
}

/// Why nothing more comes from the client.
enum InputEnd {
    /// It has closed the channel, lost its connection, or said nothing for too long.
    Gone,
    /// It asked for too much.
    Refused(Refused),
}

/// Brings the client's bytes to git until the channel is closed.
async fn receive_input(
    mut reader: ChannelReadHalf,
    stdin: ChildStdin,
    mut head: Option<(PushRequest, Arc<ShallowFile>)>,
    push: Arc<Incoming>,
) -> InputEnd {
    let mut stdin = Some(stdin);
    loop {
        let message = match &stdin {
            Some(_) if !push.was_received() => {
                tokio::time::timeout(CLIENT_SILENCE_MAX, reader.wait()).await.ok().flatten()
            }
            // Its hook follows a build now, and the client only listens.
            _ => reader.wait().await,
        };
        match message {
            Some(ChannelMsg::Data { data }) => {
                let written = match (&mut head, &mut stdin) {
                    (_, None) => Ok(()),
                    (Some((request, shallow)), Some(pipe)) if !request.is_complete() => {
                        match read_head(request, shallow, &push, &data).await {
                            Ok(for_git) => pipe.write_all(&for_git).await,
                            Err(refused) => return InputEnd::Refused(refused),
                        }
                    }
                    (_, Some(pipe)) => pipe.write_all(&data).await,
                };
                if written.is_err() {
                    // A git that has closed its input says why on its output.
                    stdin = None;
                }
            }
            Some(ChannelMsg::Eof) => stdin = None,
            Some(ChannelMsg::Close) | None => return InputEnd::Gone,
            Some(_) => {}
        }
    }
}

/// Reads the next bytes of a push's head, and returns what is for git.
async fn read_head(
    request: &mut PushRequest,
    shallow: &ShallowFile,
    push: &Incoming,
    bytes: &[u8],
) -> Result<Vec<u8>, Refused> {
    let for_git = request.feed(bytes)?;
    let commits = request.take_shallow();
    if !commits.is_empty() {
        // git reads the file when it has all commands, and those come after these lines.
        shallow.add(&commits).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a shallow push could not be taken");
            Refused("the server could not take a push from a shallow clone; nothing was changed".into())
        })?;
        push.note_shallow(commits);
    }
    Ok(for_git)
}

/// Brings git's bytes to the client; once the client is gone, to nobody, so that git can finish.
async fn send_output(
    mut pipe: impl AsyncRead + Unpin,
    writer: &ChannelWriteHalf<Msg>,
    extended: Option<u32>,
    mut gone: watch::Receiver<bool>,
) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        match pipe.read_buf(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let send = async {
            match extended {
                None => writer.data_bytes(chunk).await,
                Some(code) => writer.extended_data_bytes(code, chunk).await,
            }
        };
        tokio::select! {
            biased;
            () = raised(&mut gone) => {}
            _ = send => {}
        }
    }
}

async fn say(writer: &ChannelWriteHalf<Msg>, text: &str) {
    let _ = writer.extended_data_bytes(1, text.as_bytes().to_vec()).await;
}

fn has_no_room(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < DISK_FREE_MIN)
}
