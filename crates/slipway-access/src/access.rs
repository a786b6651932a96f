//! The entrance: what everything else is reached through.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use slipway_model::account::{MasterKeyCheck, Member, Role, SshKey, Tenant, Token, User};
use slipway_model::name::UserName;
use slipway_model::record::Record;
use slipway_model::unit::Timestamp;
use slipway_store::{Batch, Store, Versioned};

use crate::caller::{Caller, Proof, Standing};
use crate::cluster::Cluster;
use crate::error::Error;
use crate::master_key::MasterKey;
use crate::password::Passwords;
use crate::scoped::AppsCache;
use crate::seal::Keyring;
use crate::throttle::Throttle;
use crate::turn::Turns;
use crate::verified::Verified;

/// How often an operation is decided anew because somebody else changed the same records. Each time
/// somebody else has succeeded, so more than this takes a crowd.
pub(crate) const TRIES: usize = 50;

/// Whoever lost waits for up to so many milliseconds. The answers to those who met one another come in
/// the order in which they asked, so that without it the last would be the last each time.
const STEP_ASIDE_MS: u64 = 12;

/// Authentication, the loaders, and the rules. Clones share everything.
#[derive(Debug, Clone)]
pub struct Access {
    pub(crate) store: Store,
    pub(crate) keyring: Keyring,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Arc<Mutex<Throttle>>,
    pub(crate) verified: Arc<Verified>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) apps: Arc<AppsCache>,
    pub(crate) cluster: Arc<Cluster>,
    clock: Clock,
}

#[derive(Debug, Clone)]
enum Clock {
    System,
    #[cfg(test)]
    Set(Arc<std::sync::atomic::AtomicU64>),
}

impl Access {
    /// Opens the entrance to what is in the store.
    ///
    /// # Errors
    /// [`Error::WrongMasterKey`] when the store has been used with another key; [`Error::Store`].
    pub async fn open(store: Store, master: MasterKey) -> Result<Self, Error> {
        let access = Self {
            store,
            keyring: Keyring::new(master),
            passwords: Passwords::new(),
            throttle: Arc::default(),
            verified: Arc::default(),
            turns: Arc::default(),
            apps: Arc::default(),
            cluster: Arc::default(),
            clock: Clock::System,
        };
        access.check_master_key().await?;
        if access.store.is_exclusive() {
            access.take_back_unfinished().await?;
        }
        Ok(access)
    }

    /// Opens sealed values, for whoever starts programs.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The tenants that exist for a caller, with the role there. An operator who is no member of a
    /// tenant has no role, though all rights.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`], [`Error::Store`].
    pub async fn tenants(&self, caller: &Caller) -> Result<Vec<(Tenant, Option<Role>)>, Error> {
        let standing = self.standing(caller).await?;
        let mut tenants = Vec::new();
        for tenant in self.list::<Tenant>("").await? {
            let tenant = tenant.record;
            let member = self.get::<Member>(&(tenant.name.clone(), caller.user().clone())).await?;
            let member = member.map(|member| member.record.role);
            if standing.role_in(&tenant.name, member).is_some() {
                tenants.push((tenant, member.map(|role| role.min(standing.role_max))));
            }
        }
        Ok(tenants)
    }

    /// Whether a caller may do what only operators may.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`], [`Error::Store`].
    pub async fn is_operator(&self, caller: &Caller) -> Result<bool, Error> {
        Ok(self.standing(caller).await?.may_operate())
    }

    /// What the caller may do now; fails when the proof does not count any more.
    pub(crate) async fn standing(&self, caller: &Caller) -> Result<Standing, Error> {
        let unlimited =
            |operator| Standing { operator, tenant: None, role_max: Role::Owner, unlimited: true };
        if caller.proof == Proof::Local {
            return Ok(unlimited(true));
        }
        let user = self.enabled_user(caller.user()).await?;
        match &caller.proof {
            Proof::Local | Proof::Password => Ok(unlimited(user.operator)),
            Proof::Key(fingerprint) => {
                let key = self.get::<SshKey>(fingerprint).await?.ok_or(Error::NotAuthenticated)?.record;
                if key.user != user.name {
                    return Err(Error::NotAuthenticated);
                }
                Ok(unlimited(user.operator))
            }
            Proof::Token(id) => {
                let token = self.get::<Token>(id).await?.ok_or(Error::NotAuthenticated)?.record;
                if token.user != user.name || token.expires_at <= self.now() {
                    return Err(Error::NotAuthenticated);
                }
                let operator = user.operator && token.scope.operator;
                Ok(Standing {
                    operator,
                    unlimited: token.scope.tenant.is_none()
                        && token.scope.role_max == Role::Owner
                        && operator == user.operator,
                    tenant: token.scope.tenant,
                    role_max: token.scope.role_max,
                })
            }
        }
    }

    pub(crate) async fn enabled_user(&self, name: &UserName) -> Result<User, Error> {
        let user = self.get::<User>(name).await?.ok_or(Error::NotAuthenticated)?.record;
        if user.disabled { Err(Error::NotAuthenticated) } else { Ok(user) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match &self.clock {
            Clock::System => Timestamp::from(SystemTime::now()),
            #[cfg(test)]
            Clock::Set(millis) => Timestamp(millis.load(std::sync::atomic::Ordering::Relaxed)),
        }
    }

    pub(crate) async fn get<R: Record>(&self, key: &R::Key) -> Result<Option<Versioned<R>>, Error> {
        self.store.get(key).await.map_err(Error::store("read a record"))
    }

    pub(crate) async fn list<R: Record>(&self, prefix: &str) -> Result<Vec<Versioned<R>>, Error> {
        self.store.list(prefix).await.map_err(Error::store("list records"))
    }

    /// Commits; `false` when somebody else changed what the batch was decided on.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<bool, Error> {
        match self.store.commit(batch).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_conflict() => {
                let aside = rand::random::<u64>() % STEP_ASIDE_MS;
                tokio::time::sleep(std::time::Duration::from_millis(aside)).await;
                Ok(false)
            }
            Err(error @ slipway_store::Error::TooLarge { .. }) => Err(Error::invalid(error.to_string())),
            Err(error) => Err(Error::store("write the change")(error)),
        }
    }

    async fn check_master_key(&self) -> Result<(), Error> {
        let check = MasterKeyCheck { key_id: self.keyring.id() };
        // Of two servers that begin at once, one creates the check and the other finds it.
        if !self.commit(Batch::new().create(&check)).await? {
            let wanted = self.get::<MasterKeyCheck>(&()).await?.map(|found| found.record.key_id);
            if let Some(wanted) = wanted.filter(|wanted| *wanted != check.key_id) {
                return Err(Error::WrongMasterKey { given: check.key_id, wanted });
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn with_clock(mut self, millis: Arc<std::sync::atomic::AtomicU64>) -> Self {
        self.clock = Clock::Set(millis);
        self
    }
}

/// What an operation says that was decided anew too often.
pub(crate) fn too_busy() -> Error {
    Error::Busy { what: "others keep changing the same thing".to_owned() }
}
