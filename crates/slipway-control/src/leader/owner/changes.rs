//! Records that others have written: each changes memory, and marks what is worth a look.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::{DefaultQuota, Quota};
use slipway_model::app::{App, environment_of};
use slipway_model::instance::{NodeOrder, RunRequest};
use slipway_model::name::{EnvironmentPath, NodeName, TenantName};
use slipway_model::project::{Environment, HostClaim};
use slipway_model::push::{Build, Push};
use slipway_model::record::Record;
use slipway_model::release::ReleaseRequest;
use slipway_plan::view::EnvironmentView;
use slipway_store::{Versioned, WatchEvent};

use super::{Held, Owner, below, build_number};
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
                |view| &mut view.wanted,
                |environment: &Environment| environment.path.clone(),
                |view, environment| view.wanted = Some(environment),
                |key| key.parse().ok().map(|path| (path, ())),
                |view, ()| view.wanted = None,
            ),
            Change::Push(event) => self.take(
                event,
                |view| &mut view.pushes,
                |push: &Push| push.environment.clone(),
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
                |view| &mut view.builds,
                |build: &Build| build.environment.clone(),
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
                |view| &mut view.requests,
                |request: &ReleaseRequest| request.environment.clone(),
                |view, request| drop(view.requests.insert(request.id.clone(), request)),
                |key| split(key, |id| Some(id.to_owned())),
                |view, id| drop(view.requests.remove(&id)),
            ),
            Change::RunRequest(event) => self.take(
                event,
                |view| &mut view.runs,
                |run: &RunRequest| run.environment.clone(),
                |view, run| drop(view.runs.insert(run.instance.clone(), run)),
                |key| split(key, |id| id.parse().ok()),
                |view, id| drop(view.runs.remove(&id)),
            ),
            Change::HostClaim(event) => self.take_claims(event),
            Change::App(event) => self.take_apps(event),
            Change::GroupDeployment(event) => self.take_groups(event),
            Change::Quota(event) => self.take_quotas(event),
            Change::DefaultQuota(event) => self.take_default_quota(event),
            Change::NodeOrder(event) => self.take_orders(event),
            Change::NodeIdentity(event) => self.take_identities(event),
        }
    }

    /// One change of one kind of record that belongs to environments, and what of it has changed memory.
    fn take<R: Record, T: Default + PartialEq, K>(
        &mut self,
        event: WatchEvent<R>,
        slot: impl Fn(&mut EnvironmentView) -> &mut T,
        place: impl Fn(&R) -> EnvironmentPath,
        put: impl Fn(&mut EnvironmentView, R),
        parse: impl Fn(&str) -> Option<(EnvironmentPath, K)>,
        remove: impl Fn(&mut EnvironmentView, K),
    ) {
        match event {
            WatchEvent::Whole(records) => {
                let mut before = BTreeMap::new();
                for (path, held) in &mut self.environments {
                    let known = std::mem::take(slot(&mut held.view));
                    if known != T::default() {
                        before.insert(path.clone(), known);
                    }
                }
                let mut touched: BTreeSet<_> = before.keys().cloned().collect();
                for Versioned { record, .. } in records {
                    let path = place(&record);
                    put(&mut self.hold(&path).view, record);
                    touched.insert(path);
                }
                // Most of them are as they were.
                for path in touched {
                    let known = before.remove(&path).unwrap_or_default();
                    if self.environments.get_mut(&path).is_some_and(|held| *slot(&mut held.view) != known) {
                        self.mark(&path);
                    }
                }
            }
            WatchEvent::Put(Versioned { record, .. }) => {
                let path = place(&record);
                put(&mut self.hold(&path).view, record);
                self.mark(&path);
            }
            WatchEvent::Removed(key) => {
                if let Some((path, key)) = parse(below::<R>(&key))
                    && let Some(held) = self.environments.get_mut(&path)
                {
                    remove(&mut held.view, key);
                    self.mark(&path);
                }
            }
            // The store has said so in its log; what was known before still holds.
            WatchEvent::Unreadable(_) => {}
        }
    }

    /// The environment in memory, from now on if it was not there.
    pub(super) fn hold(&mut self, path: &EnvironmentPath) -> &mut Held {
        if !self.environments.contains_key(path) {
            let held = Held::new(path);
            self.paths.insert(held.path.clone());
            self.environments.insert(path.clone(), held);
        }
        self.environments.get_mut(path).expect("it was there or is now")
    }

    /// An app may only follow its new version once it is known which group deployment that belongs to: the
    /// two were written together and are told by different watches.
    fn take_apps(&mut self, event: WatchEvent<App>) {
        let apps = match &event {
            WatchEvent::Whole(apps) => apps.iter().map(|app| &app.record).collect(),
            WatchEvent::Put(app) => vec![&app.record],
            WatchEvent::Removed(_) | WatchEvent::Unreadable(_) => Vec::new(),
        };
        let mut news = Vec::new();
        for app in apps {
            let path = app.environment();
            let known = self.environments.get(&path).and_then(|held| held.view.app.as_ref());
            if known.is_none_or(|known| known.version != app.version) {
                news.push(path.clone());
            }
            self.hold(&path).app = Some(app.id.clone());
        }
        self.take(
            event,
            |view| &mut view.app,
            App::environment,
            |view, app| view.app = Some(app),
            |key| app_key(key).map(|path| (path, ())),
            |view, ()| view.app = None,
        );
        self.ask_for_groups(news);
    }

    fn take_claims(&mut self, event: WatchEvent<HostClaim>) {
        match event {
            WatchEvent::Whole(claims) => {
                let gone: BTreeSet<String> = {
                    let there: BTreeSet<_> = claims.iter().map(|claim| &claim.record.host).collect();
                    self.claims.hosts().filter(|host| !there.contains(host)).cloned().collect()
                };
                for host in gone {
                    self.marked.extend(self.claims.remove(&host));
                }
                for Versioned { record, .. } in claims {
                    if self.claims.get(&record.host) != Some(&record) {
                        self.marked.extend(self.claims.put(record));
                    }
                }
            }
            WatchEvent::Put(claim) => self.marked.extend(self.claims.put(claim.record)),
            WatchEvent::Removed(key) => self.marked.extend(self.claims.remove(below::<HostClaim>(&key))),
            WatchEvent::Unreadable(_) => {}
        }
    }

    fn take_quotas(&mut self, event: WatchEvent<Quota>) {
        match event {
            WatchEvent::Whole(quotas) => {
                for tenant in std::mem::take(&mut self.quotas) {
                    self.cluster.set_quota(&tenant, None);
                }
                quotas.into_iter().for_each(|quota| self.set_quota(quota.record));
            }
            WatchEvent::Put(quota) => self.set_quota(quota.record),
            WatchEvent::Removed(key) => {
                if let Ok(tenant) = below::<Quota>(&key).parse::<TenantName>() {
                    self.quotas.remove(&tenant);
                    self.cluster.set_quota(&tenant, None);
                }
            }
            WatchEvent::Unreadable(_) => return,
        }
        self.waiters.note_room();
    }

    fn set_quota(&mut self, quota: Quota) {
        self.quotas.insert(quota.tenant.clone());
        self.cluster.set_quota(&quota.tenant, Some(quota.limits));
    }

    fn take_default_quota(&mut self, event: WatchEvent<DefaultQuota>) {
        let quota = match event {
            WatchEvent::Whole(quotas) => quotas.into_iter().next(),
            WatchEvent::Put(quota) => Some(quota),
            WatchEvent::Removed(_) => None,
            WatchEvent::Unreadable(_) => return,
        };
        self.cluster.set_default_quota(quota.map(|quota| quota.record.limits));
        self.waiters.note_room();
    }

    fn take_orders(&mut self, event: WatchEvent<NodeOrder>) {
        let changed: Vec<NodeName> = match event {
            WatchEvent::Whole(orders) => {
                let before = std::mem::take(&mut self.orders);
                self.orders = orders.into_iter().map(|o| (o.record.node.clone(), o.record)).collect();
                before.into_keys().chain(self.orders.keys().cloned()).collect()
            }
            WatchEvent::Put(order) => {
                let node = order.record.node.clone();
                self.orders.insert(node.clone(), order.record);
                vec![node]
            }
            WatchEvent::Removed(key) => {
                let Ok(node) = below::<NodeOrder>(&key).parse::<NodeName>() else { return };
                self.orders.remove(&node);
                vec![node]
            }
            WatchEvent::Unreadable(_) => return,
        };
        for node in changed {
            self.cluster.set_order(&node, self.orders.get(&node).map(|order| order.order));
            self.mark_those_on(&node);
            self.mark_those_resting_on(&node);
        }
        self.refresh_peers();
        self.waiters.note_room();
    }

    /// Volumes that wait on a node keep their service there, or are lost with it.
    fn mark_those_resting_on(&mut self, node: &NodeName) {
        let rests = |held: &&Held| held.view.resting.iter().any(|resting| resting.node == *node);
        let paths: Vec<_> = self.environments.values().filter(rests).map(|held| held.path.clone()).collect();
        paths.iter().for_each(|path| self.mark(path));
    }
}

/// `acme/shop/dev/0000000007` → the environment and what `parse` makes of the rest.
fn split<K>(key: &str, parse: impl Fn(&str) -> Option<K>) -> Option<(EnvironmentPath, K)> {
    let (path, rest) = key.rsplit_once('/')?;
    Some((path.parse().ok()?, parse(rest)?))
}

/// `acme/prod/db~` → where the app runs.
fn app_key(key: &str) -> Option<EnvironmentPath> {
    let (tenant, id) = key.strip_suffix('~')?.split_once('/')?;
    Some(environment_of(&tenant.parse().ok()?, &format!("/{id}").parse().ok()?))
}
