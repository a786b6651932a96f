//! The hosts' network: one bridge in a namespace of its own, because a Docker daemon on this machine
//! would drop what goes over a bridge beside it; and a way out, because builds fetch packages.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::{Host, Lab};
use crate::run::run;

/// The namespace of the bridge.
const SWITCH: &str = "switch";

/// The addresses of a lab.
struct Addresses {
    gateway: String,
    hosts: String,
    /// The two ends of the way out.
    outside: String,
    inside: String,
}

impl Addresses {
    fn of(lab: &Lab) -> Self {
        let (net, first) = (lab.net, 4 * u16::from(lab.net) + 1);
        Self {
            gateway: format!("10.250.{net}.1"),
            hosts: format!("10.250.{net}.0/24"),
            outside: format!("10.250.255.{first}"),
            inside: format!("10.250.255.{}", first + 1),
        }
    }
}

/// Which packets of a host are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All.
    Both,
    /// Those to it.
    In,
    /// Those from it.
    Out,
}

/// Makes the namespaces and links.
pub fn make(lab: &Lab) -> anyhow::Result<()> {
    let Addresses { gateway, hosts, outside, inside } = Addresses::of(lab);
    let switch = lab.namespace(SWITCH);
    ip(&["netns", "add", &switch])?;
    ip(&["-n", &switch, "link", "add", "bridge", "type", "bridge"])?;
    ip(&["-n", &switch, "address", "add", &format!("{gateway}/24"), "dev", "bridge"])?;
    for link in ["lo", "bridge"] {
        ip(&["-n", &switch, "link", "set", link, "up"])?;
    }
    for host in &lab.hosts {
        let namespace = lab.namespace(&host.name);
        ip(&["netns", "add", &namespace])?;
        ip(&[
            "-n", &switch, "link", "add", &host.name, "mtu", "1400", "type", "veth", "peer", "eth0", "mtu",
            "1400", "netns", &namespace,
        ])?;
        ip(&["-n", &switch, "link", "set", &host.name, "master", "bridge", "up"])?;
        ip(&["-n", &namespace, "address", "add", &format!("{}/24", host.address), "dev", "eth0"])?;
        for link in ["lo", "eth0"] {
            ip(&["-n", &namespace, "link", "set", link, "up"])?;
        }
        ip(&["-n", &namespace, "route", "add", "default", "via", &gateway])?;
    }
    let uplink = uplink(lab);
    ip(&[
        "link", "add", &uplink, "mtu", "1400", "type", "veth", "peer", "uplink", "mtu", "1400", "netns",
        &switch,
    ])?;
    ip(&["address", "add", &format!("{outside}/30"), "dev", &uplink])?;
    ip(&["link", "set", &uplink, "up"])?;
    ip(&["-n", &switch, "address", "add", &format!("{inside}/30"), "dev", "uplink"])?;
    ip(&["-n", &switch, "link", "set", "uplink", "up"])?;
    ip(&["-n", &switch, "route", "add", "default", "via", &outside])?;
    // So that people reach the hosts from outside.
    ip(&["route", "add", &hosts, "via", &inside])?;
    let forward = ["net.ipv4.ip_forward=1"];
    finish(lab.inside(SWITCH, "sysctl").arg("-q").args(forward))?;
    run("sysctl", &["-q", forward[0]])?;
    let table = table(lab);
    rules(
        Command::new("nft"),
        &format!(
            "table ip {table} {{
                chain out {{ type nat hook postrouting priority srcnat; ip saddr {hosts} ip daddr != {hosts} masquerade; }}
            }}"
        ),
    )
}

/// Removes them.
pub fn remove(lab: &Lab) -> anyhow::Result<()> {
    let names = lab.hosts.iter().map(|host| host.name.as_str()).chain([SWITCH]);
    for name in names {
        // The links go with the namespaces.
        quietly(Command::new("ip").args(["netns", "delete", &lab.namespace(name)]));
    }
    quietly(Command::new("ip").args(["link", "delete", &uplink(lab)]));
    quietly(Command::new("nft").args(["delete", "table", "ip", &table(lab)]));
    Ok(())
}

/// Loses packets of a host from now on, without a word to either side.
pub fn cut(lab: &Lab, host: &Host, way: Way) -> anyhow::Result<()> {
    heal(lab, host)?;
    let chain = |name: &str, hook: &str, field: &str| {
        format!("chain {name} {{ type filter hook {hook} priority -500; {field} \"eth0\" drop; }}\n")
    };
    let lost_in = if way == Way::Out { String::new() } else { chain("in", "prerouting", "iifname") };
    let lost_out = if way == Way::In { String::new() } else { chain("out", "postrouting", "oifname") };
    rules(lab.inside(&host.name, "nft"), &format!("table inet cut {{\n{lost_in}{lost_out}}}"))
}

/// Loses so many of a hundred packets of a host, either way, at random.
pub fn make_lossy(lab: &Lab, host: &Host, percent: u8) -> anyhow::Result<()> {
    heal(lab, host)?;
    let chain = |name: &str, hook: &str, field: &str| {
        format!(
            "chain {name} {{ type filter hook {hook} priority -500; \
             {field} \"eth0\" numgen random mod 100 < {percent} drop; }}\n"
        )
    };
    let chains = [chain("in", "prerouting", "iifname"), chain("out", "postrouting", "oifname")].concat();
    rules(lab.inside(&host.name, "nft"), &format!("table inet cut {{\n{chains}}}"))
}

/// Undoes a cut, and losses.
pub fn heal(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    quietly(lab.inside(&host.name, "nft").args(["delete", "table", "inet", "cut"]));
    Ok(())
}

fn uplink(lab: &Lab) -> String {
    format!("slip-{}", lab.name)
}

fn table(lab: &Lab) -> String {
    format!("slipway_{}", lab.name)
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    finish(Command::new("ip").args(words))
}

fn finish(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().context("cannot run ip")?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        bail!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// For what may not be there.
fn quietly(command: &mut Command) {
    let _absent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn rules(mut nft: Command, text: &str) -> anyhow::Result<()> {
    let mut child = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("cannot run nft")?;
    child.stdin.take().context("no standard input")?.write_all(text.as_bytes())?;
    if !child.wait()?.success() {
        bail!("nft refused: {text}");
    }
    Ok(())
}
