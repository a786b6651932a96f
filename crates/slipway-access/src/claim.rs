//! How a fresh server gets its first operator: with a token that is printed where only whoever
//! started the server sees it. There is no default password and no open registration.

use slipway_model::account::{Claim, User};
use slipway_model::name::UserName;
use slipway_store::Batch;

use crate::access::Access;
use crate::account::refuse_reserved;
use crate::caller::{Caller, Proof};
use crate::error::Error;
use crate::secret::{self, Purpose};

impl Access {
    /// The token to print at start; `None` once there is a user. Each start makes a new one, because
    /// only a hash of the last is known; the last one does not count any more.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn create_claim(&self) -> Result<Option<String>, Error> {
        if !self.list::<User>("").await?.is_empty() {
            return Ok(None);
        }
        let text = secret::make(Purpose::Claim, &[]);
        let claim = Claim { secret_hash: secret::hash(&text), created_at: self.now() };
        let batch = match self.get::<Claim>(&()).await? {
            Some(found) => Batch::new().update(&claim, found.version),
            None => Batch::new().create(&claim),
        };
        // A conflict means that somebody is claiming the server at this moment.
        Ok(self.commit(batch).await?.then_some(text))
    }

    /// Makes the first operator. The token works once.
    ///
    /// # Errors
    /// [`Error::WrongClaim`] for a wrong or used token; [`Error::Invalid`] for a password that
    /// will not do, and the token still works; [`Error::Store`].
    pub async fn claim(&self, token: &str, user: &UserName, password: &str) -> Result<Caller, Error> {
        let well_formed = secret::public_parts(Purpose::Claim, token).is_some();
        let claim = self.get::<Claim>(&()).await?.ok_or(Error::WrongClaim)?;
        if !well_formed || !secret::matches(token, &claim.record.secret_hash) {
            return Err(Error::WrongClaim);
        }
        refuse_reserved(user)?;
        let operator = User {
            name: user.clone(),
            password_hash: Some(self.passwords.hash(user, password).await?),
            operator: true,
            disabled: false,
            created_at: self.now(),
        };
        if !self.commit(Batch::new().delete::<Claim>(&(), claim.version).create(&operator)).await? {
            return Err(Error::WrongClaim);
        }
        tracing::info!(user.name = %user, "the server has been claimed");
        Ok(Caller::new(user.clone(), Proof::Password))
    }
}
