//! Tenants, members, invitations.

use axum::Json;
use axum::extract::State;
use slipway_access::Caller;
use slipway_api::error::ErrorCode;
use slipway_api::wire::*;
use slipway_model::account::Right;
use slipway_model::id::InvitationId;
use slipway_model::name::{TenantName, UserName};

use super::extract::{Asking, Body, Named};
use super::{Answer, Api, Refusal, account, present};

/// The tenants that a caller can see.
pub async fn of_caller(api: &Api, caller: &Caller) -> Result<Vec<TenantInfo>, Refusal> {
    let tenants = api.access.tenants(caller).await?;
    let info = |(tenant, role): (slipway_model::account::Tenant, _)| TenantInfo {
        name: tenant.name,
        role,
        created_at: tenant.created_at,
    };
    Ok(tenants.into_iter().map(info).collect())
}

pub async fn list(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<TenantInfo>> {
    Ok(Json(Items { items: of_caller(&api, &caller).await? }))
}

pub async fn create(
    State(api): State<Api>,
    Asking(caller): Asking,
    Body(wanted): Body<CreateTenant>,
) -> Answer<TenantInfo> {
    let tenant = api.access.account(&caller).await?.create_tenant(&wanted.name).await?;
    let role = Some(slipway_model::account::Role::Owner);
    Ok(Json(TenantInfo { name: tenant.name, role, created_at: tenant.created_at }))
}

pub async fn delete(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
) -> Answer<Done> {
    api.access.tenant(&caller, &tenant, Right::Own).await?.delete().await?;
    Ok(Json(Done {}))
}

pub async fn members(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
) -> Answer<Items<MemberInfo>> {
    let members = api.access.tenant(&caller, &tenant, Right::View).await?.members().await?;
    Ok(Json(Items { items: members.into_iter().map(present::member).collect() }))
}

pub async fn set_role(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
    Named(user): Named<UserName>,
    Body(wanted): Body<SetRole>,
) -> Answer<MemberInfo> {
    let tenant = api.access.tenant(&caller, &tenant, Right::Administer).await?;
    Ok(Json(present::member(tenant.set_role(&user, wanted.role).await?)))
}

pub async fn remove_member(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
    Named(user): Named<UserName>,
) -> Answer<Done> {
    // Everybody may leave; the domain layer checks the rest.
    let right = if caller.user() == &user { Right::View } else { Right::Administer };
    api.access.tenant(&caller, &tenant, right).await?.remove_member(&user).await?;
    Ok(Json(Done {}))
}

pub async fn invitations(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
) -> Answer<Items<InvitationInfo>> {
    let invitations = api.access.tenant(&caller, &tenant, Right::Administer).await?.invitations().await?;
    Ok(Json(Items { items: invitations.into_iter().map(present::invitation).collect() }))
}

pub async fn invite(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
    Body(wanted): Body<Invite>,
) -> Answer<NewInvitation> {
    let tenant = api.access.tenant(&caller, &tenant, Right::Administer).await?;
    let made = tenant.invite(&wanted.user, wanted.role).await?;
    Ok(Json(NewInvitation { invitation: made.text, about: present::invitation(made.invitation) }))
}

pub async fn revoke_invitation(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
    Named(invitation): Named<InvitationId>,
) -> Answer<Done> {
    let tenant = api.access.tenant(&caller, &tenant, Right::Administer).await?;
    tenant.revoke_invitation(&invitation).await?;
    Ok(Json(Done {}))
}

/// A user who is logged in joins; with a password, somebody new does.
pub async fn accept_invitation(
    State(api): State<Api>,
    asking: Result<Asking, Refusal>,
    Body(wanted): Body<AcceptInvitation>,
) -> Answer<Accepted> {
    match (asking, wanted.password) {
        (Ok(Asking(caller)), None) => {
            let tenant = api.access.accept_invitation(&caller, &wanted.invitation).await?;
            Ok(Json(Accepted { tenant, login: None }))
        }
        (_, Some(password)) => {
            let (tenant, caller) = api.access.accept_invitation_as_new(&wanted.invitation, &password).await?;
            let login = account::new_token(&api, &caller, "slipway invitations accept").await?;
            Ok(Json(Accepted { tenant, login: Some(login) }))
        }
        (Err(refusal), None) if refusal.0.code == ErrorCode::NotLoggedIn => Err(Refusal::new(
            ErrorCode::NotLoggedIn,
            "log in first, or give a password to make a new account with the invited name",
        )),
        (Err(refusal), None) => Err(refusal),
    }
}
