//! The settings that all instances of an ensemble share, with Exhibitor's names and defaults (EX-04).
//!
//! They come from a store that others can write to, and end up in ZooKeeper's configuration file and
//! on Java's command line. So what goes there is of types that cannot hold a second line, a key that
//! is ours, or an option that would load or start something else.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

mod extra;
mod java;
pub mod roll;
mod servers;

pub use extra::{Error as ExtraError, Extra};
pub use java::{Error as JavaError, JavaOptions};
pub use servers::{Error, Kind, Server, Servers};

use crate::monitor::Ticks;
use roll::Roll;

#[cfg(test)]
mod tests;

/// The shortest time between two looks; less only burdens the server.
const CHECK_MS_MIN: u64 = 100;
/// The longest time that a period may have, a year: more is a mistake in the unit.
const PERIOD_MS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// All settings. Fields that are missing get Exhibitor's defaults, unknown ones are ignored, numbers
/// may come as text, because Exhibitor's own pages send them so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Empty, and there for Exhibitor's clients: whoever starts an instance says where ZooKeeper's jars are.
    pub zookeeper_install_directory: String,
    /// Where snapshots are; empty for the instance's own directory.
    pub zookeeper_data_directory: String,
    /// Where the transaction logs are; empty for beside the snapshots.
    pub zookeeper_log_directory: String,
    /// Kept for Exhibitor's clients; without effect here.
    pub log_index_directory: String,
    /// The servers; none for a standalone one (EX-10).
    pub servers_spec: Servers,
    /// Options for Java.
    pub java_environment: JavaOptions,
    /// Kept for Exhibitor's clients; without effect here.
    pub log4j_properties: String,
    /// More lines for ZooKeeper's configuration.
    pub zoo_cfg_extra: Extra,
    /// Kept for Exhibitor's clients: it comes back as it was set.
    pub backup_extra: BTreeMap<String, String>,
    /// The same: what the control panel's switches were.
    pub control_panel: BTreeMap<String, serde_json::Value>,
    /// Where clients connect.
    #[serde(deserialize_with = "number")]
    pub client_port: u16,
    /// Where followers connect to the leader.
    #[serde(deserialize_with = "number")]
    pub connect_port: u16,
    /// Where the servers elect their leader.
    #[serde(deserialize_with = "number")]
    pub election_port: u16,
    /// Between two looks at the server.
    #[serde(deserialize_with = "number")]
    pub check_ms: u64,
    /// Between two cleanups; 0 for none.
    #[serde(deserialize_with = "number")]
    pub cleanup_period_ms: u64,
    /// Snapshots that a cleanup leaves, at least 3.
    #[serde(deserialize_with = "number")]
    pub cleanup_max_files: u32,
    /// Between two backups; 0 for none.
    #[serde(deserialize_with = "number")]
    pub backup_period_ms: u64,
    /// How old a backup becomes before it is deleted.
    #[serde(deserialize_with = "number")]
    pub backup_max_store_ms: u64,
    /// 1 to let instances join and replace each other by themselves (EX-12).
    #[serde(deserialize_with = "number")]
    pub auto_manage_instances: u8,
    /// How long the instances must have been the same before that.
    #[serde(deserialize_with = "number")]
    pub auto_manage_instances_settling_period_ms: u64,
    /// So many voters are kept; 0 for all that live.
    #[serde(deserialize_with = "number")]
    pub auto_manage_instances_fixed_ensemble_size: u32,
    /// 1 to change all servers at once, 0 for one after the other.
    #[serde(deserialize_with = "number")]
    pub auto_manage_instances_apply_all_at_once: u8,
    /// From so many servers on, new ones observe.
    #[serde(deserialize_with = "number")]
    pub observer_threshold: u32,
    /// The highest id that a server ever had. Not Exhibitor's: it only knows those in the list, and
    /// gives the id of one that left again.
    #[serde(deserialize_with = "number")]
    pub highest_server_id: u8,
    /// New settings that the servers get one after the other (EX-11). Not Exhibitor's, nor for a person
    /// to set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolling: Option<Rolling>,
}

/// New settings on their way, as they stand in the shared ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rolling {
    /// The version of the shared settings in which it began. By this the servers say what they run by.
    pub id: u64,
    /// What all servers are to run by.
    pub new: Box<Settings>,
    /// How far it is.
    pub roll: Roll,
    /// Why it does not go on, when whose turn it is does not come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zookeeper_install_directory: String::new(),
            zookeeper_data_directory: String::new(),
            zookeeper_log_directory: String::new(),
            log_index_directory: String::new(),
            servers_spec: Servers::default(),
            java_environment: JavaOptions::default(),
            log4j_properties: String::new(),
            zoo_cfg_extra: Extra::default(),
            backup_extra: BTreeMap::new(),
            control_panel: BTreeMap::new(),
            client_port: 2181,
            connect_port: 2888,
            election_port: 3888,
            check_ms: 30_000,
            cleanup_period_ms: 12 * 3600 * 1000,
            cleanup_max_files: 3,
            backup_period_ms: 60_000,
            backup_max_store_ms: 24 * 3600 * 1000,
            auto_manage_instances: 0,
            auto_manage_instances_settling_period_ms: 180_000,
            auto_manage_instances_fixed_ensemble_size: 0,
            auto_manage_instances_apply_all_at_once: 1,
            observer_threshold: 999,
            highest_server_id: 0,
            rolling: None,
        }
    }
}

/// Why settings are refused that could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A port is 0, or two are the same.
    #[error("clientPort, connectPort and electionPort must be three different ports")]
    Ports,
    /// Nobody could ever lead.
    #[error("serversSpec must have a server that votes (S:…), or no server at all")]
    NoVoter,
    /// Too often to be of use, or so seldom that the unit must be wrong.
    #[error("{0} must be {CHECK_MS_MIN} to {PERIOD_MS_MAX} milliseconds")]
    Period(&'static str),
    /// The settings would say what code Java loads.
    #[error(
        "zookeeperInstallDirectory must stay empty: where the jars are is said to each instance when it is \
         started, with --class-path, and not by whoever can write the shared settings"
    )]
    InstallDirectory,
    /// A directory is not absolute, or holds a character that a line of configuration cannot.
    #[error("{0} must be an absolute path of printable ASCII without a backslash")]
    Directory(&'static str),
}

impl Settings {
    /// What the types alone do not promise.
    ///
    /// # Errors
    /// The first value that cannot be.
    pub fn check(&self) -> Result<(), Invalid> {
        let ports = [self.client_port, self.connect_port, self.election_port];
        if ports.contains(&0) || ports[0] == ports[1] || ports[0] == ports[2] || ports[1] == ports[2] {
            return Err(Invalid::Ports);
        }
        if !self.is_standalone() && self.servers_spec.iter().all(|server| server.kind == Kind::Observer) {
            return Err(Invalid::NoVoter);
        }
        let periods = [
            ("checkMs", self.check_ms, false),
            ("cleanupPeriodMs", self.cleanup_period_ms, true),
            ("backupPeriodMs", self.backup_period_ms, true),
        ];
        for (name, ms, may_be_off) in periods {
            let is_off = may_be_off && ms == 0;
            if !is_off && !(CHECK_MS_MIN..=PERIOD_MS_MAX).contains(&ms) {
                return Err(Invalid::Period(name));
            }
        }
        if !self.zookeeper_install_directory.is_empty() {
            return Err(Invalid::InstallDirectory);
        }
        let directories = [
            ("zookeeperDataDirectory", &self.zookeeper_data_directory),
            ("zookeeperLogDirectory", &self.zookeeper_log_directory),
        ];
        for (name, path) in directories {
            let is_plain = path.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\');
            if !path.is_empty() && (!path.starts_with('/') || !is_plain || path.trim() != path) {
                return Err(Invalid::Directory(name));
            }
        }
        self.rolling.as_ref().map_or(Ok(()), |rolling| rolling.new.check())
    }

    /// What the instance on that host works by: the new settings once its turn has come.
    #[must_use]
    pub fn of(&self, host: &str) -> Self {
        match &self.rolling {
            Some(rolling) if rolling.roll.uses_new(host) => Self::clone(&rolling.new),
            _ => Self { rolling: None, ..self.clone() },
        }
    }

    /// Whether the server must be started again for these settings to hold (EX-10). The list of
    /// servers is not among them when both have one: that changes by reconfiguration (ZK-09).
    pub fn needs_restart_for(&self, new: &Self) -> bool {
        let significant = |settings: &Self| {
            (
                settings.zookeeper_data_directory.clone(),
                settings.zookeeper_log_directory.clone(),
                settings.java_environment.clone(),
                settings.zoo_cfg_extra.clone(),
                (settings.client_port, settings.connect_port, settings.election_port),
                settings.servers_spec.iter().next().is_some(),
            )
        };
        significant(self) != significant(new)
    }

    /// This host's entry in the list.
    pub fn server(&self, host: &str) -> Option<&Server> {
        self.servers_spec.iter().find(|server| server.host == host)
    }

    /// Whether the one server serves alone (EX-10).
    pub fn is_standalone(&self) -> bool {
        self.servers_spec.iter().next().is_none()
    }

    /// ZooKeeper's times, as the configuration will say them.
    pub fn ticks(&self) -> Ticks {
        let value =
            |key, default| self.zoo_cfg_extra.get(key).and_then(|v| v.parse().ok()).unwrap_or(default);
        Ticks {
            tick_time_ms: value("tickTime", 2000),
            init_limit: value("initLimit", 10),
            sync_limit: value("syncLimit", 5),
        }
    }

    /// Where the snapshots are, below that directory when the settings leave it open.
    pub fn snapshots(&self, own: &std::path::Path) -> PathBuf {
        match self.zookeeper_data_directory.as_str() {
            "" => own.join("data"),
            path => path.into(),
        }
    }

    /// Where the transaction logs are.
    pub fn logs(&self, own: &std::path::Path) -> PathBuf {
        match self.zookeeper_log_directory.as_str() {
            "" => self.snapshots(own),
            path => path.into(),
        }
    }
}

impl Rolling {
    /// The settings in force, with a change for all servers on its way.
    pub fn begin(id: u64, old: Settings, new: Settings) -> Settings {
        let roll = Roll::new(&old.servers_spec, &new.servers_spec);
        let rolling = Self { id, new: Box::new(new), roll, stands: None };
        Settings { rolling: Some(rolling), ..old }
    }

    /// The same the other way round, as [`Roll::back`] says.
    pub fn back(self, id: u64, old: Settings) -> Settings {
        let old = Settings { rolling: None, ..old };
        let rolling = Self { id, new: Box::new(old), roll: self.roll.back(), stands: None };
        Settings { rolling: Some(rolling), ..*self.new }
    }

    /// A sentence for the operator.
    pub fn status(&self) -> String {
        self.stands.clone().unwrap_or_else(|| self.roll.status())
    }
}

/// A number, or text that is one.
fn number<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr + TryFrom<u64>,
    T::Err: fmt::Display,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Number(u64),
        Text(String),
    }
    use serde::de::Error as _;
    match Given::deserialize(from)? {
        Given::Number(number) => {
            T::try_from(number).map_err(|_| D::Error::custom(format!("{number} is too large")))
        }
        Given::Text(text) => {
            text.trim().parse().map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
        }
    }
}
