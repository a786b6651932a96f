//! A server that cannot serve git says so in words, as the host that it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Auth, Config, Handler};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::Error;
use crate::host_key;
use crate::ssh::configuration;

/// A greeting, a key exchange and a sentence.
const TIME_MAX: Duration = Duration::from_secs(10);

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
        let told = Told(format!("slipway: {sentence}\n"));
        let telling = async {
            if let Ok(session) = russh::server::run_stream(self.config.clone(), stream, told).await {
                let handle = session.handle();
                tokio::select! {
                    _ended = session => {}
                    () = tokio::time::sleep(TIME_MAX) => {
                        let reason = russh::Disconnect::ByApplication;
                        drop(handle.disconnect(reason, sentence.to_owned(), "en".into()).await);
                    }
                }
            }
        };
        let _late = tokio::time::timeout(TIME_MAX * 2, telling).await;
    }
}

/// Lets nobody in.
struct Told(String);

impl Handler for Told {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(Some(self.0.clone()))
    }

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::reject())
    }
}
