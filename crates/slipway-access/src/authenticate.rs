//! The ways to a [`Caller`].

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use slipway_model::account::{SshKey, Token, User};
use slipway_model::id::{KeyFingerprint, TokenId};
use slipway_model::limit::PASSWORD_BYTES_MAX;
use slipway_model::name::UserName;
use slipway_model::unit::Span;

use crate::access::Access;
use crate::caller::{Caller, Proof};
use crate::error::Error;
use crate::secret::{self, Purpose};
use crate::throttle::Throttle;

/// The name under which the operator on this machine acts. No user can have it.
pub(crate) const LOCAL_USER: &str = "root";

impl Access {
    /// By password. `source` is where the request came from.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] after the same time for a wrong password, an unknown user and a
    /// disabled one; [`Error::Throttled`]; [`Error::Store`].
    pub async fn password(&self, user: &UserName, password: &str, source: IpAddr) -> Result<Caller, Error> {
        self.attempt(|throttle, now| throttle.take(user, source, now)).map_err(throttled)?;
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(Error::NotAuthenticated);
        }
        let found = self.get::<User>(user).await?.map(|user| user.record);
        let enabled = found.as_ref().is_some_and(|user| !user.disabled);
        let verified = self.passwords.verify(password, found.and_then(|user| user.password_hash)).await;
        if matches!(verified, Err(_) | Ok(true)) {
            // Being right costs no attempt, and neither does our being overloaded.
            self.attempt(|throttle, now| throttle.give_back(user, source, now));
        }
        if matches!(verified, Ok(true)) && enabled {
            self.attempt(|throttle, now| throttle.was_right(user, source, now));
        }
        if !(verified? && enabled) {
            tracing::info!(user.name = %user, source = %source, "login refused");
            return Err(Error::NotAuthenticated);
        }
        Ok(Caller::new(user.clone(), Proof::Password))
    }

    /// By a user name, and that user's password or one of the user's tokens in its place, as HTTP's basic
    /// authentication sends them with every request: `credentials` are what follows the word `Basic`
    /// (RFC 7617). `source` is where the request came from. What
    /// is wrong costs an attempt, as for [`Access::password`].
    ///
    /// # Errors
    /// As for [`Access::password`].
    pub async fn basic(&self, credentials: &str, source: IpAddr) -> Result<Caller, Error> {
        let (user, secret) = split_credentials(credentials).ok_or(Error::NotAuthenticated)?;
        let secret = &*secret;
        if secret::public_parts(Purpose::Token, secret).is_none() {
            return self.password_again(&user, secret, source).await;
        }
        match self.token(secret).await {
            Ok(caller) if *caller.user() == user => Ok(caller),
            Ok(_) | Err(Error::NotAuthenticated) => {
                // A token cannot be guessed, so an attempt is taken only from those who try all the same.
                self.attempt(|throttle, now| throttle.take(&user, source, now)).map_err(throttled)?;
                Err(Error::NotAuthenticated)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Access::password`], quickly if the password has been right a short while ago.
    async fn password_again(&self, user: &UserName, password: &str, source: IpAddr) -> Result<Caller, Error> {
        if let Some(caller) = self.recognise(user, password, source).await? {
            return Ok(caller);
        }
        // Of many requests at once that a client begins with, one has its password hashed.
        let _turn = self.verified.turn(user, source).await;
        if let Some(caller) = self.recognise(user, password, source).await? {
            return Ok(caller);
        }
        let hash = self.get::<User>(user).await?.and_then(|user| user.record.password_hash);
        let caller = self.password(user, password, source).await?;
        if let Some(hash) = hash {
            self.verified.remember(user, password, &hash, Instant::now());
        }
        Ok(caller)
    }

    /// The caller, if the password is remembered as the right one for the hash that the user has now.
    async fn recognise(
        &self,
        user: &UserName,
        password: &str,
        source: IpAddr,
    ) -> Result<Option<Caller>, Error> {
        let Some(found) = self.get::<User>(user).await?.map(|user| user.record) else { return Ok(None) };
        let Some(hash) = found.password_hash.filter(|_| !found.disabled) else { return Ok(None) };
        // Taken first and given back if it is right, as for a password that is hashed: otherwise this
        // would be a way to guess without end.
        let recognised = self.attempt(|throttle, now| {
            throttle.take(user, source, now)?;
            let recognised = self.verified.recognise(user, password, &hash, now);
            throttle.give_back(user, source, now);
            Ok(recognised)
        });
        let recognised = recognised.map_err(throttled)?;
        Ok(recognised.then(|| Caller::new(user.clone(), Proof::Password)))
    }

    /// By API token.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] when it is not one, is unknown, revoked or expired, or its user is
    /// disabled; [`Error::Store`].
    pub async fn token(&self, text: &str) -> Result<Caller, Error> {
        let id: TokenId = match secret::public_parts(Purpose::Token, text).as_deref() {
            Some([id]) => id.parse().map_err(|_| Error::NotAuthenticated)?,
            _ => return Err(Error::NotAuthenticated),
        };
        let token = self.get::<Token>(&id).await?.map(|token| token.record);
        // An unknown id is compared too, with nothing.
        let stored = token.as_ref().map_or("", |token| &token.secret_hash);
        if !secret::matches(text, stored) {
            return Err(Error::NotAuthenticated);
        }
        let user = token.map(|token| token.user).ok_or(Error::NotAuthenticated)?;
        let caller = Caller::new(user, Proof::Token(id));
        self.standing(&caller).await?;
        Ok(caller)
    }

    /// By SSH key. The SSH server has checked that the client has the private half.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] when nobody has that key or its user is disabled;
    /// [`Error::Store`].
    pub async fn key(&self, fingerprint: &KeyFingerprint) -> Result<Caller, Error> {
        let key = self.get::<SshKey>(fingerprint).await?.ok_or(Error::NotAuthenticated)?.record;
        let caller = Caller::new(key.user, Proof::Key(key.fingerprint));
        self.standing(&caller).await?;
        Ok(caller)
    }

    /// The operator on this machine: whoever connects to the server's own unix socket as user id 0.
    /// The caller of this function has checked that.
    pub fn local_operator(&self) -> Caller {
        let user = LOCAL_USER.parse().expect("the constant is a name");
        Caller::new(user, Proof::Local)
    }

    pub(crate) fn attempt<T>(&self, act: impl FnOnce(&mut Throttle, Instant) -> T) -> T {
        // Counters are right enough even if a panic elsewhere left one half way.
        act(&mut self.throttle.lock().unwrap_or_else(PoisonError::into_inner), Instant::now())
    }
}

/// `<user>:<secret>` in base64.
fn split_credentials(credentials: &str) -> Option<(UserName, String)> {
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some((user.parse().ok()?, secret.to_owned()))
}

pub(crate) fn throttled(wait: Duration) -> Error {
    Error::Throttled { wait: Span::from_millis(wait.as_millis().try_into().unwrap_or(u64::MAX)) }
}
