//! The server's side of the hooks: a unix socket on which hook processes hand over their streams.
//!
//! A hook proves that it belongs to a push by that push's random token, and by running as git's user
//! or as we do. Both are needed: the token alone could leak into a core dump, the user alone would
//! let one push answer for another.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};

use crate::error::Error;
use crate::git::GitUser;
use crate::hook::{HELLO_BYTES_MAX, Hello};
use crate::pkt_line::{self, PktLine};
use crate::receive;
use crate::server::Shared;

/// A hook says hello at once, or is not one.
const HELLO_TIME_MAX: Duration = Duration::from_secs(10);

/// The three standard streams of a hook, now ours.
#[derive(Debug)]
pub(crate) struct Streams {
    stdin: OwnedFd,
    pub(crate) stdout: Answer,
    pub(crate) stderr: OwnedFd,
}

/// A hook's standard output.
#[derive(Debug)]
pub(crate) struct Answer(OwnedFd);

/// Makes the socket; one that a killed server has left is replaced.
pub(crate) fn listen(path: &Path, user: Option<GitUser>) -> Result<UnixListener, Error> {
    let bind = || {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        if let Some(GitUser { uid, gid }) = user {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
        Ok(listener)
    };
    bind().map_err(|source| Error::HookSocket { path: path.to_owned(), source })
}

/// Serves hooks until the task is ended.
pub(crate) async fn run(shared: Arc<Shared>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((hook, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(&shared, hook).await {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a hook could not be served"
                        );
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "could not accept a hook");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(shared: &Shared, mut hook: UnixStream) -> Result<(), Error> {
    let peer = hook.peer_cred().map_err(Error::HookGone)?.uid();
    let ours = rustix::process::getuid().as_raw();
    if peer != ours && Some(peer) != shared.options.user.map(|user| user.uid) {
        return Err(Error::Hook("it runs as another user"));
    }
    let hello = tokio::time::timeout(HELLO_TIME_MAX, receive_hello(&mut hook));
    let (hello, streams) = hello.await.map_err(|_| Error::Hook("it said nothing"))??;
    let push = shared.incoming(&hello.token).ok_or(Error::Hook("its push is not known"))?;
    let served = match hello.hook.as_str() {
        "pre-receive" => {
            let quarantine = hello.quarantine.map(PathBuf::from);
            receive::pre_receive(shared, &push, streams, quarantine, &hello.options).await
        }
        "proc-receive" => receive::proc_receive(shared, &push, streams).await,
        _ => Err(Error::Hook("there is no such hook")),
    };
    // The streams are closed by now, so git sees their end when the hook exits.
    let status = u8::from(!matches!(served, Ok(true)));
    hook.write_all(&[status]).await.map_err(Error::HookGone)?;
    match served {
        // The client and its git went away in the middle; that is no fault of anybody here.
        Err(Error::HookGone(_)) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn receive_hello(hook: &mut UnixStream) -> Result<(Hello, Streams), Error> {
    let mut bytes = vec![0; HELLO_BYTES_MAX + 4];
    let (mut filled, streams) = loop {
        hook.readable().await.map_err(Error::HookGone)?;
        match hook.try_io(Interest::READABLE, || receive_streams(hook, &mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            received => break received.map_err(Error::HookGone)?,
        }
    };
    let [stdin, stdout, stderr] =
        streams.try_into().map_err(|_| Error::Hook("it did not hand over three streams"))?;
    let mut wanted = 4;
    loop {
        if filled >= 4 {
            wanted = 4 + u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        }
        if wanted > bytes.len() {
            return Err(Error::Hook("its hello is too long"));
        }
        if filled >= wanted {
            break;
        }
        match hook.read(&mut bytes[filled..wanted]).await.map_err(Error::HookGone)? {
            0 => return Err(Error::Hook("its hello is cut off")),
            count => filled += count,
        }
    }
    let hello =
        serde_json::from_slice(&bytes[4..wanted]).map_err(|_| Error::Hook("its hello is not understood"))?;
    Ok((hello, Streams { stdin, stdout: Answer(stdout), stderr }))
}

fn receive_streams(hook: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        hook.as_fd(),
        &mut [IoSliceMut::new(bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut streams = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            streams.extend(descriptors);
        }
    }
    Ok((received.bytes, streams))
}

impl Streams {
    /// Standard input to its end, as lines.
    pub(crate) async fn read_lines(&mut self, bytes_max: u64) -> Result<Vec<Vec<u8>>, Error> {
        let mut text = Vec::new();
        let input = self.input()?;
        input.take(bytes_max).read_to_end(&mut text).await.map_err(Error::HookGone)?;
        Ok(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// What git tells `proc-receive` (githooks(5)): its version, which we answer, then the updates.
    pub(crate) async fn read_proc_receive(&mut self, bytes_max: u64) -> Result<Vec<Vec<u8>>, Error> {
        let mut input = self.input()?.take(bytes_max);
        let mut buffer = Vec::new();
        let greeting = read_section(&mut input, &mut buffer).await?;
        if !greeting.first().is_some_and(|line| line.starts_with(b"version=1")) {
            return Err(Error::Hook("proc-receive: git speaks another version"));
        }
        // No features are named, so git sends neither push options nor anything atomic.
        self.stdout.write_lines(&["version=1".into()]).await?;
        read_section(&mut input, &mut buffer).await
    }

    fn input(&self) -> Result<pipe::Receiver, Error> {
        let copy = self.stdin.try_clone().map_err(Error::HookGone)?;
        pipe::Receiver::from_owned_fd(copy).map_err(Error::HookGone)
    }
}

impl Answer {
    /// Tells git the fate of each update.
    pub(crate) async fn answer_proc_receive(&mut self, lines: &[String]) -> Result<(), Error> {
        self.write_lines(lines).await
    }

    async fn write_lines(&mut self, lines: &[String]) -> Result<(), Error> {
        let copy = self.0.try_clone().map_err(Error::HookGone)?;
        let mut pipe = pipe::Sender::from_owned_fd(copy).map_err(Error::HookGone)?;
        let mut bytes = Vec::new();
        for line in lines {
            pkt_line::put(&mut bytes, line);
        }
        pkt_line::put_flush(&mut bytes);
        pipe.write_all(&bytes).await.map_err(Error::HookGone)
    }
}

/// Reads pkt-lines up to a flush.
async fn read_section(
    input: &mut (impl tokio::io::AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut lines = Vec::new();
    loop {
        let taken = pkt_line::take(buffer).map_err(|_| Error::Hook("proc-receive: malformed pkt-line"))?;
        let Some((line, length)) = taken else {
            if input.read_buf(buffer).await.map_err(Error::HookGone)? == 0 {
                return Err(Error::Hook("proc-receive: git stopped in the middle"));
            }
            continue;
        };
        let is_end = match line {
            PktLine::Flush => true,
            PktLine::Data(payload) => {
                lines.push(payload.to_vec());
                false
            }
        };
        buffer.drain(..length);
        if is_end {
            return Ok(lines);
        }
    }
}
