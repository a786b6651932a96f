//! Host name → instances. The table is derived from claims, releases and reports, published by the
//! leader as a whole or by difference, and never stored: each router keeps the last good one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use crate::app::PathId;
use crate::id::InstanceId;
use crate::name::{EnvironmentPath, ServiceName, ServicePath, TenantName};

/// All routes, with a number that rises with each change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouteTable {
    /// Rises with each change. 0: nothing is known yet, which is different from "no routes" and is
    /// never sent to a router (F57).
    pub generation: u64,
    /// By host name: lower case, no port; or by host name and the beginning of a path, such as
    /// `shop.example.com/api`, which counts before the host name alone (MA-80).
    pub routes: BTreeMap<String, Route>,
}

/// A change from one table to the next, so that one more endpoint among 1,000 routes costs a line,
/// not the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "update", rename_all = "kebab-case")]
pub enum RouteUpdate {
    /// Forget everything, this is the table.
    Whole {
        /// The table.
        table: RouteTable,
    },
    /// Applies to the table with generation `after` only; on any other the router asks for the whole.
    Change {
        /// The generation that this follows. Generations may be skipped: a table that changes faster
        /// than a router reads is sent to it in fewer, larger steps.
        after: u64,
        /// The new generation.
        generation: u64,
        /// Routes that are new or different.
        set: BTreeMap<String, Route>,
        /// Host names that lead nowhere now.
        remove: Vec<String>,
    },
}

/// Where one host name leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The service, for logs and counters.
    pub service: ServicePath,
    /// Where to send requests. Empty: the service is down, and the answer is 503.
    pub endpoints: Vec<Endpoint>,
    /// A client goes on with the instance that it had first, by a cookie (MA-80).
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_sticky: bool,
    /// A request that did not come over TLS is sent to where it does (MA-80).
    #[serde(default, skip_serializing_if = "is_false")]
    pub to_https: bool,
}

impl Route {
    /// One without anything special.
    pub fn new(service: ServicePath, endpoints: Vec<Endpoint>) -> Self {
        Self { service, endpoints, is_sticky: false, to_https: false }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// One instance that may be sent requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The instance; connections are pooled by it, never by address alone (dokku#6192).
    pub instance: InstanceId,
    /// Its address and port.
    pub address: SocketAddrV4,
}

/// What a router tells the leader: which table it obeys, and which instances that are in no route
/// any more it still has requests with. An instance is stopped when every router has let go of it
/// or the drain time is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterReport {
    /// The table it obeys.
    pub generation: u64,
    /// Requests under way, by instance that has left the table.
    pub draining: BTreeMap<InstanceId, u32>,
}

/// The first label of a service's host name under the base domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostLabel(String);

impl HostLabel {
    /// `shop-dev-acme` for the service `web`, `worker-shop-dev-acme` for another, cut to fit a DNS
    /// label. Different services may give the same text (`a-b` of `c`, `a` of `b-c`), so a label only
    /// counts once it is claimed (see [`crate::project::HostClaim`]); `attempt` above 0 appends a tail
    /// that depends on the whole path, for the one who came second.
    pub fn of(environment: &EnvironmentPath, service: &ServiceName, attempt: u32) -> Self {
        let mut text = String::new();
        if service.as_str() != "web" {
            text = format!("{service}-");
        }
        let EnvironmentPath { tenant, project, environment: name } = environment;
        text = format!("{text}{project}-{name}-{tenant}");
        Self::fitted(text, &format!("{environment}/{service}"), attempt)
    }

    /// `main-db-prod-acme` for the app `/prod/db/main`, as marathon-lb's users write it: the last part of
    /// the id comes first.
    pub fn of_app(tenant: &TenantName, app: &PathId, attempt: u32) -> Self {
        let words: Vec<_> = app.segments().rev().map(|segment| segment.replace('.', "-")).collect();
        Self::fitted(format!("{}-{tenant}", words.join("-")), &format!("{tenant}{app}"), attempt)
    }

    fn fitted(mut text: String, whole: &str, attempt: u32) -> Self {
        let cut = text.len() > 63;
        if cut || attempt > 0 {
            let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(attempt);
            for byte in whole.bytes() {
                // FNV-1a: stable for ever, and not a matter of security, because claims decide.
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            let tail = format!("{:05x}", hash & 0xf_ffff);
            text.truncate(63 - 1 - tail.len());
            text = format!("{}-{tail}", text.trim_end_matches('-'));
        }
        Self(text)
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
