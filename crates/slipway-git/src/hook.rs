//! The hook program's side: what git starts as `pre-receive` and `proc-receive`.
//!
//! A hook decides nothing. It hands its own standard streams to the server, over a unix socket, and
//! exits with the status that the server answers: so there is one place where a push is judged, and
//! nothing of git's conversation is copied once more. The hook is the daemon's own binary under
//! another name; it is plain blocking code, and starts in a few milliseconds.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::{Deserialize, Serialize};

/// The names under which git starts the program, for whoever looks at `argv[0]`.
pub const NAMES: [&str; 2] = ["pre-receive", "proc-receive"];

/// Where the server listens for hooks.
pub(crate) const SOCKET_VARIABLE: &str = "SLIPWAY_HOOK_SOCKET";
/// Which push the hook belongs to; random, and known to nobody else.
pub(crate) const TOKEN_VARIABLE: &str = "SLIPWAY_HOOK_TOKEN";
/// Bytes of one [`Hello`]: the options of a push are bounded before git is started.
pub(crate) const HELLO_BYTES_MAX: usize = 64 << 10;

/// What a hook says first, as JSON behind its length (4 bytes, big-endian).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// One of [`NAMES`].
    pub(crate) hook: String,
    /// See [`TOKEN_VARIABLE`].
    pub(crate) token: String,
    /// `GIT_QUARANTINE_PATH`: where the objects are until the push is accepted.
    pub(crate) quarantine: Option<String>,
    /// What `git push -o` said.
    pub(crate) options: Vec<String>,
}

/// Runs the hook of that name: the whole program when it is started by git.
pub fn main(name: &str) -> ExitCode {
    match ask(name) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Goes to the pusher. A build that was recorded does not need this process.
            let _ = writeln!(
                io::stderr(),
                " !     Slipway stopped while it handled this push ({error}).\n \
                 !     A build that had begun goes on: see it with 'slipway builds'."
            );
            ExitCode::FAILURE
        }
    }
}

fn ask(name: &str) -> io::Result<u8> {
    let variable = |name| std::env::var(name).map_err(|_| io::Error::other(format!("{name} is not set")));
    let options: usize =
        variable("GIT_PUSH_OPTION_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    let hello = Hello {
        hook: name.to_owned(),
        token: variable(TOKEN_VARIABLE)?,
        quarantine: variable("GIT_QUARANTINE_PATH").ok(),
        options: (0..options)
            .filter_map(|at| std::env::var_os(format!("GIT_PUSH_OPTION_{at}")))
            .map(|option| option.to_string_lossy().into_owned())
            .collect(),
    };
    let json = serde_json::to_vec(&hello)?;
    let mut message = u32::try_from(json.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    message.extend(json);

    let mut server = UnixStream::connect(variable(SOCKET_VARIABLE)?)?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&streams)) {
        return Err(io::Error::other("no room for three file descriptors"));
    }
    let sent = rustix::net::sendmsg(&server, &[IoSlice::new(&message)], &mut control, SendFlags::empty())?;
    server.write_all(&message[sent..])?;
    let mut status = [0];
    server.read_exact(&mut status)?;
    Ok(status[0])
}
