//! Tenants, their members, and invitations.

use slipway_api::wire::*;

use super::account::new_password;
use crate::args::{Invitations, Members, Tenants};
use crate::printer::{ago, table};
use crate::session::Session;

pub async fn tenants(session: &Session, verb: Tenants) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Tenants::List => {
            let tenants: Items<TenantInfo> = client.get("/v1/tenants").await?;
            session.printer.result(&tenants, || {
                let row = |tenant: &TenantInfo| {
                    let role = tenant.role.map_or("-".to_owned(), |role| role.to_string());
                    [tenant.name.to_string(), role, ago(tenant.created_at)]
                };
                table(["TENANT", "YOUR ROLE", "CREATED"], tenants.items.iter().map(row))
            })
        }
        Tenants::Create { name } => {
            let tenant: TenantInfo = client.post("/v1/tenants", &CreateTenant { name: name.clone() }).await?;
            session.printer.result(&tenant, || format!("Created tenant {name}; you are its owner"))?;
            session.printer.note(&format!("Next: slipway projects create {name}/PROJECT"));
            Ok(())
        }
        Tenants::Delete { name } => {
            let answer: Done = client.delete(&format!("/v1/tenants/{name}")).await?;
            session.printer.result(&answer, || format!("Deleted tenant {name}"))
        }
    }
}

pub async fn members(session: &Session, verb: Members) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Members::List { tenant } => {
            let members: Items<MemberInfo> = client.get(&format!("/v1/tenants/{tenant}/members")).await?;
            session.printer.result(&members, || {
                let row = |m: &MemberInfo| [m.user.to_string(), m.role.to_string(), ago(m.since)];
                table(["USER", "ROLE", "SINCE"], members.items.iter().map(row))
            })
        }
        Members::Set { tenant, user, role } => {
            let path = format!("/v1/tenants/{tenant}/members/{user}");
            let member: MemberInfo = client.call(http::Method::PUT, &path, Some(&SetRole { role })).await?;
            session.printer.result(&member, || format!("{user} is now {role} of {tenant}"))
        }
        Members::Remove { tenant, user } => {
            let answer: Done = client.delete(&format!("/v1/tenants/{tenant}/members/{user}")).await?;
            session.printer.result(&answer, || format!("{user} is no longer a member of {tenant}"))
        }
    }
}

pub async fn invitations(session: &mut Session, verb: Invitations) -> anyhow::Result<()> {
    match verb {
        Invitations::List { tenant } => {
            let path = format!("/v1/tenants/{tenant}/invitations");
            let invitations: Items<InvitationInfo> = session.client()?.get(&path).await?;
            session.printer.result(&invitations, || {
                let row = |i: &InvitationInfo| {
                    [i.id.to_string(), i.user.to_string(), i.role.to_string(), i.expires_at.to_string()]
                };
                table(["INVITATION", "FOR", "ROLE", "EXPIRES"], invitations.items.iter().map(row))
            })
        }
        Invitations::Create { tenant, user, role } => {
            let path = format!("/v1/tenants/{tenant}/invitations");
            let answer: NewInvitation =
                session.client()?.post(&path, &Invite { user: user.clone(), role }).await?;
            session.printer.note(&format!(
                "Give this to {user}, who adds --new without an account here; it works once, until {}:",
                answer.about.expires_at
            ));
            session.printer.result(&answer, || {
                format!("slipway --server {} invitations accept {}", session.server, answer.invitation)
            })
        }
        Invitations::Revoke { tenant, invitation } => {
            let path = format!("/v1/tenants/{tenant}/invitations/{invitation}");
            let answer: Done = session.client()?.delete(&path).await?;
            session.printer.result(&answer, || format!("Took back {invitation}"))
        }
        Invitations::Accept { invitation, new } => {
            let password = if new { Some(new_password("New password for your account: ")?) } else { None };
            let client = if new { session.anonymous()? } else { session.client()? };
            let request = AcceptInvitation { invitation, password };
            let answer: Accepted = client.post("/v1/invitations/accept", &request).await?;
            if let Some(login) = &answer.login {
                session.remember(login.token.clone())?;
            }
            session.printer.result(&answer.tenant, || format!("You are now a member of {}", answer.tenant))
        }
    }
}
