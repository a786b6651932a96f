//! What people outside type to reach this Slipway.

use std::net::SocketAddr;

use anyhow::bail;
use slipway_api::wire::ServerInfo;
use slipway_control::leader::PublicUrl;

/// Host names, ports and schemes, as they are told to people.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Programs get host names below it.
    pub base_domain: String,
    /// Git, registry and API are reached at this host; the base domain when absent.
    pub public_host: Option<String>,
    /// How the router is reached.
    pub public: PublicUrl,
    pub api: SocketAddr,
    pub ssh: SocketAddr,
    pub registry: SocketAddr,
}

impl Outside {
    /// Checks what was typed.
    pub fn check(&self) -> anyhow::Result<()> {
        check_host("--base-domain", &self.base_domain)?;
        check_host("--public-host", self.host())
    }

    fn host(&self) -> &str {
        self.public_host.as_deref().unwrap_or(&self.base_domain)
    }

    /// What a clone's URL begins with.
    pub fn git_url(&self) -> String {
        format!("ssh://git@{}:{}", self.host(), self.ssh.port())
    }

    /// For the API, with the host's public SSH key.
    pub fn server_info(&self, git_host_key: &str) -> ServerInfo {
        let host = self.host();
        let apps = match self.public.port {
            Some(port) => format!("{}:{port}", self.base_domain),
            None => self.base_domain.clone(),
        };
        ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git: format!("{host}:{}", self.ssh.port()),
            git_host_key: git_host_key.to_owned(),
            apps,
            registry: format!("{host}:{}", self.registry.port()),
        }
    }
}

/// A URL without the port that its scheme has anyway.
pub fn public_url(is_tls: bool, port: u16) -> PublicUrl {
    let (scheme, usual) = if is_tls { ("https", 443) } else { ("http", 80) };
    PublicUrl { scheme, port: (port != usual).then_some(port) }
}

/// A host name as users will type it.
fn check_host(flag: &str, host: &str) -> anyhow::Result<()> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 180 || !host.split('.').all(label) {
        bail!("{flag} {host:?} is no host name; write it in lower case, such as apps.example.com");
    }
    Ok(())
}
