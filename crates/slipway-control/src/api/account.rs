//! Claim, login, one's own account; and what only operators may.

use axum::Json;
use axum::extract::State;
use slipway_access::{Caller, TokenWish};
use slipway_api::wire::*;
use slipway_model::id::TokenId;
use slipway_model::name::UserName;

use super::extract::{Asking, Body, Fingerprint, Named, Source};
use super::{Answer, Api, Refusal, present};

pub async fn health() -> Json<Done> {
    Json(Done {})
}

pub async fn claim(State(api): State<Api>, Body(wanted): Body<ClaimRequest>) -> Answer<NewToken> {
    let caller = api.access.claim(&wanted.claim_token, &wanted.user, &wanted.password).await?;
    (api.claimed)();
    tracing::info!(user.name = %wanted.user, "the server was claimed");
    Ok(Json(new_token(&api, &caller, "slipway claim").await?))
}

pub async fn login(
    State(api): State<Api>,
    Source(source): Source,
    Body(wanted): Body<LoginRequest>,
) -> Answer<NewToken> {
    let caller = api.access.password(&wanted.user, &wanted.password, source).await?;
    Ok(Json(new_token(&api, &caller, &wanted.label).await?))
}

/// A token for somebody who has just proven who they are.
pub async fn new_token(api: &Api, caller: &Caller, label: &str) -> Result<NewToken, Refusal> {
    let wish = TokenWish { label: label.to_owned(), ..TokenWish::default() };
    let made = api.access.account(caller).await?.create_token(&wish).await?;
    Ok(NewToken { token: made.text, about: present::token(made.token) })
}

pub async fn logout(State(api): State<Api>, Asking(caller): Asking) -> Answer<Done> {
    api.access.logout(&caller).await?;
    Ok(Json(Done {}))
}

pub async fn me(State(api): State<Api>, Asking(caller): Asking) -> Answer<Me> {
    let tenants = super::tenant::of_caller(&api, &caller).await?;
    let operator = api.access.is_operator(&caller).await?;
    Ok(Json(Me { user: caller.user().clone(), operator, tenants, server: (*api.server).clone() }))
}

pub async fn change_password(
    State(api): State<Api>,
    Asking(caller): Asking,
    Source(source): Source,
    Body(wanted): Body<ChangePassword>,
) -> Answer<Done> {
    api.access.account(&caller).await?.change_password(&wanted.old, &wanted.new, source).await?;
    Ok(Json(Done {}))
}

pub async fn keys(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<KeyInfo>> {
    let keys = api.access.account(&caller).await?.keys().await?;
    Ok(Json(Items { items: keys.into_iter().map(present::key).collect() }))
}

pub async fn add_key(
    State(api): State<Api>,
    Asking(caller): Asking,
    Body(wanted): Body<AddKey>,
) -> Answer<KeyInfo> {
    let key = api.access.account(&caller).await?.add_key(&wanted.public_key).await?;
    Ok(Json(present::key(key)))
}

pub async fn remove_key(
    State(api): State<Api>,
    Asking(caller): Asking,
    Fingerprint(fingerprint): Fingerprint,
) -> Answer<Done> {
    api.access.account(&caller).await?.remove_key(&fingerprint).await?;
    Ok(Json(Done {}))
}

pub async fn tokens(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<TokenInfo>> {
    let tokens = api.access.account(&caller).await?.tokens().await?;
    Ok(Json(Items { items: tokens.into_iter().map(present::token).collect() }))
}

pub async fn create_token(
    State(api): State<Api>,
    Asking(caller): Asking,
    Body(wanted): Body<CreateToken>,
) -> Answer<NewToken> {
    let CreateToken { label, tenant, role_max, life } = wanted;
    let wish = TokenWish { label, tenant, role_max, life };
    let made = api.access.account(&caller).await?.create_token(&wish).await?;
    Ok(Json(NewToken { token: made.text, about: present::token(made.token) }))
}

pub async fn revoke_token(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(token): Named<TokenId>,
) -> Answer<Done> {
    api.access.account(&caller).await?.revoke_token(&token).await?;
    Ok(Json(Done {}))
}

pub async fn users(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<UserInfo>> {
    let users = api.access.operator(&caller).await?.users().await?;
    Ok(Json(Items { items: users.into_iter().map(present::user).collect() }))
}

pub async fn create_user(
    State(api): State<Api>,
    Asking(caller): Asking,
    Body(wanted): Body<CreateUser>,
) -> Answer<UserInfo> {
    let operator = api.access.operator(&caller).await?;
    let user = operator.create_user(&wanted.name, wanted.password.as_deref(), wanted.operator).await?;
    Ok(Json(present::user(user)))
}

pub async fn disable_user(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(user): Named<UserName>,
) -> Answer<Done> {
    api.access.operator(&caller).await?.disable_user(&user).await?;
    Ok(Json(Done {}))
}

pub async fn add_key_for(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(user): Named<UserName>,
    Body(wanted): Body<AddKey>,
) -> Answer<KeyInfo> {
    let key = api.access.operator(&caller).await?.add_key(&user, &wanted.public_key).await?;
    Ok(Json(present::key(key)))
}

pub async fn enable_user(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(user): Named<UserName>,
) -> Answer<Done> {
    api.access.operator(&caller).await?.enable_user(&user).await?;
    Ok(Json(Done {}))
}

pub async fn reset_password(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(user): Named<UserName>,
    Body(wanted): Body<ResetPassword>,
) -> Answer<Done> {
    api.access.operator(&caller).await?.reset_password(&user, &wanted.password).await?;
    Ok(Json(Done {}))
}
