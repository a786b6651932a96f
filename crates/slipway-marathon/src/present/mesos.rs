//! The view of Mesos that its clients read (ME-21): as much of `/state` as mesos-dns needs to make names
//! for a tenant's tasks.

use std::net::Ipv4Addr;

use serde::Serialize;
use slipway_model::app::PathId;
use slipway_model::unit::Timestamp;

use super::{Task, TaskState};

/// The answer of `/state`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MesosState {
    version: &'static str,
    /// `master@<address>:<port>`, from which names for the leader are made.
    leader: String,
    pid: String,
    slaves: Vec<MesosSlave>,
    frameworks: Vec<MesosFramework>,
    completed_frameworks: [(); 0],
}

impl MesosState {
    /// `leader` is the leader's `address:port`.
    pub fn new(leader: &str, slaves: Vec<MesosSlave>, frameworks: Vec<MesosFramework>) -> Self {
        let pid = format!("master@{leader}");
        Self { version: "1.11.0", leader: pid.clone(), pid, slaves, frameworks, completed_frameworks: [] }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MesosSlave {
    /// Its name, which tasks refer to.
    pub id: String,
    /// Its address or name, for clients.
    pub hostname: String,
    /// `slave(1)@<address>:<port>`
    pub pid: String,
    /// Whether it is there.
    pub active: bool,
}

impl MesosSlave {
    /// A node with that name and address.
    pub fn new(name: &str, host: &str, is_active: bool) -> Self {
        let pid = format!("slave(1)@{host}:5051");
        Self { id: name.to_owned(), hostname: host.to_owned(), pid, active: is_active }
    }
}

/// What runs tasks: one for a tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MesosFramework {
    /// Its id.
    pub id: String,
    /// `marathon`, which becomes part of every name.
    pub name: String,
    /// Where it answers.
    pub hostname: String,
    /// Whether it is there.
    pub active: bool,
    /// What it runs.
    pub tasks: Vec<MesosTask>,
    completed_tasks: [(); 0],
}

impl MesosFramework {
    /// One with those tasks.
    pub fn new(id: &str, name: &str, hostname: &str, tasks: Vec<MesosTask>) -> Self {
        let (id, name, hostname) = (id.to_owned(), name.to_owned(), hostname.to_owned());
        Self { id, name, hostname, active: true, tasks, completed_tasks: [] }
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MesosTask {
    /// Its id.
    pub id: String,
    /// `main.db` for an app `/db/main`: mesos-dns makes its names from it.
    pub name: String,
    /// Of which framework.
    pub framework_id: String,
    /// On which node.
    pub slave_id: String,
    /// How it is.
    pub state: TaskState,
    /// What it has.
    pub resources: MesosResources,
    /// How it got there; the last is the newest.
    pub statuses: Vec<MesosStatus>,
}

/// What a task has.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "Mesos' names")]
pub struct MesosResources {
    pub cpus: f64,
    pub mem: f64,
    pub disk: f64,
    pub ports: String,
}

/// One state of a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MesosStatus {
    /// How it was.
    pub state: TaskState,
    /// Seconds since 1970.
    pub timestamp: f64,
    /// Where it could be reached.
    pub container_status: ContainerStatus,
}

/// Where a task could be reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContainerStatus {
    network_infos: Vec<NetworkInfo>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct NetworkInfo {
    ip_addresses: Vec<Address>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Address {
    ip_address: Ipv4Addr,
}

impl MesosTask {
    /// A task of `/v2`, with what it asks for: cpus, MB of memory, MB of disk.
    pub fn new(task: &Task, framework: &str, asked: (f64, f64, f64)) -> Self {
        let ranges: Vec<_> = task.ports.iter().map(|port| format!("{port}-{port}")).collect();
        let (cpus, mem, disk) = asked;
        let at = task.started_at.unwrap_or(task.staged_at);
        Self {
            id: task.id.clone(),
            name: discovery_name(&task.app_id),
            framework_id: framework.to_owned(),
            slave_id: task.slave_id.clone(),
            state: task.state,
            resources: MesosResources { cpus, mem, disk, ports: format!("[{}]", ranges.join(", ")) },
            statuses: vec![MesosStatus {
                state: task.state,
                timestamp: seconds(at),
                container_status: ContainerStatus {
                    network_infos: vec![NetworkInfo {
                        ip_addresses: task
                            .ip_addresses
                            .iter()
                            .map(|own| Address { ip_address: own.ip_address })
                            .collect(),
                    }],
                },
            }],
        }
    }
}

fn discovery_name(app: &PathId) -> String {
    app.segments().rev().collect::<Vec<_>>().join(".")
}

fn seconds(time: Timestamp) -> f64 {
    time.0 as f64 / 1000.0
}
