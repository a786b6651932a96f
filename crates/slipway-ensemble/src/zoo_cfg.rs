//! ZooKeeper's configuration, as text.
//!
//! The servers stand in a file of their own, the *dynamic* one, because ZooKeeper writes it anew with
//! each reconfiguration (ZK-09). So the settings' list is only what an ensemble is founded with.
//! Later the ensemble's own word counts: what servers that serve say, or else the last file that
//! ZooKeeper left. A server that finds itself missing there adds itself as an observer, never as a
//! voter: two that join as voters could outvote those who have the data.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use sha1::Digest as _;

use crate::options::{Options, Tls};
use crate::settings::{Kind, Server, Settings};

#[cfg(test)]
mod tests;

/// The words that the servers answer (ZK-11): those that read and are cheap.
pub const WORDS: [&str; 9] = ["srvr", "ruok", "mntr", "conf", "stat", "isro", "wchs", "dirs", "envi"];

/// The name of the static file.
pub const FILE: &str = "zoo.cfg";
/// In the instance's directory: the server's configuration. It writes there itself.
const DIR: &str = "conf";

/// Where the server of the instance in `dir` has its configuration.
pub fn dir(dir: &Path) -> PathBuf {
    dir.join(DIR)
}

/// The static file. The directories must be plain text without line ends, as [`Settings::check`] and
/// the caller see to.
pub fn file(settings: &Settings, options: &Options, dynamic: Option<&Path>) -> String {
    let ticks = settings.ticks();
    let mut lines = vec![
        format!("tickTime={}", ticks.tick_time_ms),
        format!("initLimit={}", ticks.init_limit),
        format!("syncLimit={}", ticks.sync_limit),
        format!("dataDir={}", settings.snapshots(&options.dir).display()),
        format!("dataLogDir={}", settings.logs(&options.dir).display()),
        format!("4lw.commands.whitelist={}", WORDS.join(",")),
        // It listens on every address and asks nobody who he is.
        "admin.enableServer=false".to_owned(),
        // The instance cleans up by itself, and only when its switch is on.
        "autopurge.purgeInterval=0".to_owned(),
    ];
    match dynamic {
        Some(path) => lines.extend([
            "reconfigEnabled=true".to_owned(),
            // Or a server alone could not take others in.
            "standaloneEnabled=false".to_owned(),
            format!("dynamicConfigFile={}", path.display()),
        ]),
        None if options.tls.is_none() => {
            lines.push(format!("clientPort={}", settings.client_port));
            lines.extend(address(&options.hostname).map(|at| format!("clientPortAddress={at}")));
        }
        None => {}
    }
    if let Some(tls) = &options.tls {
        lines.push(format!("secureClientPort={}", settings.client_port));
        lines.extend(address(&options.hostname).map(|at| format!("secureClientPortAddress={at}")));
        lines.extend(tls_lines(tls));
    }
    if let Some(password) = &options.super_password {
        lines.push(format!("DigestAuthenticationProvider.superDigest={}", digest("super", password)));
    }
    let own = ["tickTime", "initLimit", "syncLimit"];
    let extra = settings.zoo_cfg_extra.iter().filter(|(key, _)| !own.contains(key));
    lines.extend(extra.map(|(key, value)| format!("{key}={value}")));
    lines.push(String::new());
    lines.join("\n")
}

fn tls_lines(tls: &Tls) -> Vec<String> {
    let mut lines = vec![
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory".to_owned(),
        "ssl.clientAuth=need".to_owned(),
        "sslQuorum=true".to_owned(),
    ];
    for of in ["ssl", "ssl.quorum"] {
        for (store, path) in [("keyStore", &tls.key_store), ("trustStore", &tls.trust_store)] {
            lines.push(format!("{of}.{store}.type=PEM"));
            lines.push(format!("{of}.{store}.location={}", path.display()));
        }
    }
    lines
}

/// How ZooKeeper knows a password: `super:<base64 of SHA-1>`.
fn digest(user: &str, password: &str) -> String {
    let hash = sha1::Sha1::digest(format!("{user}:{password}"));
    format!("{user}:{}", base64::engine::general_purpose::STANDARD.encode(hash))
}

/// A server's line in the dynamic file.
///
/// A host that is an address is also the only one that its client port listens on; a name says nothing
/// about that, so then it is all addresses. With TLS the port stands in the static file instead,
/// because the dynamic one only knows ports without.
pub fn member(settings: &Settings, server: &Server, tls: bool) -> String {
    let Server { kind, id, host } = server;
    let Settings { connect_port, election_port, client_port, .. } = settings;
    let role = if *kind == Kind::Standard { "participant" } else { "observer" };
    let client = if tls {
        String::new()
    } else {
        let at = address(host).map_or("0.0.0.0".to_owned(), |at| at.to_string());
        format!(";{at}:{client_port}")
    };
    format!("server.{id}={host}:{connect_port}:{election_port}:{role}{client}")
}

/// The address that a host is, if it is one.
pub fn address(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

/// The dynamic file that an ensemble is founded with.
pub fn founding(settings: &Settings, tls: bool) -> String {
    settings.servers_spec.iter().map(|server| member(settings, server, tls) + "\n").collect()
}

/// The dynamic file made of what others say (`conf`, `/zookeeper/config`) or of an older file: their
/// lines, and ours as an observer if it is missing. Only where one alone votes may ours vote: the two
/// can do nothing without each other, and an observer could not help to give itself the second vote.
pub fn joining(membership: &str, settings: &Settings, own: &Server, tls: bool) -> String {
    let is_member = |line: &&str| {
        line.starts_with("server.") || line.starts_with("group.") || line.starts_with("weight.")
    };
    let mut lines: Vec<String> =
        membership.lines().map(str::trim).filter(is_member).map(str::to_owned).collect();
    let ours = format!("server.{}=", own.id);
    if !lines.iter().any(|line| line.starts_with(&ours)) {
        let voters = lines.iter().filter(|line| !line.contains(":observer")).count();
        let kind = if voters == 1 { own.kind } else { Kind::Observer };
        lines.push(member(settings, &Server { kind, ..own.clone() }, tls));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Whether a server with this id is in a membership.
pub fn lists(membership: &str, id: u8) -> bool {
    membership.lines().any(|line| line.trim().starts_with(&format!("server.{id}=")))
}

/// The newest of the dynamic files that ZooKeeper has left, by the version at the end of its name.
pub fn newest_dynamic(names: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let version = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        u64::from_str_radix(name.strip_prefix("zoo.cfg.dynamic.")?, 16).ok()
    };
    names.into_iter().filter_map(|path| Some((version(&path)?, path))).max().map(|(_, path)| path)
}
