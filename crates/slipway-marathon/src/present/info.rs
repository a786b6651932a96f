//! Who answers (MA-20).

use serde::Serialize;

use crate::service_port;

/// The version that clients compare (MA-20): the newest that Marathon had.
pub const VERSION: &str = "1.11.24";

/// The answer of `/v2/info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Info {
    name: &'static str,
    version: &'static str,
    buildref: String,
    elected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    #[serde(rename = "frameworkId")]
    framework_id: String,
    marathon_config: MarathonConfig,
    zookeeper_config: ZooKeeperConfig,
    http_config: HttpConfig,
}

impl Info {
    /// `buildref` is Slipway's own version, `framework_id` tells one cluster, or one tenant's view of it,
    /// from another, `leader` is the leader's `host:port`, `hostname` this process's host.
    pub fn new(
        buildref: &str,
        framework_id: &str,
        leader: Option<&str>,
        is_leader: bool,
        hostname: &str,
        http_port: u16,
    ) -> Self {
        Self {
            name: "marathon",
            version: VERSION,
            buildref: format!("slipway-{buildref}"),
            elected: is_leader,
            leader: leader.map(str::to_owned),
            framework_id: framework_id.to_owned(),
            marathon_config: MarathonConfig::new(hostname),
            zookeeper_config: ZooKeeperConfig::default(),
            http_config: HttpConfig { http_port, https_port: 0 },
        }
    }
}

/// Settings that clients read. Those of Mesos say what holds here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Marathon's names")]
pub struct MarathonConfig {
    pub checkpoint: bool,
    pub executor: &'static str,
    pub failover_timeout: u64,
    pub features: Vec<&'static str>,
    pub framework_name: &'static str,
    pub ha: bool,
    pub hostname: String,
    pub local_port_max: u16,
    pub local_port_min: u16,
    pub master: String,
    pub mesos_leader_ui_url: Option<String>,
    pub mesos_role: Option<String>,
    pub mesos_user: Option<String>,
    pub task_launch_timeout: u64,
    pub task_reservation_timeout: u64,
    pub task_lost_expunge_initial_delay: u64,
    pub task_lost_expunge_interval: u64,
    pub webui_url: Option<String>,
}

impl MarathonConfig {
    fn new(hostname: &str) -> Self {
        Self {
            checkpoint: true,
            executor: "//cmd",
            failover_timeout: 604_800,
            features: vec!["secrets", "gpu_resources"],
            framework_name: "marathon",
            ha: true,
            hostname: hostname.to_owned(),
            local_port_max: service_port::LAST,
            local_port_min: service_port::FIRST,
            master: String::new(),
            mesos_leader_ui_url: None,
            mesos_role: None,
            mesos_user: None,
            task_launch_timeout: 300_000,
            task_reservation_timeout: 20_000,
            task_lost_expunge_initial_delay: 300_000,
            task_lost_expunge_interval: 30_000,
            webui_url: None,
        }
    }
}

/// Where state is. Not in a ZooKeeper of Marathon's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[expect(missing_docs, reason = "Marathon's names")]
pub struct ZooKeeperConfig {
    pub zk: String,
    pub zk_connection_timeout: u64,
    pub zk_max_versions: usize,
    pub zk_session_timeout: u64,
    pub zk_timeout: u64,
}

/// Where this answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Marathon's names")]
pub struct HttpConfig {
    pub http_port: u16,
    pub https_port: u16,
}
