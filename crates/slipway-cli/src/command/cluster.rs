//! What operators look at and order: nodes and quotas.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Method;
use slipway_api::client::Client;
use slipway_api::wire::*;
use slipway_model::attribute::{self, Attributes};
use slipway_model::name::NodeName;
use slipway_model::unit::Span;

use super::ps::amounts;
use crate::args::{DefaultQuota, Limit, Limits, Nodes, Quota};
use crate::printer::{ago, plain, size, table, until};
use crate::session::Session;

mod join;

/// Between two looks at a node that is drained.
const PAUSE: Duration = Duration::from_millis(500);
/// A drain without a deadline is not watched for longer; it goes on by itself.
const DRAIN_WATCHED: Span = Span::from_secs(3600);

pub async fn nodes(session: &Session, verb: Nodes) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Nodes::List => {
            let nodes: Items<NodeInfo> = client.get("/v1/nodes").await?;
            session.printer.result(&nodes, || nodes_text(&nodes.items))
        }
        Nodes::Show { node } => {
            let detail: NodeDetail = client.get(&format!("/v1/nodes/{node}")).await?;
            session.printer.result(&detail, || detail_text(&detail))
        }
        Nodes::Drain { node, deadline, wait } => {
            let info = order(&client, &node, NodeWish::Drain, deadline).await?;
            let latest = deadline.map_or(String::new(), |span| format!(", {span} at the longest"));
            session.printer.note(&format!("Draining {node}{latest}; nothing new comes to it"));
            if wait.detach {
                return session.printer.result(&info, String::new);
            }
            watch_drain(session, &client, &node, deadline).await
        }
        Nodes::Activate { node } => {
            let info: NodeInfo = client.delete(&format!("/v1/nodes/{node}/order")).await?;
            session.printer.result(&info, || format!("{node} takes part again"))
        }
        Nodes::Deactivate { node } => {
            let info = order(&client, &node, NodeWish::Deactivate, None).await?;
            session.printer.result(&info, || format!("Nothing new comes to {node}; what runs there stays"))
        }
        Nodes::Gone { node, confirm } => {
            if node != confirm {
                bail!("--confirm must repeat {node}");
            }
            let info = order(&client, &node, NodeWish::Gone, None).await?;
            session
                .printer
                .result(&info, || format!("{node} is given up; what ran there is started elsewhere"))
        }
        Nodes::Token { node, expires, router, attribute } => {
            let attributes = attributes(&attribute)?;
            let wanted = CreateJoinToken { node, life: expires, router, attributes };
            join::create_token(session, &client, &wanted).await
        }
        Nodes::Tokens => join::tokens(session, &client).await,
        Nodes::RevokeToken { id } => {
            let answer: Done = client.delete(&format!("/v1/join-tokens/{id}")).await?;
            session.printer.result(&answer, || format!("Nobody can join with {id} any more"))
        }
        Nodes::Identities => join::identities(session, &client).await,
        Nodes::Revoke { node } => join::revoke(session, &client, &node).await,
        Nodes::Set { node, address, router, attribute, own_attributes } => {
            let router = router.map(|router| router == "yes");
            let wanted = SetNode { address, router, attributes: attributes(&attribute)?, own_attributes };
            join::set(session, &client, &node, &wanted).await
        }
        Nodes::Forget { node } => {
            let answer: Done = client.post(&format!("/v1/nodes/{node}/forget"), &Done {}).await?;
            session.printer.result(&answer, || format!("The name {node} and its addresses are free"))
        }
        Nodes::Servers => join::servers(session, &client).await,
        Nodes::HandOver => join::hand_over(session, &client).await,
    }
}

/// `None` when none is given: nothing is said of them then.
fn attributes(texts: &[String]) -> anyhow::Result<Option<Attributes>> {
    let attributes = attribute::parse(texts).context("--attribute")?;
    Ok(Some(attributes).filter(|attributes| !attributes.is_empty()))
}

async fn order(
    client: &Client,
    node: &NodeName,
    order: NodeWish,
    deadline: Option<Span>,
) -> anyhow::Result<NodeInfo> {
    let body = OrderNode { order, deadline };
    Ok(client.call(Method::PUT, &format!("/v1/nodes/{node}/order"), Some(&body)).await?)
}

/// Tells what still runs there, each time that this changes.
async fn watch_drain(
    session: &Session,
    client: &Client,
    node: &NodeName,
    deadline: Option<Span>,
) -> anyhow::Result<()> {
    // Whatever is late is ended at the deadline, and that takes its grace period.
    let watched =
        deadline.map_or(DRAIN_WATCHED, |span| Span::from_millis(span.millis() + 300_000)).duration();
    let since = Instant::now();
    let mut told = String::new();
    loop {
        let detail: NodeDetail = client.get(&format!("/v1/nodes/{node}")).await?;
        let mut text = left_text(&detail.instances);
        if !detail.node.connected {
            // Nothing is heard of it, so this may be the last that there will ever be to tell.
            text += &format!(
                "; {node} is away. If it will not come back: slipway nodes gone {node} --confirm {node}"
            );
        }
        if detail.node.standing == "drained" {
            session.printer.note("-----> nothing runs there any more");
            return session.printer.result(&detail.node, || format!("{node} is drained"));
        }
        if detail.node.standing != "draining" {
            bail!("{node} is {} now; somebody has given another order", detail.node.standing);
        }
        if text != told {
            session.printer.note(&format!("-----> {text}"));
            told = text;
        }
        if since.elapsed() > watched {
            bail!("{node} still drains: {told}; slipway nodes show {node} says more");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `2 still run there: acme/shop/dev web ×2`
fn left_text(instances: &[NodeInstance]) -> String {
    let mut of: BTreeMap<String, usize> = BTreeMap::new();
    for instance in instances {
        *of.entry(format!("{} {}", instance.environment, instance.of)).or_default() += 1;
    }
    let words: Vec<String> =
        of.into_iter().map(|(of, count)| if count == 1 { of } else { format!("{of} ×{count}") }).collect();
    let verb = if instances.len() == 1 { "runs" } else { "run" };
    format!("{} still {verb} there: {}", instances.len(), words.join(", "))
}

fn nodes_text(nodes: &[NodeInfo]) -> String {
    let row = |n: &NodeInfo| {
        let agent = if n.connected { "connected" } else { "away" };
        let of = |given: String, has: String| format!("{given} of {has}");
        [
            n.name.to_string(),
            state_word(n).to_owned(),
            agent.to_owned(),
            n.instances.to_string(),
            of(n.given.cpus.to_string(), n.has.cpus.to_string()),
            of(size(n.given.mem), size(n.has.mem)),
            of(size(n.given.disk), size(n.has.disk)),
            of(n.given.gpus.to_string(), n.has.gpus.to_string()),
        ]
    };
    let heading = ["NODE", "STATE", "AGENT", "INSTANCES", "CPUS", "MEMORY", "DISK", "GPUS"];
    let mut text = table(heading, nodes.iter().map(row));
    for node in nodes {
        if is_cut_off(node) {
            text += &format!("{}: {}\n", node.name, cut_off_text(node));
        }
        if let Some(trouble) = &node.trouble {
            text += &format!("{}: {}\n", node.name, plain(trouble));
        }
    }
    text
}

/// Whether nothing of it counts, and it was not given up either.
fn is_cut_off(node: &NodeInfo) -> bool {
    node.revoked_at.is_some() && node.standing != "gone"
}

fn state_word(node: &NodeInfo) -> &str {
    if is_cut_off(node) { "revoked" } else { &node.standing }
}

/// What to do about a node that was cut off.
fn cut_off_text(NodeInfo { name, revoked_at, .. }: &NodeInfo) -> String {
    let since = revoked_at.map_or(String::new(), ago);
    format!(
        "revoked {since}, nothing of it counts any more. To let it join anew: slipway nodes token --node {name}. \
         To be rid of it: slipway nodes gone {name} --confirm {name}, and then slipway nodes forget {name}"
    )
}

/// What to do about a node that was given up.
fn given_up_text(NodeInfo { name, revoked_at, .. }: &NodeInfo) -> String {
    let revoke =
        if revoked_at.is_none() { format!("slipway nodes revoke {name}, and ") } else { String::new() };
    format!(
        "A machine that takes its place takes part: slipway nodes token --node {name}. To give its name and \
         addresses back: {revoke}slipway nodes forget {name}"
    )
}

fn detail_text(detail: &NodeDetail) -> String {
    let NodeDetail { node, instances } = detail;
    let agent = if node.connected { "its agent is connected" } else { "its agent is away" };
    let mut text = format!("{}: {}, {agent}, joined {}\n", node.name, state_word(node), ago(node.joined_at));
    if is_cut_off(node) {
        text += &format!("  {}\n", cut_off_text(node));
    }
    if let Some(trouble) = &node.trouble {
        text += &format!("  {}\n", plain(trouble));
    }
    if let Some(order) = &node.order {
        let wish = match order.order {
            NodeWish::Deactivate => "deactivated",
            NodeWish::Drain => "drained",
            NodeWish::Gone => "given up",
        };
        // What is done already is not asked for any more, and a deadline says nothing of it.
        let (to_be, deadline) = match node.standing.as_str() {
            "draining" => ("to be ", order.deadline),
            _ => ("", None),
        };
        let deadline = deadline.map_or(String::new(), |at| format!(", at the latest {}", until(at)));
        text += &format!("  {to_be}{wish}{deadline}: {}, {}\n", order.by, ago(order.created_at));
    }
    let is_forgotten = node.standing == "gone" && !node.connected && instances.is_empty();
    text += &match is_forgotten {
        true => format!("  had    {}\n", amounts(&node.has)),
        false => format!("  has    {}\n  given  {}\n", amounts(&node.has), amounts(&node.given)),
    };
    if let Some(address) = &node.address {
        text += &format!("  address {address}\n");
    }
    for (name, value) in &node.attributes {
        text += &format!("  {name}: {value}\n");
    }
    if is_forgotten {
        return text + &format!("\n{}\n", given_up_text(node));
    }
    if instances.is_empty() {
        return text + "\nnothing runs there\n";
    }
    let row = |i: &NodeInstance| {
        let volumes = if i.has_volumes { "keeps a volume" } else { "" };
        [
            i.id.to_string(),
            i.environment.to_string(),
            i.of.clone(),
            i.state.clone(),
            ago(i.since),
            volumes.into(),
        ]
    };
    text += "\n";
    text + &table(["INSTANCE", "ENVIRONMENT", "OF", "STATE", "SINCE", ""], instances.iter().map(row))
}

pub async fn quota(session: &Session, verb: Quota) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Quota::Show { tenant: Some(tenant) } => {
            let quota: QuotaInfo = client.get(&format!("/v1/tenants/{tenant}/quota")).await?;
            session.printer.result(&quota, || quota_text(&quota))
        }
        Quota::Show { tenant: None } => {
            let quotas: Items<QuotaInfo> = client.get("/v1/quotas").await?;
            session.printer.result(&quotas, || quotas_text(&quotas.items))
        }
        Quota::Set { tenant, limits, force } => {
            let body = set_quota(limits, force);
            let quota: QuotaInfo =
                client.call(Method::PUT, &format!("/v1/quotas/{tenant}"), Some(&body)).await?;
            session.printer.result(&quota, || quota_text(&quota))
        }
        Quota::Unset { tenant } => {
            let answer: Done = client.delete(&format!("/v1/quotas/{tenant}")).await?;
            session.printer.result(&answer, || format!("{tenant} has no quota of its own any more"))
        }
        Quota::Default(DefaultQuota::Show) => {
            let quota: DefaultQuotaInfo = client.get("/v1/default-quota").await?;
            session.printer.result(&quota, || default_text(&quota))
        }
        Quota::Default(DefaultQuota::Set { limits, force }) => {
            let body = set_quota(limits, force);
            let quota: DefaultQuotaInfo = client.call(Method::PUT, "/v1/default-quota", Some(&body)).await?;
            session.printer.result(&quota, || default_text(&quota))
        }
        Quota::Default(DefaultQuota::Unset) => {
            let answer: Done = client.delete("/v1/default-quota").await?;
            session.printer.result(&answer, || "there is no default quota any more".to_owned())
        }
    }
}

fn set_quota(limits: Limits, force: bool) -> SetQuota {
    let Limits { cpus, mem, disk, gpus, instances, ports, weight, no_limit } = limits;
    let no_limit = no_limit.into_iter().map(|limit| match limit {
        Limit::Cpus => Limited::Cpus,
        Limit::Mem => Limited::Mem,
        Limit::Disk => Limited::Disk,
        Limit::Gpus => Limited::Gpus,
        Limit::Instances => Limited::Instances,
        Limit::Ports => Limited::Ports,
    });
    SetQuota { cpus, mem, disk, gpus, instances, ports, weight, no_limit: no_limit.collect(), force }
}

fn quotas_text(quotas: &[QuotaInfo]) -> String {
    if quotas.is_empty() {
        return "no tenant has a quota, and there is no default".to_owned();
    }
    table(
        ["TENANT", "CPUS", "MEMORY", "DISK", "GPUS", "INSTANCES", "PORTS", "WEIGHT", "QUOTA"],
        quotas.iter().map(|quota| {
            let [cpus, mem, disk, gpus, instances, ports] =
                kinds(quota).map(|(_, used, limit)| format!("{used} of {}", limit.as_deref().unwrap_or("-")));
            let weight = quota.limits.weight.to_string();
            let whose = if quota.is_default { "default" } else { "own" }.to_owned();
            [quota.tenant.to_string(), cpus, mem, disk, gpus, instances, ports, weight, whose]
        }),
    )
}

fn default_text(quota: &DefaultQuotaInfo) -> String {
    if !quota.is_set {
        return "there is no default quota".to_owned();
    }
    let limits = &quota.limits;
    let number = |limit: Option<u32>| limit.map(|limit| limit.to_string());
    let rows = [
        ("cpus", limits.cpus.map(|limit| limit.to_string())),
        ("memory", limits.mem.map(size)),
        ("disk", limits.disk.map(size)),
        ("gpus", number(limits.gpus)),
        ("instances", number(limits.instances)),
        ("ports", number(limits.ports)),
    ];
    let rows = rows.map(|(kind, limit)| [kind.to_owned(), limit.unwrap_or_else(|| unset(kind).into())]);
    format!("each tenant without a quota of its own, weight {}\n", limits.weight)
        + &table(["", "LIMIT"], rows)
}

/// What it is called that nobody has set: ports are limited also then.
fn unset(kind: &str) -> &'static str {
    if kind == "ports" { "a share" } else { "no limit" }
}

/// Each kind, what is used of it, and how much may be.
fn kinds(quota: &QuotaInfo) -> [(&'static str, String, Option<String>); 6] {
    let (used, limits) = (quota.used, &quota.limits);
    // Nobody knows it while no server leads.
    let shown = |used: Option<String>| used.unwrap_or_else(|| "?".to_owned());
    let amount = |of: fn(Amounts) -> String| shown(used.map(of));
    let count = |used: Option<u32>| shown(used.map(|used| used.to_string()));
    [
        ("cpus", amount(|used| used.cpus.to_string()), limits.cpus.map(|limit| limit.to_string())),
        ("memory", amount(|used| size(used.mem)), limits.mem.map(size)),
        ("disk", amount(|used| size(used.disk)), limits.disk.map(size)),
        ("gpus", amount(|used| used.gpus.to_string()), limits.gpus.map(|limit| limit.to_string())),
        ("instances", count(quota.used_instances), limits.instances.map(|limit| limit.to_string())),
        ("ports", count(quota.used_ports), limits.ports.map(|limit| limit.to_string())),
    ]
}

fn quota_text(quota: &QuotaInfo) -> String {
    let rows = kinds(quota)
        .map(|(kind, used, limit)| [kind.to_owned(), used, limit.unwrap_or_else(|| unset(kind).into())]);
    let whose = if quota.is_default { ", by the default quota" } else { "" };
    format!("{}, weight {}{whose}\n", quota.tenant, quota.limits.weight) + &table(["", "USED", "LIMIT"], rows)
}

#[cfg(test)]
mod tests;
