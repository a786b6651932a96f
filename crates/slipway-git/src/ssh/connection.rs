//! One SSH connection: proving a key, then at most a few channels with one command each.
//!
//! Requests on a channel are answered at once, in the order in which they come; the command itself
//! runs in a task of its own, which reads the channel from its first message on, so that a client
//! that floods a channel without ever asking for a command fills one small buffer and is cut off.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::Mpint;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, MethodKind, MethodSet, Pty};
use slipway_access::{Caller, Kind};
use slipway_model::account::Right;
use slipway_model::id::KeyFingerprint;
use slipway_model::name::EnvironmentPath;

use crate::error::Error;
use crate::server::Shared;
use crate::ssh::Ticket;
use crate::ssh::admission::Misconduct;
use crate::ssh::command::{self, Refusal, Service};
use crate::transfer::{self, Transfer};

/// Channels that are open at one time; OpenSSH's MaxSessions.
const CHANNELS_MAX: usize = 10;
/// A channel is opened to ask for a command at once.
const COMMAND_WAIT: Duration = Duration::from_secs(20);
/// Requests on one channel besides the command that are refused before the connection is.
const REQUESTS_MAX: usize = 64;
/// Shortest RSA key; what NIST and everybody else has called too short since 2013 is shorter.
const RSA_BITS_MIN: usize = 2048;
/// Keys that are named to somebody none of whose keys is known.
const TRIED_MAX: usize = 5;

/// What is known of a connection.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    ticket: Arc<Ticket>,
    caller: Option<Caller>,
    /// Why each key that was offered was refused.
    tried: Vec<String>,
    channels: HashMap<ChannelId, Requests>,
}

/// What has been asked for on a channel.
#[derive(Default)]
struct Requests {
    has_command: bool,
    others: usize,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, ticket: Arc<Ticket>) -> Self {
        Self { shared, ticket, caller: None, tried: Vec::new(), channels: HashMap::new() }
    }

    /// Whose key it is; or, in words, why it is refused.
    async fn caller_of(&self, key: &PublicKey, algorithm: &Algorithm) -> Result<Caller, String> {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if let Some(fault) = fault_of(key, algorithm) {
            return Err(format!("{fingerprint} ({fault})"));
        }
        let known: Result<KeyFingerprint, _> = fingerprint.parse();
        let Ok(known) = known else { return Err(fingerprint) };
        self.shared.access.key(&known).await.map_err(|error| {
            if !error.is_not_authenticated() {
                tracing::error!(error = &error as &dyn std::error::Error, "a key could not be looked up");
            }
            fingerprint
        })
    }

    fn refuse_key(&mut self, why: String) -> Auth {
        self.ticket.blame(Misconduct::NotAuthenticated);
        if self.tried.len() < TRIED_MAX && !self.tried.contains(&why) {
            self.tried.push(why);
        }
        Auth::reject()
    }

    /// Refuses a request on a channel, and a connection that makes too many.
    fn refuse(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let requests = self.channels.entry(channel).or_default();
        requests.others += 1;
        if requests.others > REQUESTS_MAX {
            return Err(russh::Error::Disconnect);
        }
        session.channel_failure(channel)
    }

    /// Accepts the first command of a channel; its task has been given the command already.
    fn accept_command(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let requests = self.channels.entry(channel).or_default();
        if std::mem::replace(&mut requests.has_command, true) {
            return self.refuse(channel, session);
        }
        session.channel_success(channel)
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(match self.caller_of(offer.public_key, offer.algorithm).await {
            Ok(_) => Auth::Accept,
            Err(why) => self.refuse_key(why),
        })
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(match self.caller_of(key.public_key, key.algorithm).await {
            Ok(caller) => {
                self.caller = Some(caller);
                Auth::Accept
            }
            Err(why) => self.refuse_key(why),
        })
    }

    /// SSH has no way to say why a key is refused, and "Permission denied (publickey)" has sent many
    /// people searching in the wrong place. A client that has run out of keys comes here, is told
    /// which keys it tried, and is refused.
    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        self.ticket.blame(Misconduct::NotAuthenticated);
        if response.is_some() {
            let publickey = Some(MethodSet::from(&[MethodKind::PublicKey][..]));
            return Ok(Auth::Reject { proceed_with_methods: publickey, partial_success: false });
        }
        let tried =
            if self.tried.is_empty() { "your client offered none".to_owned() } else { self.tried.join(", ") };
        let instructions = format!(
            "slipway: no SSH key of yours is known here: {tried}.\n\
             Add one with 'slipway keys add ~/.ssh/id_ed25519.pub', or choose another with 'ssh -i'."
        );
        Ok(Auth::Partial { name: "".into(), instructions: instructions.into(), prompts: Vec::new().into() })
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), russh::Error> {
        self.ticket.authenticated();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(caller) = self.caller.clone() else { return Ok(()) };
        // A reply that is dropped is a refusal.
        if self.channels.len() >= CHANNELS_MAX {
            return Ok(());
        }
        self.channels.insert(channel.id(), Requests::default());
        reply.accept().await;
        tokio::spawn(serve_channel(self.shared.clone(), caller, channel));
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.accept_command(channel, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.accept_command(channel, session)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.refuse(channel, session)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.refuse(channel, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.refuse(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.refuse(channel, session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.refuse(channel, session)
    }
}

/// Why a key is refused whoever it belongs to.
fn fault_of(key: &PublicKey, algorithm: &Algorithm) -> Option<&'static str> {
    if matches!(algorithm, Algorithm::Rsa { hash: None }) {
        return Some("signs with SHA-1");
    }
    let modulus_bits = key.key_data().rsa().map(|rsa| bits(rsa.n()));
    modulus_bits.is_some_and(|bits| bits < RSA_BITS_MIN).then_some("an RSA key of fewer than 2048 bits")
}

fn bits(number: &Mpint) -> usize {
    let bytes = number.as_positive_bytes().unwrap_or_default();
    bytes.len() * 8 - bytes.first().map_or(0, |first| first.leading_zeros() as usize)
}

/// Waits for a channel's command, carries it out, and closes the channel.
async fn serve_channel(shared: Arc<Shared>, caller: Caller, channel: Channel<Msg>) {
    let (mut reader, writer) = channel.split();
    let command = tokio::time::timeout(COMMAND_WAIT, await_command(&mut reader)).await.ok().flatten();
    let status = match command {
        None => return drop(writer.close().await),
        Some(command) => carry_out(&shared, &caller, command, reader, &writer).await,
    };
    // Whoever has gone away does not hear it.
    let _ = writer.exit_status(status).await;
    let _ = writer.eof().await;
    let _ = writer.close().await;
}

/// The bytes of an exec request; none for a shell. `None` when the channel closes first.
async fn await_command(reader: &mut ChannelReadHalf) -> Option<Option<Vec<u8>>> {
    loop {
        match reader.wait().await? {
            ChannelMsg::Exec { command, .. } => return Some(Some(command)),
            ChannelMsg::RequestShell { .. } => return Some(None),
            ChannelMsg::Close => return None,
            _ => {}
        }
    }
}

/// The exit status for the client; 128 is git's own for "could not read from remote repository".
async fn carry_out(
    shared: &Arc<Shared>,
    caller: &Caller,
    command: Option<Vec<u8>>,
    reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> u32 {
    let (service, path) = match command.as_deref().map(command::parse) {
        None | Some(Err(Refusal::NotGit)) => {
            let text = format!(
                "Hi {}! Slipway does not offer a shell here, only git: git push {}/<tenant>/<project>/<environment>.git\n",
                caller.user(),
                shared.options.public_url
            );
            return refuse(writer, &text, 1).await;
        }
        Some(Err(Refusal::BadPath(why))) => {
            let text = format!("slipway: {why}; a repository is /<tenant>/<project>/<environment>.git\n");
            return refuse(writer, &text, 128).await;
        }
        Some(Ok(understood)) => understood,
    };
    let right = match service {
        Service::ReceivePack => Right::Deploy,
        Service::UploadPack => Right::View,
    };
    match transfer(shared, caller, service, right, &path, reader, writer).await {
        Ok(status) => status,
        Err(error) => {
            tracing::error!(environment = %path, error = &error as &dyn std::error::Error, "a push or fetch failed");
            let words = error.words_for_a_pusher();
            let words = words.unwrap_or_else(|| "the server could not do this; nothing was changed".into());
            refuse(writer, &format!("slipway: {words}\n"), 128).await
        }
    }
}

async fn transfer(
    shared: &Arc<Shared>,
    caller: &Caller,
    service: Service,
    right: Right,
    path: &EnvironmentPath,
    reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> Result<u32, Error> {
    let environment = shared.access.environment(caller, path, right).await;
    let project = shared.access.project(caller, &path.project(), right).await;
    let (environment, project) = match (environment, project) {
        (Ok(environment), Ok(project)) => (environment, project),
        (Err(error), _) | (_, Err(error)) => {
            if error.kind() == Kind::Internal {
                tracing::error!(environment = %path, error = &error as &dyn std::error::Error, "a right could not be checked");
            }
            return Ok(refuse(writer, &format!("slipway: {error}\n"), 128).await);
        }
    };
    let Some(busy) = shared.repositories.mark_busy(path.project()) else {
        let text = format!(
            "slipway: too many pushes and fetches of {} are under way; try again in a moment\n",
            path.tenant
        );
        return Ok(refuse(writer, &text, 128).await);
    };
    let repository = shared.repositories.open_or_make(path).await?;
    let (environment, by) = ((*environment).clone(), caller.user().clone());
    let transfer = Transfer { service, repository, environment, project, by, busy };
    transfer::serve(shared, transfer, reader, writer).await
}

async fn refuse(writer: &ChannelWriteHalf<Msg>, text: &str, status: u32) -> u32 {
    let _ = writer.extended_data_bytes(1, text.as_bytes().to_vec()).await;
    status
}
