//! Who has which host name, and who else has paths of it.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::name::EnvironmentPath;
use slipway_model::project::{HostClaim, HostState};

/// All claims, and those of each environment.
#[derive(Debug, Default)]
pub struct Claims {
    by_host: BTreeMap<String, HostClaim>,
    by_environment: BTreeMap<EnvironmentPath, BTreeSet<String>>,
    /// The host names of which environments ask for paths (MA-80), whoever has them, and the other way
    /// around.
    shared_by: BTreeMap<String, BTreeSet<EnvironmentPath>>,
    sharing: BTreeMap<EnvironmentPath, BTreeSet<String>>,
}

/// Whether requests for the host name are routed.
pub fn is_routed(claim: &HostClaim) -> bool {
    matches!(claim.state, HostState::Platform | HostState::Proven)
}

impl Claims {
    /// Who has a host name.
    pub fn get(&self, host: &str) -> Option<&HostClaim> {
        self.by_host.get(host)
    }

    /// The claims for services of one environment.
    pub fn of(&self, environment: &EnvironmentPath) -> impl Iterator<Item = &HostClaim> {
        let hosts = self.by_environment.get(environment).into_iter().flatten();
        hosts.filter_map(|host| self.by_host.get(host))
    }

    /// A claim is new or has changed. Answers with the environments whose routes may change.
    pub fn put(&mut self, claim: HostClaim) -> Vec<EnvironmentPath> {
        let mut changed = self.take(&claim.host);
        changed.extend(self.sharers(&claim.host));
        let environment = claim.service.environment();
        self.by_environment.entry(environment.clone()).or_default().insert(claim.host.clone());
        self.by_host.insert(claim.host.clone(), claim);
        changed.push(environment);
        changed
    }

    /// A claim is gone. Answers with the environments whose routes may change.
    pub fn remove(&mut self, host: &str) -> Vec<EnvironmentPath> {
        let mut changed = self.take(host);
        changed.extend(self.sharers(host));
        changed
    }

    /// These are the host names of which an environment asks for paths.
    pub fn share(&mut self, environment: &EnvironmentPath, hosts: BTreeSet<String>) {
        let before = self.sharing.remove(environment).unwrap_or_default();
        for host in before.difference(&hosts) {
            if let Some(sharers) = self.shared_by.get_mut(host) {
                sharers.remove(environment);
                if sharers.is_empty() {
                    self.shared_by.remove(host);
                }
            }
        }
        for host in hosts.difference(&before) {
            self.shared_by.entry(host.clone()).or_default().insert(environment.clone());
        }
        if !hosts.is_empty() {
            self.sharing.insert(environment.clone(), hosts);
        }
    }

    /// All host names.
    pub fn hosts(&self) -> impl Iterator<Item = &String> {
        self.by_host.keys()
    }

    fn sharers(&self, host: &str) -> impl Iterator<Item = EnvironmentPath> {
        self.shared_by.get(host).into_iter().flatten().cloned()
    }

    /// Takes a claim out, and answers with its environment.
    fn take(&mut self, host: &str) -> Vec<EnvironmentPath> {
        let Some(claim) = self.by_host.remove(host) else { return Vec::new() };
        let environment = claim.service.environment();
        if let Some(hosts) = self.by_environment.get_mut(&environment) {
            hosts.remove(host);
            if hosts.is_empty() {
                self.by_environment.remove(&environment);
            }
        }
        vec![environment]
    }
}
