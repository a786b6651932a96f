//! The host names that an app asks for in the words of marathon-lb, the load balancer that most people had
//! beside Marathon (MA-80): `HAPROXY_0_VHOST=shop.example.com` asks for requests to the first port,
//! `HAPROXY_0_PATH=/api` for those below that path only. As there, an app that is in no `HAPROXY_GROUP`
//! asks for nothing.
//!
//! What is asked for is said in **keys** as the route table has them: a host name, or one with the beginning
//! of a path. A path that cannot be is left out, and never taken for the host name alone, which would be
//! more than was asked for. It is told when the app is described ([`problems`]); here only what was stored
//! before can still have it.

use std::collections::BTreeMap;

/// Host names and paths that one app may ask for; more are left out of account.
const KEYS_MAX: usize = 50;
/// Bytes of one path. It is looked for in each request to its host name.
const PATH_BYTES_MAX: usize = 255;

/// What an app asks for at one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The place of the port that answers.
    pub port: usize,
    /// A client goes on with the instance that it had first.
    pub is_sticky: bool,
    /// A request that did not come over TLS is sent to where it does.
    pub to_https: bool,
}

/// The keys, host names in lower case, with what is asked for there. A key that two ports ask for is the
/// first one's.
pub fn of(labels: &BTreeMap<String, String>) -> BTreeMap<String, Asked> {
    let mut keys = BTreeMap::new();
    for (key, asked) in all(labels).take(KEYS_MAX) {
        keys.entry(key).or_insert(asked);
    }
    keys
}

/// The host names of keys, each with whether it is asked for by paths only.
pub fn hosts(keys: &BTreeMap<String, Asked>) -> BTreeMap<&str, bool> {
    let mut hosts = BTreeMap::new();
    for key in keys.keys() {
        let (host, path) = split(key);
        *hosts.entry(host).or_insert(true) &= !path.is_empty();
    }
    hosts
}

/// A key as host name and path, which is empty or begins with `/`.
pub fn split(key: &str) -> (&str, &str) {
    key.split_at(key.find('/').unwrap_or(key.len()))
}

/// What cannot be in the labels: each label with the reason.
pub(crate) fn problems(labels: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (port, _) in ports(labels) {
        let label = label(port, "PATH");
        let text = labels.get(&label).map(String::as_str).unwrap_or_default();
        let wrong = text.split_whitespace().filter_map(|path| Some((path, fault(path)?)));
        let told = wrong.map(|(path, why)| {
            let shown: String = path.chars().take(100).collect();
            (label.clone(), format!("{shown:?} cannot be a path of a host name: {why}"))
        });
        found.extend(told);
    }
    if all(labels).nth(KEYS_MAX).is_some() {
        let why = format!("HAPROXY labels may ask for at most {KEYS_MAX} host names and paths of them");
        found.push((String::new(), why));
    }
    found
}

/// Each key that is asked for, in the order of the ports.
fn all(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (String, Asked)> {
    ports(labels).into_iter().flat_map(|(port, names)| {
        let asked = Asked {
            port,
            is_sticky: is_on(labels, &label(port, "STICKY")),
            to_https: is_on(labels, &label(port, "REDIRECT_TO_HTTPS")),
        };
        let paths = paths(labels.get(&label(port, "PATH")).map(String::as_str).unwrap_or_default());
        let names = names.split(',').map(|name| name.trim().trim_end_matches('.').to_ascii_lowercase());
        // A name with a slash would be a path that nobody has looked at.
        names.filter(|name| !name.is_empty() && !name.contains('/')).flat_map(move |name| {
            let keys: Vec<_> = paths.iter().map(|path| (format!("{name}{path}"), asked)).collect();
            keys
        })
    })
}

/// The ports that ask for something, each with its host names as they are written.
fn ports(labels: &BTreeMap<String, String>) -> Vec<(usize, &str)> {
    let is_set = |label: &str| labels.get(label).is_some_and(|text| !text.trim().is_empty());
    let is_off = |label: &str| {
        labels.get(label).is_some_and(|text| matches!(text.trim(), "false" | "False" | "no" | "0"))
    };
    let mut asked: Vec<(usize, &str)> = labels
        .range("HAPROXY_".to_owned()..)
        .take_while(|(label, _)| label.starts_with("HAPROXY_"))
        .filter_map(|(label, hosts)| {
            let port = label.strip_prefix("HAPROXY_")?.strip_suffix("_VHOST")?;
            Some((port.parse().ok()?, hosts.as_str()))
        })
        .filter(|(port, _)| is_set("HAPROXY_GROUP") || is_set(&label(*port, "GROUP")))
        .filter(|(port, _)| !is_off(&label(*port, "ENABLED")))
        .collect();
    asked.sort_unstable();
    asked
}

fn label(port: usize, what: &str) -> String {
    format!("HAPROXY_{port}_{what}")
}

/// The words that marathon-lb takes for yes.
fn is_on(labels: &BTreeMap<String, String>, label: &str) -> bool {
    let text = labels.get(label).map(|text| text.trim().to_ascii_lowercase());
    text.is_some_and(|text| matches!(text.as_str(), "true" | "t" | "yes" | "y"))
}

/// The paths of a label, with spaces between them; the empty one is the whole host name. So is `/`.
fn paths(text: &str) -> Vec<&str> {
    if text.trim().is_empty() {
        return vec![""];
    }
    let can_be = text.split_whitespace().filter(|path| fault(path).is_none());
    can_be.map(|path| if path == "/" { "" } else { path }).collect()
}

/// Why a text cannot be a path that requests are compared with; `None` when it can. The router compares what
/// is sent byte by byte, so what different clients write differently would lead here only sometimes, and
/// what no client sends would lead here never.
fn fault(path: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+=:@".contains(&byte);
    let mut steps = path.trim_end_matches('/').split('/').skip(1);
    if path.starts_with('-') {
        Some("flags are not read; a path is compared as it is written")
    } else if !path.starts_with('/') {
        Some("begin it with a slash")
    } else if path.len() > PATH_BYTES_MAX {
        Some("it has more than 255 characters")
    } else if !path.bytes().all(plain) {
        Some("only letters, digits and -._~!$&'()*+=:@ may be between the slashes")
    } else if path.ends_with("//") || steps.any(|step| matches!(step, "" | "." | "..")) {
        Some("it has an empty part, . or ..")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
