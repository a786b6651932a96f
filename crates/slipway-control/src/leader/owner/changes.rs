//! What comes in: it changes memory, and marks what is worth a look.

use slipway_model::instance::{InstanceReport, Node, RunRequest};
use slipway_model::name::{EnvironmentPath, NodeName};
use slipway_model::project::{Environment, HostClaim};
use slipway_model::push::{Build, Push};
use slipway_model::record::Record;
use slipway_model::release::ReleaseRequest;
use slipway_plan::cluster::Contact;
use slipway_plan::view::EnvironmentView;
use slipway_store::{Batch, WatchEvent};

use super::{Held, NodeMessage, Owner, RouterMessage, below, build_number, now};
use crate::leader::Error;
use crate::leader::records::Change;

impl Owner {
    pub(super) fn take_change(&mut self, change: Change) {
        match change {
            Change::Tenant(event) => {
                let tenants = match event {
                    WatchEvent::Whole(tenants) => tenants,
                    WatchEvent::Put(tenant) => vec![tenant],
                    WatchEvent::Removed(_) | WatchEvent::Unreadable(_) => return,
                };
                for tenant in tenants {
                    if self.tenants.insert(tenant.record.name.clone(), tenant.record).is_none() {
                        self.marked_nodes.extend(self.cluster.nodes().map(|(node, _)| node.name.clone()));
                    }
                }
            }
            Change::Environment(event) => self.take(
                event,
                |view| view.wanted = None,
                |environment: Environment| (environment.path.clone(), environment),
                |view, environment| view.wanted = Some(environment),
                |key| key.parse().ok().map(|path| (path, ())),
                |view, ()| view.wanted = None,
            ),
            Change::Push(event) => self.take(
                event,
                |view| view.pushes.clear(),
                |push: Push| (push.environment.clone(), push),
                |view, push| {
                    if push.number > view.status_or_new().last_build_seen {
                        view.pushes.insert(push.number, push);
                    }
                },
                |key| split(key, build_number),
                |view, number| drop(view.pushes.remove(&number)),
            ),
            Change::Build(event) => self.take(
                event,
                |view| view.builds.clear(),
                |build: Build| (build.environment.clone(), build),
                |view, build| {
                    if build.number > view.status_or_new().last_build_seen {
                        view.builds.insert(build.number, build);
                    }
                },
                |key| split(key, build_number),
                |view, number| drop(view.builds.remove(&number)),
            ),
            Change::ReleaseRequest(event) => self.take(
                event,
                |view| view.requests.clear(),
                |request: ReleaseRequest| (request.environment.clone(), request),
                |view, request| drop(view.requests.insert(request.id.clone(), request)),
                |key| split(key, |id| Some(id.to_owned())),
                |view, id| drop(view.requests.remove(&id)),
            ),
            Change::RunRequest(event) => self.take(
                event,
                |view| view.runs.clear(),
                |run: RunRequest| (run.environment.clone(), run),
                |view, run| drop(view.runs.insert(run.instance.clone(), run)),
                |key| split(key, |id| id.parse().ok()),
                |view, id| drop(view.runs.remove(&id)),
            ),
            Change::HostClaim(event) => self.take_claims(event),
        }
    }

    /// One change of one kind of record, that belongs to environments.
    fn take<R: Record, K>(
        &mut self,
        event: WatchEvent<R>,
        clear: impl Fn(&mut EnvironmentView),
        place: impl Fn(R) -> (EnvironmentPath, R),
        put: impl Fn(&mut EnvironmentView, R),
        parse: impl Fn(&str) -> Option<(EnvironmentPath, K)>,
        remove: impl Fn(&mut EnvironmentView, K),
    ) {
        let records = match event {
            WatchEvent::Whole(records) => {
                self.environments.values_mut().for_each(|held| clear(&mut held.view));
                self.marked.extend(self.environments.keys().cloned());
                records
            }
            WatchEvent::Put(record) => vec![record],
            WatchEvent::Removed(key) => {
                if let Some((path, key)) = parse(below::<R>(&key))
                    && let Some(held) = self.environments.get_mut(&path)
                {
                    remove(&mut held.view, key);
                    self.marked.insert(path);
                }
                return;
            }
            // The store has said so in its log; what was known before still holds.
            WatchEvent::Unreadable(_) => return,
        };
        for record in records {
            let (path, record) = place(record.record);
            let held = self.environments.entry(path.clone()).or_insert_with(|| Held::new(&path));
            put(&mut held.view, record);
            self.marked.insert(path);
        }
    }

    fn take_claims(&mut self, event: WatchEvent<HostClaim>) {
        match event {
            WatchEvent::Whole(claims) => {
                let hosts: Vec<_> = self.claims.hosts().cloned().collect();
                for host in hosts {
                    self.marked.extend(self.claims.remove(&host));
                }
                for claim in claims {
                    self.marked.extend(self.claims.put(claim.record));
                }
            }
            WatchEvent::Put(claim) => self.marked.extend(self.claims.put(claim.record)),
            WatchEvent::Removed(key) => self.marked.extend(self.claims.remove(below::<HostClaim>(&key))),
            WatchEvent::Unreadable(_) => {}
        }
    }

    pub(super) async fn take_node_message(&mut self, message: NodeMessage) -> Result<(), Error> {
        match message {
            NodeMessage::Joined { node, instances } => self.take_join(node, instances).await?,
            NodeMessage::Report { node, report } => self.take_report(&node, report),
            NodeMessage::Gone { node } => {
                self.cluster.set_contact(&node, Contact::Unreachable { since: now() });
                self.mark_those_on(&node);
            }
        }
        Ok(())
    }

    /// A node tells everything: what it does not name, it does not have.
    async fn take_join(&mut self, mut node: Node, instances: Vec<InstanceReport>) -> Result<(), Error> {
        let name = node.name.clone();
        if let Some(known) = self.cluster.node(&name) {
            node.joined_at = known.joined_at;
        }
        if self.cluster.node(&name) != Some(&node) {
            let batch = Batch::new().fenced(self.leadership.epoch).put(&node);
            if let Err(error) = self.commit(batch).await? {
                // Written again when it joins again; until then only this leader knows it.
                tracing::warn!(node.name = %name, %error, "a node could not be recorded");
            }
        }
        tracing::info!(node.name = %name, instances = instances.len(), "a node has joined");
        self.cluster.put(node, Contact::Reachable);
        for held in self.environments.values_mut() {
            held.view.hear_all(&name, &instances, self.started_at);
        }
        self.mark_those_on(&name);
        self.mark_waiting();
        self.marked_nodes.insert(name);
        Ok(())
    }

    fn take_report(&mut self, node: &NodeName, report: InstanceReport) {
        let place = self.places.get(&report.instance).and_then(|path| self.environments.get_mut(path));
        let is_assigned_here = |held: &&mut Held| {
            held.view.assignments.iter().any(|a| a.instance == report.instance && a.node == *node)
        };
        match place.filter(is_assigned_here) {
            Some(held) => {
                if held.view.hear(report) {
                    self.marked.insert(held.view.path.clone());
                }
            }
            // It is on no list: the node learns that from the next one (S6).
            None => drop(self.marked_nodes.insert(node.clone())),
        }
    }

    fn mark_those_on(&mut self, node: &NodeName) {
        let on_it = |held: &&Held| held.view.assignments.iter().any(|a| a.node == *node);
        let paths = self.environments.values().filter(on_it).map(|held| held.view.path.clone());
        self.marked.extend(paths);
    }

    pub(super) fn take_router_message(&mut self, message: RouterMessage) {
        let undecided: Vec<_> = self.routers.undecided(now()).cloned().collect();
        match message {
            RouterMessage::Report { router, report } => self.routers.hear(router, report),
            RouterMessage::Gone { router } => self.routers.forget_router(&router),
        }
        self.marked.extend(undecided.iter().filter_map(|instance| self.places.get(instance)).cloned());
    }
}

/// `acme/shop/dev/0000000007` → the environment and what `parse` makes of the rest.
fn split<K>(key: &str, parse: impl Fn(&str) -> Option<K>) -> Option<(EnvironmentPath, K)> {
    let (path, rest) = key.rsplit_once('/')?;
    Some((path.parse().ok()?, parse(rest)?))
}
