//! What operators do: users, and looking at everything. Quotas and orders for nodes are in `quota` and
//! `node`, identities of nodes in `node_identity`.

use slipway_model::account::{SshKey, User};
use slipway_model::instance::Node;
use slipway_model::name::UserName;
use slipway_store::{Batch, Versioned};

use crate::access::{Access, TRIES, too_busy};
use crate::account::refuse_reserved;
use crate::caller::Caller;
use crate::error::Error;

mod node;

mod node_identity;

pub use node_identity::NodeChange;
pub(crate) use node_identity::check_attributes;

mod quota;

pub use quota::QuotaInForce;

/// Proof that a caller is an operator.
#[derive(Debug, Clone)]
pub struct Operator {
    access: Access,
    caller: Caller,
}

impl Access {
    /// The operator's desk, for an operator.
    ///
    /// # Errors
    /// [`Error::OperatorOnly`], [`Error::NotAuthenticated`], [`Error::Store`].
    pub async fn operator(&self, caller: &Caller) -> Result<Operator, Error> {
        if !self.standing(caller).await?.may_operate() {
            return Err(Error::OperatorOnly);
        }
        Ok(Operator { access: self.clone(), caller: caller.clone() })
    }

    pub(crate) async fn set_password(&self, user: &UserName, password: &str) -> Result<(), Error> {
        let hash = self.passwords.hash(user, password).await?;
        self.change_user(user, |user| user.password_hash = Some(hash.clone())).await.map(drop)
    }

    async fn change_user(&self, name: &UserName, change: impl Fn(&mut User)) -> Result<User, Error> {
        for _ in 0..TRIES {
            let found = self.user(name).await?;
            let mut user = found.record;
            change(&mut user);
            if self.commit(Batch::new().update(&user, found.version)).await? {
                return Ok(user);
            }
        }
        Err(too_busy())
    }

    async fn user(&self, name: &UserName) -> Result<Versioned<User>, Error> {
        self.get::<User>(name).await?.ok_or_else(|| Error::NotFound { what: format!("user {name}") })
    }
}

impl Operator {
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    pub(crate) fn user(&self) -> &UserName {
        self.caller.user()
    }

    /// All users.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        Ok(self.access.list::<User>("").await?.into_iter().map(|user| user.record).collect())
    }

    /// All nodes.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        Ok(self.access.list::<Node>("").await?.into_iter().map(|node| node.record).collect())
    }

    /// Makes a user; without a password, one who can only use keys.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Invalid`], [`Error::Store`].
    pub async fn create_user(
        &self,
        name: &UserName,
        password: Option<&str>,
        operator: bool,
    ) -> Result<User, Error> {
        refuse_reserved(name)?;
        let password_hash = match password {
            Some(password) => Some(self.access.passwords.hash(name, password).await?),
            None => None,
        };
        let user = User {
            name: name.clone(),
            password_hash,
            operator,
            disabled: false,
            created_at: self.access.now(),
        };
        if !self.access.commit(Batch::new().create(&user)).await? {
            return Err(Error::Taken { what: format!("the user {name}") });
        }
        tracing::info!(user.name = %name, user.operator = operator, by = %self.caller.user(), "user made");
        Ok(user)
    }

    /// Switches a user off: no password, key or token of theirs counts from then on.
    ///
    /// # Errors
    /// [`Error::Rule`] for the last operator (N99), [`Error::NotFound`], [`Error::Store`].
    pub async fn disable_user(&self, name: &UserName) -> Result<(), Error> {
        for _ in 0..TRIES {
            let found = self.access.user(name).await?;
            let mut batch =
                Batch::new().update(&User { disabled: true, ..found.record.clone() }, found.version);
            if found.record.operator && !found.record.disabled {
                let users = self.access.list::<User>("").await?;
                let other = users
                    .iter()
                    .find(|user| user.record.operator && !user.record.disabled && user.record.name != *name);
                let Some(other) = other else {
                    return Err(Error::rule(format!(
                        "{name} is the last operator; make another user operator first"
                    )));
                };
                // Two operators who switch each other off at once: one of them is refused.
                batch = batch.expect::<User>(&other.record.name, other.version);
            }
            if self.access.commit(batch).await? {
                tracing::info!(user.name = %name, by = %self.caller.user(), "user switched off");
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// Switches a user on again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn enable_user(&self, name: &UserName) -> Result<(), Error> {
        self.access.change_user(name, |user| user.disabled = false).await.map(drop)
    }

    /// Gives a user a new password.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Store`].
    pub async fn reset_password(&self, name: &UserName, password: &str) -> Result<(), Error> {
        self.access.user(name).await?;
        self.access.set_password(name, password).await
    }

    /// Adds a key for a user, given as a line of a `.pub` file.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Taken`], [`Error::Limit`], [`Error::Store`].
    pub async fn add_key(&self, user: &UserName, line: &str) -> Result<SshKey, Error> {
        self.access.user(user).await?;
        self.access.add_key_for(user, line).await
    }
}
