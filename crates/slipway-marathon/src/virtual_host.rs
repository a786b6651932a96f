//! The host names that an app asks for in the words of marathon-lb, the load balancer that most people had
//! beside Marathon (MA-80): `HAPROXY_0_VHOST=shop.example.com` asks for requests to the first port. As
//! there, an app that is in no `HAPROXY_GROUP` asks for nothing.

use std::collections::BTreeMap;

/// Names that one app may ask for; more are left out of account.
const HOSTS_MAX: usize = 50;

/// The host names, in lower case, each with the place of the port that answers. A name that two ports ask for
/// is the first one's.
pub fn of(labels: &BTreeMap<String, String>) -> BTreeMap<String, usize> {
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
        .filter(|(port, _)| is_set("HAPROXY_GROUP") || is_set(&format!("HAPROXY_{port}_GROUP")))
        .filter(|(port, _)| !is_off(&format!("HAPROXY_{port}_ENABLED")))
        .collect();
    asked.sort_unstable();
    let mut hosts = BTreeMap::new();
    let names = asked.iter().flat_map(|(port, names)| names.split(',').map(move |name| (*port, name)));
    for (port, name) in names.take(HOSTS_MAX) {
        let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
        if !name.is_empty() {
            hosts.entry(name).or_insert(port);
        }
    }
    hosts
}

#[cfg(test)]
mod tests;
