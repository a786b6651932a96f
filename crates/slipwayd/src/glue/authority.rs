//! The registry asks `slipway-access` who somebody is and what they may do.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use slipway_access::{Access, Caller};
use slipway_model::account::Right;
use slipway_model::name::{TenantName, UserName};
use slipway_registry::Repository;
use slipway_registry::server::{Action, Authority, Subject};

/// Callers that have just proven who they are: the registry asks for their rights in the same
/// request, so a few are enough.
const CALLERS_MAX: usize = 256;

/// Rights in the registry are rights in the tenant: its name is the first part of a repository's.
pub struct TenantAuthority {
    access: Access,
    callers: Mutex<VecDeque<(Subject, Caller)>>,
}

impl TenantAuthority {
    pub fn new(access: Access) -> Self {
        Self { access, callers: Mutex::default() }
    }

    fn caller(&self, subject: &Subject) -> Option<Caller> {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.iter().find(|(known, _)| known == subject).map(|(_, caller)| caller.clone())
    }

    async fn prove(&self, user: &UserName, secret: &str, from: IpAddr) -> Option<Caller> {
        if let Ok(caller) = self.access.token(secret).await {
            return (caller.user() == user).then_some(caller);
        }
        self.access.password(user, secret, from).await.ok()
    }
}

impl Authority for TenantAuthority {
    async fn authenticate(&self, user: &str, password: &str, from: IpAddr) -> Option<Subject> {
        let user: UserName = user.parse().ok()?;
        let caller = self.prove(&user, password, from).await?;
        let proof = caller.token().map_or("password", |token| token.as_str());
        let subject = Subject(format!("{user} {proof}"));
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.retain(|(known, _)| *known != subject);
        callers.push_back((subject.clone(), caller));
        if callers.len() > CALLERS_MAX {
            callers.pop_front();
        }
        Some(subject)
    }

    async fn allows(&self, subject: &Subject, repository: &Repository, action: Action) -> bool {
        let right = match action {
            Action::Pull => Right::View,
            Action::Push | Action::Delete => Right::Deploy,
        };
        let tenant = repository.as_str().split('/').next().and_then(|name| name.parse::<TenantName>().ok());
        let (Some(caller), Some(tenant)) = (self.caller(subject), tenant) else { return false };
        self.access.tenant(&caller, &tenant, right).await.is_ok()
    }
}
