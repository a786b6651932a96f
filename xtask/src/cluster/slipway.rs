//! Slipway on those hosts: which command each runs, and what an operator types once.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::ask::{ask, request};
use super::process::{Standing, standing};
use super::{Host, HostKind, Lab, certificates, zookeeper};

pub const API: u16 = 7070;
const CLUSTER: u16 = 7072;
const PASSWORD: &str = "correct horse battery staple";
/// Where programs answer on the nodes with a router.
pub const ROUTER: u16 = 80;
/// Nodes with a router.
pub const ROUTERS: u8 = 2;

/// `slipwayd server` on a host.
pub fn server(lab: &Lab, host: &Host) -> Command {
    let at = |port: u16| format!("{}:{port}", host.address);
    let mut command = lab.inside(&host.name, lab.program("slipwayd"));
    command.args(["server", "--name", &host.name, "--base-domain", "apps.lab"]);
    command.args(["--public-host", &host.address.to_string()]);
    command.args(["--zookeeper", &zookeeper::addresses(lab), "--session", "4s"]);
    command.arg("--zookeeper-ca").arg(certificates::path(lab, "ca", "pem"));
    command.arg("--zookeeper-cert").arg(certificates::path(lab, "slipway", "pem"));
    command.arg("--zookeeper-key").arg(certificates::path(lab, "slipway", "key"));
    command.arg("--zookeeper-auth-file").arg(certificates::password(lab));
    command.arg("--shared-dir").arg(lab.shared());
    command.arg("--master-key").arg(lab.folder.join("master.key"));
    command.args(["--api", &at(API), "--registry", &at(7071), "--ssh", &at(2222), "--cluster", &at(CLUSTER)]);
    command.args(["--cluster-address", &at(CLUSTER)]);
    places(command, lab, host)
}

/// `slipwayd agent` on a host.
pub fn agent(lab: &Lab, host: &Host) -> Command {
    let mut command = lab.inside(&host.name, lab.program("slipwayd"));
    command.arg("agent");
    command.args(["--attribute", &format!("rack:r{}", 1 + host.number % 2)]);
    command.args(["--attribute", &format!("zone:{}", if host.number < 4 { "a" } else { "b" })]);
    command.args(["--cpus", "8", "--mem", "2G"]);
    if host.number <= ROUTERS {
        command.args(["--router", &format!("{}:{ROUTER}", host.address)]);
    }
    places(command, lab, host)
}

fn places(mut command: Command, lab: &Lab, host: &Host) -> Command {
    command.arg("--data-dir").arg(lab.data(host));
    command.arg("--run-dir").arg(lab.disk(host).join("run"));
    command
}

/// Puts the stack into the registry that the servers share.
pub fn import_stack(lab: &Lab, layout: &Path) -> anyhow::Result<()> {
    let host = lab.of(HostKind::Server).next().context("there is no server")?;
    // What is not there is taken for a directory that is not mounted.
    fs::create_dir_all(lab.shared())?;
    let mut command = Command::new(lab.program("slipwayd"));
    command.args(["stack", "import", "debian-12"]).arg(layout).arg("--shared-dir").arg(lab.shared());
    command.arg("--master-key").arg(lab.folder.join("master.key"));
    if !places(command, lab, host).status()?.success() {
        bail!("the stack was not imported");
    }
    Ok(())
}

/// Whether a server answers, itself or by the one that leads.
pub fn answers(host: &Host) -> bool {
    let answer = ask((host.address, API), &request("GET", "/v1/health", "", ""), Duration::from_secs(2));
    answer.is_ok_and(|answer| answer.status == 200)
}

/// Claims the cluster with the one-time token that the leader has left in a file.
pub fn claim(lab: &Lab) -> anyhow::Result<()> {
    let files = lab.of(HostKind::Server).map(|host| lab.disk(host).join("run/claim-token"));
    // Whoever led last has made the one that counts.
    let newest = files.max_by_key(|file| fs::metadata(file).and_then(|about| about.modified()).ok());
    let newest = newest.context("there is no server")?;
    let token = fs::read_to_string(newest).context("no server has left a claim token")?;
    let mut child =
        command(lab).args(["claim", token.trim(), "--user", "ada"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(format!("{PASSWORD}\n").as_bytes())?;
    if !child.wait()?.success() {
        bail!("the claim was refused");
    }
    Ok(())
}

/// Makes a token for one node, and joins with it.
pub fn join(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let mut asked = command(lab);
    asked.args(["nodes", "token", "--node", &host.name, "--json"]);
    if host.number <= ROUTERS {
        asked.arg("--router");
    }
    let output = asked.output()?;
    if !output.status.success() {
        bail!("no token: {}", String::from_utf8_lossy(&output.stderr));
    }
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let token = answer["token"].as_str().context("an answer without a token")?;
    let first = lab.of(HostKind::Server).next().context("no server")?;
    let mut command = lab.inside(&host.name, lab.program("slipwayd"));
    command.args(["join", &format!("{}:{CLUSTER}", first.address), "--token", token, "--name", &host.name]);
    crate::run::finish(places(command, lab, host))
}

/// The server that leads, by what the cluster says of itself.
pub fn leader(lab: &Lab) -> Option<String> {
    let running = lab.of(HostKind::Server).filter(|host| standing(lab, host) == Standing::Runs);
    running.into_iter().find_map(|host| {
        let output = through(lab, host).args(["nodes", "servers", "--json"]).output().ok()?;
        let servers: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let leading = servers["items"].as_array()?.iter().find(|server| server["leads"] == true)?;
        leading["name"].as_str().map(str::to_owned)
    })
}

/// How many nodes the leader can talk to.
pub fn nodes_connected(lab: &Lab) -> usize {
    let asked = command(lab).args(["nodes", "--json"]).output();
    let Ok(output) = asked else { return 0 };
    let nodes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let connected = |nodes: &Vec<serde_json::Value>| nodes.iter().filter(|n| n["connected"] == true).count();
    nodes["items"].as_array().map_or(0, connected)
}

/// The command line, as the operator, through the first server that runs.
pub fn command(lab: &Lab) -> Command {
    let running = lab.of(HostKind::Server).find(|host| standing(lab, host) == Standing::Runs);
    let any = lab.of(HostKind::Server).next().unwrap_or(&lab.hosts[0]);
    through(lab, running.unwrap_or(any))
}

/// The same through one server. Whoever has logged in at one has at all of them, but the command line
/// keeps what it knows by address.
fn through(lab: &Lab, host: &Host) -> Command {
    let mut command = Command::new(lab.program("slipway"));
    let logins = lab.folder.join("logins.json");
    command.env("SLIPWAY_SERVER", format!("http://{}:{API}", host.address));
    let known =
        fs::read(&logins).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let token = known.as_ref().and_then(|known| known["tokens"].as_object()?.values().next()?.as_str());
    if let Some(token) = token {
        command.env("SLIPWAY_TOKEN", token);
    }
    command.env("SLIPWAY_LOGINS", logins);
    command
}

/// Removes what a node or server made on this machine.
pub fn wipe(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    if !lab.data(host).exists() {
        return Ok(());
    }
    let mut command = lab.inside(&host.name, lab.program("slipwayd"));
    command.args(["wipe", "--yes"]);
    let mut command = places(command, lab, host);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    crate::run::finish(command)
}

/// What to do now.
pub fn invite(lab: &Lab) {
    let host = |name: &str| lab.host(name).map_or_else(|_| String::new(), |host| host.address.to_string());
    println!(
        "\nThe cluster runs. Its command line:  cargo xtask cluster slipway nodes\n\
         Its API:  http://{}:{API}, and the same on s2 and s3\n\
         Programs answer on http://{}:{ROUTER} and http://{}:{ROUTER}\n\
         Try:  cargo xtask cluster kill s1;  cargo xtask cluster status\n\
         End it:  cargo xtask cluster down",
        host("s1"),
        host("n1"),
        host("n2")
    );
}
