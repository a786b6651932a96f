//! Members of a tenant, and invitations to become one.

use slipway_model::account::{Invitation, Member, Right, Role, Tenant};
use slipway_model::id::InvitationId;
use slipway_model::limit::{INVITATION_LIFE, MEMBERS_MAX};
use slipway_model::name::UserName;
use slipway_store::{Batch, Versioned};

use super::Scoped;
use crate::access::{TRIES, too_busy};
use crate::error::Error;
use crate::invitation::NewInvitation;
use crate::secret::{self, Purpose};

impl Scoped<Tenant> {
    /// The members.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        Ok(self.versioned_members().await?.into_iter().map(|member| member.record).collect())
    }

    /// Gives a member another role. Needs [`Right::Administer`], and [`Right::Own`] to make or unmake
    /// an owner.
    ///
    /// # Errors
    /// [`Error::Rule`] when the last owner would be gone (N99), [`Error::NotFound`] when the user is
    /// no member, [`Error::Forbidden`], [`Error::Store`].
    pub async fn set_role(&self, user: &UserName, role: Role) -> Result<Member, Error> {
        for _ in 0..TRIES {
            let tenant = self.again(Right::Administer).await?;
            let members = tenant.versioned_members().await?;
            let member = find(&members, user)?;
            if member.record.role == Role::Owner || role == Role::Owner {
                tenant.require(Right::Own)?;
            }
            let changed = Member { role, ..member.record.clone() };
            let mut batch = Batch::new().update(&changed, member.version);
            if role != Role::Owner {
                batch = tenant.expect_other_owner(batch, &members, user)?;
            }
            if self.access.commit(batch).await? {
                return Ok(changed);
            }
        }
        Err(too_busy())
    }

    /// Removes a member. Needs [`Right::Administer`], and [`Right::Own`] for an owner; everybody may
    /// remove themselves.
    ///
    /// # Errors
    /// As for [`Scoped::set_role`].
    pub async fn remove_member(&self, user: &UserName) -> Result<(), Error> {
        let leaves = user == self.caller.user();
        for _ in 0..TRIES {
            let tenant = self.again(if leaves { Right::View } else { Right::Administer }).await?;
            let members = tenant.versioned_members().await?;
            let member = find(&members, user)?;
            if member.record.role == Role::Owner && !leaves {
                tenant.require(Right::Own)?;
            }
            let batch = Batch::new().delete::<Member>(&(self.name.clone(), user.clone()), member.version);
            let batch = tenant.expect_other_owner(batch, &members, user)?;
            if self.access.commit(batch).await? {
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// The invitations that can still be accepted. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn invitations(&self) -> Result<Vec<Invitation>, Error> {
        self.require(Right::Administer)?;
        let now = self.access.now();
        let all = self.access.list::<Invitation>(self.name.as_str()).await?;
        Ok(all
            .into_iter()
            .map(|found| found.record)
            .filter(|invitation| invitation.expires_at > now)
            .collect())
    }

    /// Invites one named person, who may not be a user yet. Needs [`Right::Administer`], and
    /// [`Right::Own`] to invite an owner.
    ///
    /// # Errors
    /// [`Error::Rule`] for a member, [`Error::Limit`], [`Error::Forbidden`], [`Error::Store`].
    pub async fn invite(&self, invitee: &UserName, role: Role) -> Result<NewInvitation, Error> {
        crate::account::refuse_reserved(invitee)?;
        let id = InvitationId::from_random(rand::random());
        let text = secret::make(Purpose::Invitation, &[self.name.as_str(), id.as_str()]);
        for _ in 0..TRIES {
            let tenant = self.again(if role == Role::Owner { Right::Own } else { Right::Administer }).await?;
            let members = tenant.versioned_members().await?;
            if members.iter().any(|member| member.record.user == *invitee) {
                return Err(Error::rule(format!("{invitee} is a member of {} already", self.name)));
            }
            let now = self.access.now();
            let invitation = Invitation {
                id: id.clone(),
                tenant: self.name.clone(),
                role,
                invitee: invitee.clone(),
                secret_hash: secret::hash(&text),
                created_by: self.caller.user().clone(),
                created_at: now,
                expires_at: now.plus(INVITATION_LIFE),
            };
            // A new invitation takes the place of one to the same person, and expired ones are cleared.
            let all = self.access.list::<Invitation>(self.name.as_str()).await?;
            let (over, waiting): (Vec<_>, Vec<_>) = all
                .into_iter()
                .partition(|one| one.record.expires_at <= now || one.record.invitee == *invitee);
            if members.len() + waiting.len() >= MEMBERS_MAX {
                return Err(Error::Limit { what: "members and invitations in one tenant", max: MEMBERS_MAX });
            }
            // The tenant is written as it is, so that its deletion does not overlook the invitation.
            let mut batch = Batch::new().update(&tenant.found.record, tenant.version()).create(&invitation);
            for one in over {
                batch = batch.delete::<Invitation>(&(self.name.clone(), one.record.id), one.version);
            }
            if self.access.commit(batch).await? {
                return Ok(NewInvitation { invitation, text });
            }
        }
        Err(too_busy())
    }

    /// Takes an invitation back. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Store`].
    pub async fn revoke_invitation(&self, id: &InvitationId) -> Result<(), Error> {
        self.again(Right::Administer).await?;
        let key = (self.name.clone(), id.clone());
        let found = self.access.get::<Invitation>(&key).await?;
        let found = found.ok_or_else(|| Error::NotFound { what: format!("invitation {id}") })?;
        if self.access.commit(Batch::new().delete::<Invitation>(&key, found.version)).await? {
            return Ok(());
        }
        // The only other thing that happens to an invitation is that it is accepted.
        Err(Error::NotFound { what: format!("invitation {id}") })
    }

    async fn versioned_members(&self) -> Result<Vec<Versioned<Member>>, Error> {
        self.access.list::<Member>(self.name.as_str()).await
    }

    /// Adds to the batch that an owner other than `user` stays one. Two owners who leave at once
    /// each count on the other, and one of them is refused.
    fn expect_other_owner(
        &self,
        batch: Batch,
        members: &[Versioned<Member>],
        user: &UserName,
    ) -> Result<Batch, Error> {
        let mut owners = members.iter().filter(|member| member.record.role == Role::Owner);
        match owners.clone().find(|owner| owner.record.user != *user) {
            Some(other) => {
                Ok(batch.expect::<Member>(&(self.name.clone(), other.record.user.clone()), other.version))
            }
            // A tenant whose owners are all gone, by an operator's hand, does not get worse.
            None if !owners.any(|owner| owner.record.user == *user) => Ok(batch),
            None => Err(Error::rule(format!(
                "{user} is the last owner of {}; make somebody else owner first",
                self.name
            ))),
        }
    }
}

fn find<'a>(members: &'a [Versioned<Member>], user: &UserName) -> Result<&'a Versioned<Member>, Error> {
    let found = members.iter().find(|member| member.record.user == *user);
    found.ok_or_else(|| Error::NotFound { what: format!("member {user}") })
}
