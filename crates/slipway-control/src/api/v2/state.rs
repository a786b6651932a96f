//! `/state`, as a Mesos master would answer it (ME-21): as much as programs read that make names for tasks.

use serde_json::json;
use slipway_marathon::present::{MesosFramework, MesosSlave, MesosState, MesosTask};

use super::answer::{self, Answer};
use super::context::Context;
use super::{listing, running};

/// Each tenant is a framework; its nodes are those that it could be on.
pub async fn state(context: &Context, host: &str) -> Answer {
    let place = context.listings.take(context.asked.caller.user()).await?;
    let nodes = context.api.leader.nodes().await;
    let slaves = nodes.iter().map(|node| {
        let host = node.node.address.map_or(node.node.name.to_string(), |address| address.to_string());
        MesosSlave::new(node.node.name.as_str(), &host, node.is_reachable)
    });
    let mut frameworks = Vec::new();
    for tenant in context.view.tenants() {
        let state = tenant.apps_state().await?;
        let framework = super::info::framework_id(&tenant.name);
        let mut tasks = Vec::new();
        for service in running::services(tenant, &state) {
            let snapshot = context.api.leader.snapshot(&service.environment).await;
            let of_service = service.tasks(snapshot.as_ref());
            tasks.extend(of_service.iter().map(|task| MesosTask::new(task, &framework, service.asks())));
        }
        let name = if context.view.is_several() { tenant.name.as_str() } else { "marathon" };
        frameworks.push(MesosFramework::new(&framework, name, host, tasks));
    }
    Ok(listing::held(answer::ok(&json!(MesosState::new(host, slaves.collect(), frameworks)))?, place))
}
