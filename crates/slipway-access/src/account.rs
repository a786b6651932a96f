//! What belongs to a user: password, keys, tokens, and making tenants.

use slipway_model::account::{Member, Role, SshKey, Tenant, TenantIndexes, Token, TokenScope, User};
use slipway_model::id::{KeyFingerprint, TokenId};
use slipway_model::limit::{
    KEYS_PER_USER_MAX, TENANT_INDEX_MAX, TENANTS_PER_USER_MAX, TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX,
    TOKENS_PER_USER_MAX,
};
use slipway_model::name::{TenantName, UserName};
use slipway_model::project::HostClaim;
use slipway_model::unit::Span;
use slipway_store::Batch;

use crate::access::{Access, TRIES, too_busy};
use crate::authenticate::LOCAL_USER;
use crate::caller::{Caller, Proof, Standing};
use crate::error::Error;
use crate::secret::{self, Purpose};
use crate::ssh_key::PublicKey;

const LABEL_CHARS_MAX: usize = 100;

/// A caller's own account.
#[derive(Debug, Clone)]
pub struct Account {
    access: Access,
    caller: Caller,
    standing: Standing,
}

/// A token that somebody wants. `None` means as much as the caller may.
#[derive(Debug, Clone, Default)]
pub struct TokenWish {
    /// What to call it.
    pub label: String,
    /// Limit it to one tenant.
    pub tenant: Option<TenantName>,
    /// Limit it to a role.
    pub role_max: Option<Role>,
    /// How long it lasts; [`TOKEN_LIFE_DEFAULT`] when absent.
    pub life: Option<Span>,
}

/// A token that has just been made, with what is shown this once.
#[derive(Clone)]
pub struct NewToken {
    /// What is known of it from now on.
    pub token: Token,
    /// The whole token.
    pub text: String,
}

impl Access {
    /// The caller's own account. The operator on this machine has none.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`], [`Error::Rule`], [`Error::Store`].
    pub async fn account(&self, caller: &Caller) -> Result<Account, Error> {
        if caller.proof == Proof::Local {
            return Err(Error::rule("root on this machine has no account of its own; name a user"));
        }
        let standing = self.standing(caller).await?;
        Ok(Account { access: self.clone(), caller: caller.clone(), standing })
    }

    /// Ends the token that the caller came with.
    ///
    /// # Errors
    /// [`Error::Rule`] when it was something else, [`Error::Store`].
    pub async fn logout(&self, caller: &Caller) -> Result<(), Error> {
        let id = caller.token().ok_or_else(|| Error::rule("only a token can be logged out"))?;
        self.delete_token(caller.user(), id).await
    }

    /// Adds a key for a user, who is known to want it.
    pub(crate) async fn add_key_for(&self, user: &UserName, line: &str) -> Result<SshKey, Error> {
        let PublicKey { fingerprint, text, label } = PublicKey::parse(line)?;
        if self.keys_of(user).await?.len() >= KEYS_PER_USER_MAX {
            return Err(Error::Limit { what: "SSH keys for one user", max: KEYS_PER_USER_MAX });
        }
        let key = SshKey { fingerprint, user: user.clone(), label, public_key: text, created_at: self.now() };
        if !self.commit(Batch::new().create(&key)).await? {
            // Not whose: that would tell who works here.
            return Err(Error::Taken { what: format!("the key {}", key.fingerprint) });
        }
        Ok(key)
    }

    pub(crate) async fn keys_of(&self, user: &UserName) -> Result<Vec<SshKey>, Error> {
        let all = self.list::<SshKey>("").await?;
        Ok(all.into_iter().map(|key| key.record).filter(|key| key.user == *user).collect())
    }

    async fn delete_token(&self, user: &UserName, id: &TokenId) -> Result<(), Error> {
        let not_found = || Error::NotFound { what: format!("token {id}") };
        let token =
            self.get::<Token>(id).await?.filter(|token| token.record.user == *user).ok_or_else(not_found)?;
        if self.commit(Batch::new().delete::<Token>(id, token.version)).await? {
            Ok(())
        } else {
            Err(not_found())
        }
    }
}

impl Account {
    /// The user.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`], [`Error::Store`].
    pub async fn user(&self) -> Result<User, Error> {
        self.access.enabled_user(self.caller.user()).await
    }

    /// Whether the caller may do what only operators may.
    pub fn is_operator(&self) -> bool {
        self.standing.may_operate()
    }

    /// Changes the password. Takes the old one, even from somebody who is logged in.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] for a wrong old password, [`Error::Throttled`], [`Error::Invalid`]
    /// for the new one, [`Error::LimitedToken`], [`Error::Store`].
    pub async fn change_password(&self, old: &str, new: &str, source: std::net::IpAddr) -> Result<(), Error> {
        self.unlimited().await?;
        self.access.password(self.caller.user(), old, source).await?;
        self.access.set_password(self.caller.user(), new).await
    }

    /// The SSH keys.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn keys(&self) -> Result<Vec<SshKey>, Error> {
        self.access.keys_of(self.caller.user()).await
    }

    /// Adds an SSH key, given as a line of a `.pub` file.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Taken`], [`Error::Limit`], [`Error::LimitedToken`],
    /// [`Error::Store`].
    pub async fn add_key(&self, line: &str) -> Result<SshKey, Error> {
        self.unlimited().await?;
        self.access.add_key_for(self.caller.user(), line).await
    }

    /// Removes an SSH key, which does not count any more from then on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LimitedToken`], [`Error::Store`].
    pub async fn remove_key(&self, fingerprint: &KeyFingerprint) -> Result<(), Error> {
        self.unlimited().await?;
        let not_found = || Error::NotFound { what: format!("key {fingerprint}") };
        let key = self.access.get::<SshKey>(fingerprint).await?;
        let key = key.filter(|key| key.record.user == *self.caller.user()).ok_or_else(not_found)?;
        let removed = self.access.commit(Batch::new().delete::<SshKey>(fingerprint, key.version)).await?;
        if removed { Ok(()) } else { Err(not_found()) }
    }

    /// The tokens that have not expired.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let (now, user) = (self.access.now(), self.caller.user());
        let all = self.access.list::<Token>("").await?;
        let mine = |token: &Token| token.user == *user && token.expires_at > now;
        Ok(all.into_iter().map(|token| token.record).filter(mine).collect())
    }

    /// Makes a token; it is never worth more than what the caller came with. Clears expired ones.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Limit`], [`Error::LimitedToken`], [`Error::NotFound`] for a tenant
    /// that the user is not in, [`Error::Store`].
    pub async fn create_token(&self, wish: &TokenWish) -> Result<NewToken, Error> {
        self.unlimited().await?;
        let life = wish.life.unwrap_or(TOKEN_LIFE_DEFAULT);
        if life == Span::ZERO || life > TOKEN_LIFE_MAX {
            return Err(Error::invalid(format!("a token lives between a moment and {TOKEN_LIFE_MAX}")));
        }
        let label: String = wish.label.chars().filter(|c| !c.is_control()).take(LABEL_CHARS_MAX).collect();
        if let Some(tenant) = &wish.tenant {
            self.access.tenant(&self.caller, tenant, slipway_model::account::Right::View).await?;
        }
        let (now, user) = (self.access.now(), self.caller.user());
        let mine =
            self.access.list::<Token>("").await?.into_iter().filter(|token| token.record.user == *user);
        let (live, over): (Vec<_>, Vec<_>) = mine.partition(|token| token.record.expires_at > now);
        if live.len() >= TOKENS_PER_USER_MAX {
            return Err(Error::Limit { what: "tokens for one user; revoke some", max: TOKENS_PER_USER_MAX });
        }
        let id = TokenId::from_random(rand::random());
        let text = secret::make(Purpose::Token, &[id.as_str()]);
        let token = Token {
            id,
            user: user.clone(),
            label,
            secret_hash: secret::hash(&text),
            scope: TokenScope {
                tenant: wish.tenant.clone(),
                role_max: wish.role_max.unwrap_or(Role::Owner),
                operator: self.standing.operator,
            },
            created_at: now,
            expires_at: now.plus(life),
        };
        for expired in over {
            // If somebody else clears it at the same moment, that is as good.
            self.access.commit(Batch::new().delete::<Token>(&expired.record.id, expired.version)).await?;
        }
        if !self.access.commit(Batch::new().create(&token)).await? {
            return Err(too_busy());
        }
        Ok(NewToken { token, text })
    }

    /// Revokes a token, which does not count any more from then on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::LimitedToken`], [`Error::Store`].
    pub async fn revoke_token(&self, id: &TokenId) -> Result<(), Error> {
        self.unlimited().await?;
        self.access.delete_token(self.caller.user(), id).await
    }

    /// Makes a tenant, which the user then owns.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Rule`] for the name of a tenant that had host names, [`Error::Limit`],
    /// [`Error::LimitedToken`], [`Error::Store`].
    pub async fn create_tenant(&self, name: &TenantName) -> Result<Tenant, Error> {
        let user = self.caller.user();
        for _ in 0..TRIES {
            let standing = self.unlimited().await?;
            let tenants = self.access.list::<Tenant>("").await?;
            if tenants.iter().any(|tenant| tenant.record.name == *name) {
                return Err(Error::Taken { what: format!("the tenant {name}") });
            }
            // The platform's host names of a deleted tenant are made of its name, and may still have
            // visitors (Heroku 2023).
            let hosts = self.access.list::<HostClaim>("").await?;
            if hosts.iter().any(|claim| claim.record.service.tenant == *name) && !standing.operator {
                return Err(Error::rule(format!(
                    "the name {name} belonged to a tenant that had host names; only an operator can give it again"
                )));
            }
            let made = tenants.iter().filter(|tenant| tenant.record.created_by == *user).count();
            if made >= TENANTS_PER_USER_MAX && !standing.operator {
                return Err(Error::Limit { what: "tenants made by one user", max: TENANTS_PER_USER_MAX });
            }
            let indexes = self.access.get::<TenantIndexes>(&()).await?;
            let counted = indexes.as_ref().map_or(0, |indexes| indexes.record.next);
            // Whoever deletes the counter, which nobody notices, must not have two tenants share user ids and
            // reach each other.
            let given = tenants.iter().map(|tenant| tenant.record.index + 1).max().unwrap_or(0);
            let index = counted.max(given);
            if index > TENANT_INDEX_MAX {
                return Err(Error::Limit {
                    what: "tenants over the life of a server",
                    max: TENANT_INDEX_MAX as usize,
                });
            }
            let next = TenantIndexes { next: index + 1 };
            let batch = match indexes {
                Some(indexes) => Batch::new().update(&next, indexes.version),
                None => Batch::new().create(&next),
            };
            let now = self.access.now();
            let tenant = Tenant { name: name.clone(), index, created_at: now, created_by: user.clone() };
            let owner = Member { tenant: name.clone(), user: user.clone(), role: Role::Owner, since: now };
            if self.access.commit(batch.create(&tenant).create(&owner)).await? {
                return Ok(tenant);
            }
        }
        Err(too_busy())
    }

    /// The standing of this moment, if it allows to change the account itself.
    async fn unlimited(&self) -> Result<Standing, Error> {
        let standing = self.access.standing(&self.caller).await?;
        if standing.unlimited { Ok(standing) } else { Err(Error::LimitedToken) }
    }
}

/// Refuses a name that stands for something else than a user.
pub(crate) fn refuse_reserved(name: &UserName) -> Result<(), Error> {
    if name.as_str() == LOCAL_USER {
        return Err(Error::invalid(format!(
            "the user name {LOCAL_USER} stands for the operator on the machine itself"
        )));
    }
    Ok(())
}
