//! Machines that join, and nodes that are cut off; the servers, and which of them leads.

use std::time::{Duration, Instant};

use anyhow::bail;
use http::Method;
use slipway_api::client::Client;
use slipway_api::wire::*;
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;

use crate::printer::{ago, table, until};
use crate::session::Session;

/// Between two looks at who leads.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Another server leads within a second or two, if there is one.
const HAND_OVER_MAX: Duration = Duration::from_secs(30);

pub async fn create_token(
    session: &Session,
    client: &Client,
    wanted: &CreateJoinToken,
) -> anyhow::Result<()> {
    let made: NewJoinToken = client.post("/v1/join-tokens", wanted).await?;
    let address = made.servers.first().map_or("SERVER:PORT", |address| address);
    let name = made.about.node.as_ref().map_or(String::new(), |node| format!(" --name {node}"));
    session.printer.note(&format!(
        "This is shown once and works once, until {}. On the machine, as root:\n  \
         slipwayd join {address}{name} --token …",
        made.about.expires_at
    ));
    session.printer.result(&made, || made.token.clone())
}

pub async fn tokens(session: &Session, client: &Client) -> anyhow::Result<()> {
    let tokens: Items<JoinTokenInfo> = client.get("/v1/join-tokens").await?;
    session.printer.result(&tokens, || tokens_text(&tokens.items))
}

pub async fn identities(session: &Session, client: &Client) -> anyhow::Result<()> {
    let identities: Items<NodeIdentityInfo> = client.get("/v1/node-identities").await?;
    session.printer.result(&identities, || identities_text(&identities.items))
}

pub async fn revoke(session: &Session, client: &Client, node: &NodeName) -> anyhow::Result<()> {
    let info: NodeIdentityInfo = client.post(&format!("/v1/nodes/{node}/revoke"), &Done {}).await?;
    session.printer.note(&format!(
        "What ran there is started elsewhere when it has been away for long enough, or at once with \
         slipway nodes gone {node} --confirm {node}"
    ));
    session.printer.result(&info, || format!("{node} is cut off; nothing that it has counts any more"))
}

pub async fn set(
    session: &Session,
    client: &Client,
    node: &NodeName,
    wanted: &SetNode,
) -> anyhow::Result<()> {
    let info: NodeIdentityInfo =
        client.call(Method::PATCH, &format!("/v1/nodes/{node}/identity"), Some(wanted)).await?;
    if wanted.address.is_some() {
        session
            .printer
            .note("Its agent hears of it; start it again, so that its network uses that address too.");
    }
    session.printer.result(&info, || identities_text(std::slice::from_ref(&info)))
}

pub async fn servers(session: &Session, client: &Client) -> anyhow::Result<()> {
    let servers: Items<ClusterServer> = client.get("/v1/servers").await?;
    session.printer.result(&servers, || servers_text(&servers.items))
}

/// Lets another server lead. Whoever takes a server down next wants to know that it does.
pub async fn hand_over(session: &Session, client: &Client) -> anyhow::Result<()> {
    let before = leader(client).await?;
    let since = Instant::now();
    let _begun: Done = client.post("/v1/servers/hand-over", &Done {}).await?;
    // That nobody leads for a moment is what was asked for, and what is said at its end is new.
    let client = &client.clone().when_old(|_| {});
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        // Between two leaders some answers fail; the last one is told if none comes.
        let is_late = since.elapsed() > HAND_OVER_MAX;
        match leader(client).await {
            Ok(Some(now)) if Some(&now.name) != before.as_ref().map(|before| &before.name) => {
                return session.printer.result(&now, || format!("{} leads now", now.name));
            }
            Ok(now) if is_late => {
                let now = now.map_or("no server".to_owned(), |now| now.name.to_string());
                bail!("{now} leads after {HAND_OVER_MAX:?}; no other server stood for election")
            }
            Err(error) if is_late => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
}

async fn leader(client: &Client) -> anyhow::Result<Option<ClusterServer>> {
    let servers: Items<ClusterServer> = client.get("/v1/servers").await?;
    Ok(servers.items.into_iter().find(|server| server.leads))
}

fn servers_text(servers: &[ClusterServer]) -> String {
    let row = |server: &ClusterServer| {
        let state = match server {
            ClusterServer { leads: true, leads_since: Some(since), .. } => {
                format!("leads, {}", since_text(*since))
            }
            ClusterServer { leads: true, .. } => "leads".to_owned(),
            ClusterServer { away: true, .. } => format!("away, {}", since_text(server.seen_at)),
            _ => "stands by".to_owned(),
        };
        [
            server.name.to_string(),
            state,
            server.cluster_address.clone(),
            server.version.clone(),
            ago(server.seen_at),
        ]
    };
    table(["SERVER", "STATE", "ADDRESS", "VERSION", "SEEN"], servers.iter().map(row))
}

/// `since 4m`
fn since_text(at: Timestamp) -> String {
    format!("since {}", ago(at).trim_end_matches(" ago"))
}

fn tokens_text(tokens: &[JoinTokenInfo]) -> String {
    let row = |token: &JoinTokenInfo| {
        let state = match &token.used_by {
            Some(node) => format!("used by {node}"),
            None => format!("ends {}", until(token.expires_at)),
        };
        let node = token.node.as_ref().map_or("any".to_owned(), ToString::to_string);
        [token.id.to_string(), node, state, format!("{}, {}", token.by, ago(token.created_at))]
    };
    table(["TOKEN", "FOR", "STATE", "MADE"], tokens.iter().map(row))
}

fn identities_text(identities: &[NodeIdentityInfo]) -> String {
    let row = |node: &NodeIdentityInfo| {
        let state = match (node.revoked_at, node.expires_at) {
            (Some(at), _) => format!("revoked {}", ago(at)),
            (None, Some(at)) => format!("ends {}", until(at)),
            (None, None) => "none".to_owned(),
        };
        let machine = node.address.map_or("-".to_owned(), |address| address.to_string());
        let router = if node.router { "yes" } else { "no" }.to_owned();
        let attributes = match &node.attributes {
            None => "its own".to_owned(),
            Some(given) => {
                given.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(";")
            }
        };
        let joined = ago(node.joined_at);
        [node.node.to_string(), node.subnet.to_string(), machine, router, state, joined, attributes]
    };
    let titles = ["NODE", "ADDRESSES", "MACHINE", "ROUTER", "CERTIFICATE", "JOINED", "ATTRIBUTES"];
    table(titles, identities.iter().map(row))
}

#[cfg(test)]
mod tests;
