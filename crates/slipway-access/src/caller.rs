//! Who is asking.

use slipway_model::account::Role;
use slipway_model::id::{KeyFingerprint, TokenId};
use slipway_model::name::{TenantName, UserName};

/// Somebody who has proven who they are. Made only by the methods of [`crate::Access`] that check a
/// proof. What a caller may do is not kept here: it is looked up for every operation, so that what
/// has been taken away is gone at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    user: UserName,
    pub(crate) proof: Proof,
}

/// How a caller has proven it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// With the password, in this very request.
    Password,
    Token(TokenId),
    Key(KeyFingerprint),
    /// By being root on this machine.
    Local,
}

impl Caller {
    pub(crate) fn new(user: UserName, proof: Proof) -> Self {
        Self { user, proof }
    }

    /// Who it is; what records name as the one who did something. `root` for the operator on this
    /// machine, a name that no user has.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The token that proved it, if it was one.
    pub fn token(&self) -> Option<&TokenId> {
        match &self.proof {
            Proof::Token(id) => Some(id),
            _ => None,
        }
    }
}

/// What a caller may do at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether the caller is an operator, who counts as an owner in every tenant.
    pub(crate) operator: bool,
    /// The only tenant that exists for this caller, if there is one.
    pub(crate) tenant: Option<TenantName>,
    /// No role higher than this.
    pub(crate) role_max: Role,
    /// Whether all that the user may do is allowed, and so the account itself may be changed.
    pub(crate) unlimited: bool,
}

impl Standing {
    /// Whether the caller may do what only operators may. A limited token of an operator may not, even
    /// if it sees every tenant.
    pub(crate) fn may_operate(&self) -> bool {
        self.operator && self.unlimited
    }

    /// The role in a tenant, from the role of the member, if the user is one.
    pub(crate) fn role_in(&self, tenant: &TenantName, member: Option<Role>) -> Option<Role> {
        if self.tenant.as_ref().is_some_and(|only| only != tenant) {
            return None;
        }
        let role = if self.operator { Some(Role::Owner) } else { member };
        role.map(|role| role.min(self.role_max))
    }
}
