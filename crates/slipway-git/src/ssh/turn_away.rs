//! A server that cannot serve git says so in words, as the host that it is.
//!
//! Everybody gets in, because nobody gets anything: whatever is asked for is answered with a sentence,
//! which git shows to whoever pushes. A refusal before that would be "Permission denied" to most clients.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session};
use russh::{Channel, ChannelId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::error::Error;
use crate::host_key;
use crate::ssh::configuration;
use crate::ssh::cut::Cut;

/// A greeting, a key exchange and a sentence.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What git itself says when a repository cannot be read.
const STATUS: u32 = 128;

/// Has a host key, and a sentence for everybody.
#[derive(Clone, Debug)]
pub struct Doorkeeper {
    config: Arc<Config>,
    public_key: String,
}

impl Doorkeeper {
    /// With the host key of that file, which is made if it does not exist.
    ///
    /// # Errors
    /// [`Error::HostKey`].
    pub fn new(host_key: &Path) -> Result<Self, Error> {
        let key = host_key::load_or_make(host_key)?;
        let public_key = key.public_key().to_openssh().unwrap_or_default();
        Ok(Self { config: Arc::new(configuration(key)), public_key })
    }

    /// The host's public key, as `known_hosts` wants it: algorithm and base64.
    pub fn host_key(&self) -> &str {
        &self.public_key
    }

    /// Tells whoever is at the other end why it cannot be served, and ends the connection. Takes at most
    /// ten seconds.
    pub async fn turn_away<S>(&self, stream: S, sentence: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Raised by its end, whatever ends this: the session is a task of its own.
        let (_open, cut) = watch::channel(false);
        let stream = Cut::new(stream, cut.clone(), cut);
        let told = Told(format!("slipway: {sentence}\n"));
        let telling = async {
            match russh::server::run_stream(self.config.clone(), stream, told).await {
                Ok(session) => session.await,
                Err(error) => Err(error),
            }
        };
        if let Ok(Err(error)) = tokio::time::timeout(TIME_MAX, telling).await {
            tracing::debug!(%error, "somebody left before being told that git is not served");
        }
    }
}

/// Lets everybody in, and gives nobody anything.
struct Told(String);

impl Told {
    fn tell(&self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(channel)?;
        session.extended_data(channel, 1, self.0.clone())?;
        session.exit_status_request(channel, STATUS)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

impl Handler for Told {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.tell(channel, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.tell(channel, session)
    }
}
