//! The container of an app: image, volumes, mapped ports.

use serde::Serialize;
use serde_json::Value;

use super::network::PortMapping;
use crate::decimal::Decimal;
use crate::json::{Fields, FromJson, Problems};

/// What an app runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Both kinds run the same way; the rules of what may be said differ.
    #[serde(rename = "type")]
    pub engine: Engine,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<Docker>,
    /// Kept for clients; what weakens the sandbox is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux_info: Option<LinuxInfo>,
    /// Directories.
    pub volumes: Vec<Volume>,
    /// The ports in a container mode; `None` in host mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_mappings: Option<Vec<PortMapping>>,
}

impl Container {
    /// One without image, volumes and ports.
    pub fn of(engine: Engine) -> Self {
        Self { engine, docker: None, linux_info: None, volumes: Vec::new(), port_mappings: None }
    }
}

/// Marathon's two containerizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "Marathon's names")]
pub enum Engine {
    Mesos,
    Docker,
}

/// The image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Docker {
    /// Its reference, such as `nginx:1.27`.
    pub image: String,
    /// Kept for clients: a tag is looked up with each new version anyway.
    pub force_pull_image: bool,
    /// Refused when true.
    pub privileged: bool,
    /// Refused when there are any.
    pub parameters: Vec<Parameter>,
    /// The secret with the registry's credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_config: Option<PullConfig>,
}

/// An option for Docker's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Marathon's names")]
pub struct Parameter {
    pub key: String,
    pub value: String,
}

/// Which secret has the credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PullConfig {
    /// The name of an entry of `secrets`.
    pub secret: String,
}

/// Settings of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxInfo {
    /// Seccomp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// Shared memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc_info: Option<IpcInfo>,
}

/// The seccomp profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// The name of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_name: Option<String>,
    /// Refused when true.
    pub unconfined: bool,
}

/// The IPC namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpcInfo {
    /// `PRIVATE`; `SHARE_PARENT` is refused.
    pub mode: String,
    /// Bytes of `/dev/shm`. Kept for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u32>,
}

/// A directory of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Where it is in the container.
    pub container_path: String,
    /// `RO` or `RW`.
    pub mode: Mode,
    /// What is there.
    #[serde(flatten)]
    pub kind: VolumeKind,
}

impl Volume {
    /// True when it outlives the instance (MA-70).
    pub fn is_persistent(&self) -> bool {
        matches!(self.kind, VolumeKind::Persistent { .. })
    }
}

/// Whether a volume may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "Marathon's names")]
pub enum Mode {
    Ro,
    Rw,
}

/// The kinds of volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeKind {
    /// A directory of the host. Only the `containerPath` of a persistent volume is accepted here, which
    /// gives that volume a second, absolute place.
    #[serde(rename = "hostPath")]
    Host(String),
    /// A directory that outlives the instance.
    Persistent(Persistent),
}

/// A directory that outlives the instance (MA-70).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Persistent {
    /// `root`; the others are kept for clients.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// MB.
    pub size: Decimal,
    /// MB; for mounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Decimal>,
    /// Kept for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_name: Option<String>,
    /// `["path", "LIKE" | "UNLIKE", pattern]`; kept for clients (MA-41).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Vec<String>>,
}

impl FromJson for Docker {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        if fields.raw("credential").is_some() {
            fields.complain("credential", "must be empty; use pullConfig");
        }
        let image: Option<String> = fields.must("image");
        let docker = image.map(|image| Self {
            image,
            force_pull_image: fields.get_or("forcePullImage", false),
            privileged: fields.get_or("privileged", false),
            parameters: fields.get_or("parameters", Vec::new()),
            pull_config: fields.get("pullConfig"),
        });
        fields.end();
        docker
    }
}

impl FromJson for Parameter {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let (key, value) = (fields.must("key"), fields.must("value"));
        fields.end();
        Some(Self { key: key?, value: value? })
    }
}

impl FromJson for PullConfig {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let secret = fields.must("secret");
        fields.end();
        Some(Self { secret: secret? })
    }
}

impl FromJson for LinuxInfo {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let info = Self { seccomp: fields.get("seccomp"), ipc_info: fields.get("ipcInfo") };
        fields.end();
        Some(info)
    }
}

impl FromJson for Seccomp {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let seccomp =
            Self { profile_name: fields.get("profileName"), unconfined: fields.get_or("unconfined", false) };
        fields.end();
        Some(seccomp)
    }
}

impl FromJson for IpcInfo {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let modes = [("PRIVATE", "PRIVATE"), ("SHARE_PARENT", "SHARE_PARENT")];
        let mode = fields.word("mode", &modes).unwrap_or("PRIVATE").to_owned();
        let info = Self { mode, shm_size: fields.get("shmSize") };
        fields.end();
        Some(info)
    }
}

impl FromJson for Volume {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let container_path: Option<String> = fields.must("containerPath");
        let mode = fields.word("mode", &[("RO", Mode::Ro), ("RW", Mode::Rw)]);
        let (host, persistent) = (fields.get("hostPath"), fields.get("persistent"));
        let not_here = [
            ("external", "external volumes are not supported; use a persistent volume"),
            ("secret", "a secret reaches a program in a variable: {\"secret\": …} in env"),
        ];
        let mut others = 0;
        for (name, why) in not_here {
            if fields.raw(name).is_some() {
                fields.complain(name, why);
                others += 1;
            }
        }
        let default_mode = if persistent.is_some() { Mode::Rw } else { Mode::Ro };
        let kind = match (host, persistent) {
            (Some(host), None) => Some(VolumeKind::Host(host)),
            (None, Some(persistent)) => Some(VolumeKind::Persistent(persistent)),
            (Some(_), Some(_)) => {
                fields.complain("hostPath", "a volume is of one kind only");
                None
            }
            (None, None) => {
                if others == 0 {
                    fields.complain("persistent", "is missing: a volume must say what it is");
                }
                None
            }
        };
        fields.end();
        Some(Self { container_path: container_path?, mode: mode.unwrap_or(default_mode), kind: kind? })
    }
}

impl FromJson for Persistent {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let size = fields.must("size");
        let kinds = [("root", "root"), ("path", "path"), ("mount", "mount")];
        let persistent = Self {
            kind: fields.word("type", &kinds).map(str::to_owned),
            size: size.unwrap_or_default(),
            max_size: fields.get("maxSize"),
            profile_name: fields.get("profileName"),
            constraints: fields.get_or("constraints", Vec::new()),
        };
        fields.end();
        size.map(|_| persistent)
    }
}

impl FromJson for Engine {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let engine = match value.as_str().unwrap_or_default().to_ascii_uppercase().as_str() {
            "MESOS" => Some(Engine::Mesos),
            "DOCKER" => Some(Engine::Docker),
            _ => None,
        };
        problems.unless(engine.is_some(), path, "is not one of (MESOS,DOCKER)");
        engine
    }
}

/// Fields that Marathon 1.11 reads in `container` itself; the old ones in `docker` are taken out before.
impl FromJson for Container {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let container = Self {
            engine: fields.get_or("type", Engine::Docker),
            docker: fields.get("docker"),
            linux_info: fields.get("linuxInfo"),
            volumes: fields.get_or("volumes", Vec::new()),
            port_mappings: fields.get("portMappings"),
        };
        fields.end();
        Some(container)
    }
}
