//! Whom this host asks for names.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// The resolvers of this host that an instance's questions can be passed on to: IPv4, and not on
/// loopback, which an answer from another namespace cannot reach. When `resolv.conf` names only the
/// local stub of systemd-resolved, those that the stub itself asks. Empty: there is none.
pub fn host_resolvers() -> Vec<Ipv4Addr> {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    files.iter().map(|path| usable_in(Path::new(path))).find(|found| !found.is_empty()).unwrap_or_default()
}

fn usable_in(path: &Path) -> Vec<Ipv4Addr> {
    nameservers(&fs::read_to_string(path).unwrap_or_default())
        .into_iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) if !address.is_loopback() && !address.is_unspecified() => Some(address),
            _ => None,
        })
        .collect()
}

/// The `nameserver` lines of a `resolv.conf`, in order.
pub fn nameservers(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver") {
            // fe80::1%eth0: the zone is no part of the address.
            let address = words.next().and_then(|word| word.split('%').next());
            found.extend(address.and_then(|address| address.parse::<IpAddr>().ok()));
        }
    }
    found
}
