//! Accepting an invitation: by the person it names only, once, and in time (N97).

use slipway_model::account::{Invitation, Member, Right, Role, Tenant, User};
use slipway_model::name::{TenantName, UserName};
use slipway_store::{Batch, Versioned};

use crate::access::{Access, TRIES, too_busy};
use crate::account::refuse_reserved;
use crate::caller::{Caller, Proof};
use crate::error::Error;
use crate::secret::{self, Purpose};

/// An invitation that has just been made, with what is shown this once.
#[derive(Clone)]
pub struct NewInvitation {
    /// What is known of it from now on.
    pub invitation: Invitation,
    /// What to give to the invitee.
    pub text: String,
}

impl Access {
    /// Joins a tenant as the user that the caller is.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an invitation that is not valid, or not for this user;
    /// [`Error::LimitedToken`]; [`Error::Taken`] for a member; [`Error::Store`].
    pub async fn accept_invitation(&self, caller: &Caller, text: &str) -> Result<TenantName, Error> {
        if !self.standing(caller).await?.unlimited {
            return Err(Error::LimitedToken);
        }
        for _ in 0..TRIES {
            let (invitation, tenant) = self.valid_invitation(text).await?;
            if invitation.record.invitee != *caller.user() {
                return Err(not_valid());
            }
            if self.join(&invitation, &tenant, Batch::new()).await? {
                return Ok(tenant.record.name);
            }
        }
        Err(too_busy())
    }

    /// Joins a tenant as a new user, who takes the invited name with a password.
    ///
    /// # Errors
    /// As for [`Access::accept_invitation`]; [`Error::Taken`] when there is a user of that name, who
    /// has to log in to accept; [`Error::Invalid`] for the password.
    pub async fn accept_invitation_as_new(
        &self,
        text: &str,
        password: &str,
    ) -> Result<(TenantName, Caller), Error> {
        let name = self.valid_invitation(text).await?.0.record.invitee;
        refuse_reserved(&name)?;
        let user = User {
            password_hash: Some(self.passwords.hash(&name, password).await?),
            name,
            operator: false,
            disabled: false,
            created_at: self.now(),
        };
        for _ in 0..TRIES {
            let (invitation, tenant) = self.valid_invitation(text).await?;
            if self.get::<User>(&user.name).await?.is_some() {
                return Err(Error::Taken {
                    what: format!("the user {}; log in to accept, for {}", user.name, user.name),
                });
            }
            if self.join(&invitation, &tenant, Batch::new().create(&user)).await? {
                return Ok((tenant.record.name, Caller::new(user.name, Proof::Password)));
            }
        }
        Err(too_busy())
    }

    /// `false` when somebody else changed the invitation, the tenant or the user.
    async fn join(
        &self,
        invitation: &Versioned<Invitation>,
        tenant: &Versioned<Tenant>,
        batch: Batch,
    ) -> Result<bool, Error> {
        let Invitation { id, tenant: name, role, invitee, .. } = &invitation.record;
        let key = (name.clone(), invitee.clone());
        if self.get::<Member>(&key).await?.is_some() {
            return Err(Error::Taken { what: format!("a membership of {invitee} in {name}") });
        }
        let member = Member { tenant: name.clone(), user: invitee.clone(), role: *role, since: self.now() };
        let batch = batch
            .create(&member)
            .delete::<Invitation>(&(name.clone(), id.clone()), invitation.version)
            // Written as it is, so that the deletion of the tenant does not overlook the member.
            .update(&tenant.record, tenant.version);
        self.commit(batch).await
    }

    /// The invitation and its tenant, if the text proves it, it has not expired, and whoever made it
    /// could make it now.
    async fn valid_invitation(
        &self,
        text: &str,
    ) -> Result<(Versioned<Invitation>, Versioned<Tenant>), Error> {
        let parts = secret::public_parts(Purpose::Invitation, text).ok_or_else(not_valid)?;
        let [tenant, id] = parts[..] else { return Err(not_valid()) };
        let key = (tenant.parse().map_err(|_| not_valid())?, id.parse().map_err(|_| not_valid())?);
        let invitation = self.get::<Invitation>(&key).await?;
        let stored = invitation.as_ref().map_or("", |invitation| &invitation.record.secret_hash);
        if !secret::matches(text, stored) {
            return Err(not_valid());
        }
        let invitation = invitation.ok_or_else(not_valid)?;
        let Invitation { expires_at, created_by, role, .. } = &invitation.record;
        if *expires_at <= self.now() || !self.may_invite(created_by, &key.0, *role).await? {
            return Err(not_valid());
        }
        let tenant = self.get::<Tenant>(&key.0).await?.ok_or_else(not_valid)?;
        Ok((invitation, tenant))
    }

    async fn may_invite(&self, user: &UserName, tenant: &TenantName, role: Role) -> Result<bool, Error> {
        if user.as_str() == crate::authenticate::LOCAL_USER {
            return Ok(true);
        }
        let inviter = match self.enabled_user(user).await {
            Err(error) if error.is_not_authenticated() => return Ok(false),
            inviter => inviter?,
        };
        let member = self.get::<Member>(&(tenant.clone(), user.clone())).await?;
        let needs = if role == Role::Owner { Right::Own } else { Right::Administer };
        Ok(inviter.operator || member.is_some_and(|member| member.record.role.allows(needs)))
    }
}

fn not_valid() -> Error {
    Error::NotFound { what: "this invitation, for you and not yet used or expired,".to_owned() }
}
