//! Health checks, readiness checks, and checks that only inform (2.4).

use serde::Serialize;
use serde_json::Value;
use slipway_model::unit::Span;

use crate::json::{Fields, FromJson, Problems};

/// A health check (MA-42, MA-43).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// For `COMMAND`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// Failures do not count so long, until the first success (MA-44).
    pub grace_period_seconds: u32,
    /// Kept for clients: such an answer is no answer yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_http1xx: Option<bool>,
    /// Between two questions.
    pub interval_seconds: u32,
    /// 0: never killed (table 2.13).
    pub max_consecutive_failures: u32,
    /// For the kinds that speak HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Beats `port_index`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Which of the app's ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_index: Option<u16>,
    /// What is asked, and by whom upstream.
    pub protocol: Protocol,
    /// `IPv4` or `IPv6`.
    pub ip_protocol: IpProtocol,
    /// An answer that takes longer is none.
    pub timeout_seconds: u32,
    /// Kept for clients: failures that early fall into the grace period.
    pub delay_seconds: u32,
}

/// The seven protocols. All run on the agent (MA-42).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "Marathon's names")]
pub enum Protocol {
    Http,
    Https,
    Tcp,
    Command,
    MesosTcp,
    MesosHttp,
    MesosHttps,
}

impl Protocol {
    /// True for the kinds that upstream are run beside the task; an app has at most one (MA-32).
    pub fn is_agent_side(self) -> bool {
        !matches!(self, Protocol::Http | Protocol::Https | Protocol::Tcp)
    }
}

/// Of the connections that a check makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[expect(missing_docs, reason = "Marathon's names")]
pub enum IpProtocol {
    #[default]
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// For a shell in the sandbox.
    pub value: String,
}

impl FromJson for Command {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let value = fields.must("value");
        fields.end();
        Some(Self { value: value? })
    }
}

impl FromJson for HealthCheck {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        const PROTOCOLS: [(&str, Protocol); 7] = [
            ("HTTP", Protocol::Http),
            ("HTTPS", Protocol::Https),
            ("TCP", Protocol::Tcp),
            ("COMMAND", Protocol::Command),
            ("MESOS_TCP", Protocol::MesosTcp),
            ("MESOS_HTTP", Protocol::MesosHttp),
            ("MESOS_HTTPS", Protocol::MesosHttps),
        ];
        let mut fields = Fields::of(value, path, problems)?;
        let protocol = fields.word("protocol", &PROTOCOLS).unwrap_or(Protocol::Http);
        let ip_protocols = [("IPv4", IpProtocol::V4), ("IPv6", IpProtocol::V6)];
        let check = Self {
            command: fields.get("command"),
            grace_period_seconds: fields.get_or("gracePeriodSeconds", 300),
            ignore_http1xx: fields.get("ignoreHttp1xx"),
            interval_seconds: fields.get_or("intervalSeconds", 60),
            max_consecutive_failures: fields.get_or("maxConsecutiveFailures", 3),
            path: fields.get("path"),
            port: fields.get("port"),
            port_index: fields.get("portIndex"),
            protocol,
            ip_protocol: fields.word("ipProtocol", &ip_protocols).unwrap_or_default(),
            timeout_seconds: fields.get_or("timeoutSeconds", 20),
            delay_seconds: fields.get_or("delaySeconds", 15),
        };
        // Old clients send the type of the port beside it; it says nothing new.
        fields.ignore(&["portType", "portName"]);
        fields.end();
        Some(check)
    }
}

/// A readiness check (MA-46).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessCheck {
    /// For people.
    pub name: String,
    /// `HTTP`; `HTTPS` is refused.
    pub protocol: String,
    /// What is asked for.
    pub path: String,
    /// The port's name.
    pub port_name: String,
    /// Between two questions.
    pub interval_seconds: u32,
    /// An answer that takes longer is none.
    pub timeout_seconds: u32,
    /// The statuses that mean ready.
    pub http_status_codes_for_ready: Vec<u16>,
    /// Whether the last answer is shown with the deployment.
    pub preserve_last_response: bool,
}

impl FromJson for ReadinessCheck {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let text = |fields: &mut Fields<'_>, name, default: &str| fields.get_or(name, default.to_owned());
        let protocol = fields.word("protocol", &[("HTTP", "HTTP"), ("HTTPS", "HTTPS")]).unwrap_or("HTTP");
        let mut check = Self {
            name: text(&mut fields, "name", "readinessCheck"),
            protocol: protocol.to_owned(),
            path: text(&mut fields, "path", "/"),
            port_name: text(&mut fields, "portName", "http-api"),
            interval_seconds: fields.get_or("intervalSeconds", 30),
            timeout_seconds: fields.get_or("timeoutSeconds", 10),
            http_status_codes_for_ready: fields.get_or("httpStatusCodesForReady", Vec::new()),
            preserve_last_response: fields.get_or("preserveLastResponse", false),
        };
        if check.http_status_codes_for_ready.is_empty() {
            check.http_status_codes_for_ready.push(200);
        }
        fields.end();
        Some(check)
    }
}

/// A check that only informs (MA-47). Kept for clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InfoCheck {
    /// A `GET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<InfoEndpoint>,
    /// A connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<InfoEndpoint>,
    /// A command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<InfoExec>,
    /// Between two.
    pub interval_seconds: u32,
    /// An answer that takes longer is none.
    pub timeout_seconds: u32,
    /// Before the first.
    pub delay_seconds: u32,
}

/// Where an informing check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InfoEndpoint {
    /// Which of the app's ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_index: Option<u16>,
    /// Or which port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// For HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `HTTP` or `HTTPS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
}

/// What an informing check runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InfoExec {
    /// The command.
    pub command: InfoCommand,
}

/// A command line for a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InfoCommand {
    /// The line.
    pub shell: String,
}

impl FromJson for InfoCheck {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let check = Self {
            http: fields.get("http"),
            tcp: fields.get("tcp"),
            exec: fields.get("exec"),
            interval_seconds: fields.get_or("intervalSeconds", 60),
            timeout_seconds: fields.get_or("timeoutSeconds", 20),
            delay_seconds: fields.get_or("delaySeconds", 15),
        };
        fields.end();
        let kinds = [check.http.is_some(), check.tcp.is_some(), check.exec.is_some()]
            .iter()
            .filter(|is| **is)
            .count();
        problems.unless(kinds == 1, path, "must be exactly one of http, tcp and exec");
        Some(check)
    }
}

impl FromJson for InfoEndpoint {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let scheme = fields.word("scheme", &[("HTTP", "HTTP"), ("HTTPS", "HTTPS")]);
        let endpoint = Self {
            port_index: fields.get("portIndex"),
            port: fields.get("port"),
            path: fields.get("path"),
            scheme: scheme.map(str::to_owned),
        };
        fields.end();
        Some(endpoint)
    }
}

impl FromJson for InfoExec {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let command = fields.must("command");
        fields.end();
        Some(Self { command: command? })
    }
}

impl FromJson for InfoCommand {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let shell = fields.must("shell");
        fields.end();
        Some(Self { shell: shell? })
    }
}

/// Seconds as the platform counts them, never none: a question without a pause would be an attack.
pub(crate) fn seconds_min_one(seconds: u32) -> Span {
    Span::from_secs(u64::from(seconds.max(1)))
}
