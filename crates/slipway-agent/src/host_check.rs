//! Whether this host can run Slipway, for `slipwayd doctor`.
//!
//! Kernel features are tried, not looked up: versions and build options of distributions disagree in
//! too many ways. Every check is independent, so that one run names everything that is wrong. A
//! finding that is not fine says what to do in one sentence.
//!
//! Nothing on the host is changed: what is tried happens in namespaces and in a directory that are
//! gone afterwards.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;

use crate::network::{Cidr, Tag};

mod cgroups;
mod kernel;
mod network;
mod ports;
mod programs;
mod resources;
mod version;

/// What Slipway is going to be run with.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Where everything that must survive will be; need not exist yet.
    pub data_dir: PathBuf,
    /// Where it will listen, and what for, such as `router`.
    pub listens: Vec<(&'static str, SocketAddr)>,
    /// The instances' subnet.
    pub subnet: Cidr,
    /// The resolvers given for instances; empty means the host's own.
    pub dns: Vec<Ipv4Addr>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Slipway runs, but something will not be as it should.
    Warn,
    /// Slipway will not run.
    Fail,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked, in a word or two; the same in every run.
    pub name: String,
    /// How bad it is.
    pub status: Status,
    /// What is there.
    pub what: String,
    /// What to do, in one sentence; empty when all is well.
    pub advice: String,
}

impl Finding {
    fn ok(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Ok, what: what.into(), advice: String::new() }
    }

    fn warn(name: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Warn, what: what.into(), advice: advice.into() }
    }

    fn fail(name: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Fail, what: what.into(), advice: advice.into() }
    }
}

/// Makes all checks, in the order in which one would repair what they find. Blocks, for two seconds
/// at most when the resolver does not answer.
///
/// A Slipway that runs already is told from another by [`run_as`] only.
pub fn run(options: &HostOptions) -> Vec<Finding> {
    run_all(options, None)
}

/// The same for the Slipway with that tag, whose own interfaces are in nobody's way.
pub fn run_as(tag: &Tag, options: &HostOptions) -> Vec<Finding> {
    run_all(options, Some(tag))
}

fn run_all(options: &HostOptions, own: Option<&Tag>) -> Vec<Finding> {
    let mut findings = vec![kernel::root()];
    findings.extend(kernel::all(&options.data_dir));
    let cgroups = cgroups::Layout::of_this_host();
    findings.push(cgroups.finding());
    findings.extend(programs::all(&cgroups));
    findings.extend(ports::all(&options.listens));
    findings.extend(resources::all(&options.data_dir));
    findings.extend(network::all(options.subnet, &options.dns, own));
    findings
}

#[cfg(test)]
mod tests;
