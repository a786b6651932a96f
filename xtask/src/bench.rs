//! `cargo xtask bench [name …]`: the figures of the goals, each beside the peer or the floor that it is
//! measured against, taken in one run in turn.
//!
//! Nothing here passes or fails by time: the table at the end says which goals are met on this machine
//! now. Peers are Debian's packages, started with directories and ports of their own. Everything that
//! is started has an owner in `process`, so that it ends with the bench, also when that breaks off.

use std::fs::File;
use std::io::Read;
use std::process::Command;

use anyhow::{Context, bail};

use crate::packages;
use crate::run::{finish, heading, root, step};

use docker::Docker;
use measure::Report;
use process::Folder;
use slipway::Slipway;

mod docker;
mod git;
mod http;
mod measure;
mod memory;
mod openssh;
mod orchestrator;
mod pipeline;
mod probe;
mod process;
mod push;
mod registry;
mod router;
mod slipway;
mod start;

type Subject = fn(&mut Bench, &mut Report) -> anyhow::Result<()>;

/// What needs neither root nor peers.
const PURE: &[(&str, &str, Subject)] = &[
    ("placement", "placement on 10,000 nodes", orchestrator::placement),
    ("reconcile", "10,000 services when nothing changed", orchestrator::reconcile),
    ("control", "the whole control path with simulated agents", orchestrator::control_path),
];

/// What needs ZooKeeper, and no peers. The last starts servers, which needs root.
const CLUSTER: &[(&str, &str, Subject)] = &[
    ("takeover", "another server takes over, on three ZooKeepers", orchestrator::takeover),
    ("herd", "a thousand nodes come back to another server", orchestrator::herd),
];

/// Those that want a quiet machine first; Docker's come last, because its daemon stays until the end.
const SUBJECTS: &[(&str, &str, Subject)] = &[
    ("router", "the router beside nginx", router::router),
    ("memory", "memory at rest", memory::memory),
    ("git", "git beside file:// and OpenSSH", git::git),
    ("registry", "the registry beside its floor, nginx and docker-registry", registry::registry),
    ("start", "starts beside the bare runtime and Docker", start::start),
    ("push", "push to live beside an assembled pipeline", push::one_file),
    ("flask", "a Flask program, cold, beside docker build", push::flask_cold),
];

/// Runs all subjects, or those that are named; with `--built` it measures the release build there is.
pub fn bench(words: &[&str]) -> anyhow::Result<()> {
    let (options, names): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    let is_built = match options.as_slice() {
        [] => false,
        ["--built"] => true,
        other => bail!("bench takes --built, not {}", other.join(" ")),
    };
    let all = || PURE.iter().chain(CLUSTER).chain(SUBJECTS);
    if let Some(unknown) = names.iter().find(|name| all().all(|(known, ..)| known != *name)) {
        let known: Vec<&str> = all().map(|(name, ..)| *name).collect();
        bail!("there is no {unknown} to measure, only {}", known.join(", "));
    }
    let is_wanted = |name: &str| names.is_empty() || names.contains(&name);
    crate::interrupt::catch()?;
    let wants_cluster = CLUSTER.iter().any(|(name, ..)| is_wanted(name));
    if wants_cluster {
        packages::install(packages::CLUSTER)?;
    }
    if (wants_cluster || PURE.iter().any(|(name, ..)| is_wanted(name))) && !is_built {
        step("Building what is measured alone, as a release", orchestrator::build)?;
    }
    let wants_peers = SUBJECTS.iter().any(|(name, ..)| is_wanted(name));
    if (wants_peers || is_wanted("herd")) && !nix::unistd::geteuid().is_root() {
        bail!("the bench starts containers and needs root");
    }
    if is_wanted("herd") && !wants_peers && !is_built {
        build()?;
    }
    if wants_peers {
        packages::install(&[packages::ALL, packages::TESTS].concat())?;
        packages::install_idle(packages::PEERS)?;
        if !is_built {
            build()?;
        }
    }
    let (mut bench, mut report) = (Bench::default(), Report::default());
    for (name, title, subject) in all().filter(|(name, ..)| is_wanted(name)) {
        heading(&format!("{name}: {title} (load {})", measure::load()));
        if let Err(error) = subject(&mut bench, &mut report) {
            report.failed(name, &error);
        }
        if crate::interrupt::check().is_err() {
            break;
        }
    }
    heading("Stopping what was started, and removing what was made");
    drop(bench);
    report.print_table();
    Ok(())
}

/// Release builds, because that is what people run.
fn build() -> anyhow::Result<()> {
    let cargo = |words: &[&str]| {
        let mut cargo = Command::new("cargo");
        finish({
            cargo.args(["build", "--release"]).args(words).current_dir(root());
            cargo
        })
    };
    step("Building what is measured, as a release", || {
        cargo(&["-p", "slipwayd", "-p", "slipway-cli", "-p", "slipway-shim"])?;
        cargo(&["-p", "slipway-agent", "--example", "start_bench"])
    })
}

/// What subjects share; started when the first one asks.
#[derive(Default)]
pub struct Bench {
    slipway: Option<Slipway>,
    docker: Option<Result<Docker, String>>,
}

impl Bench {
    fn slipway(&mut self) -> anyhow::Result<&Slipway> {
        if self.slipway.is_none() {
            self.slipway = Some(Slipway::start().context("Slipway does not start")?);
        }
        Ok(self.slipway.as_ref().expect("it was just started"))
    }

    /// The Docker daemon, or why there is none here: that is a result too, not a failure.
    fn docker(&mut self) -> &Result<Docker, String> {
        self.docker.get_or_insert_with(|| {
            Docker::start().map_err(|error| {
                let why = format!("{error:#}");
                println!("    no Docker to compare with: {why}");
                why
            })
        })
    }

    fn slipway_and_docker(&mut self) -> anyhow::Result<(&Slipway, &Result<Docker, String>)> {
        self.slipway()?;
        self.docker();
        let (slipway, docker) = (self.slipway.as_ref(), self.docker.as_ref());
        Ok((slipway.expect("it was just started"), docker.expect("it was just asked for")))
    }
}

/// Bytes that nothing compresses.
fn random_bytes(count: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A configuration file of nginx with all of its places in one directory, and two workers.
fn nginx_settings(folder: &Folder, name: &str, http: &str) -> anyhow::Result<String> {
    let place = |what: &str| folder.text(&format!("{name}-{what}"));
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.map(|what| format!("{what}_temp_path {};\n", place(what))).concat();
    let settings = format!(
        "daemon off; user root; worker_processes 2; pid {}; error_log {} error;\nevents {{ worker_connections 4096; }}\n\
         http {{\n{temporary}{}{http}\n}}\n",
        place("pid"),
        place("error.log"),
        if http.contains("access_log") { "" } else { "access_log off;\n" },
    );
    folder.write(&format!("{name}.conf"), &settings)
}
