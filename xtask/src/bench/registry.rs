//! The registry: layers pushed and pulled over raw HTTP, beside the least that a push can be (hash and
//! write in one pass), nginx serving the same files, and Debian's docker-registry.

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use slipway_testing::free_port;

use super::Bench;
use super::http::Connection;
use super::measure::{Goal, Report, Samples};
use super::pipeline::DebianRegistry;
use super::process::{Daemon, Folder, cpu_seconds, wait_for_port};
use super::slipway::{PASSWORD, Slipway, USER};

const ROUNDS: usize = 3;
const LAYERS: usize = 3;
const LAYER_BYTES: usize = 100 << 20;
const PIECE_BYTES: usize = 1 << 20;

pub fn registry(bench: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    let slipway = bench.slipway()?;
    let folder = Folder::make("registry")?;
    let nginx = StaticFiles::serve(&folder)?;
    let debian = DebianRegistry::start()?;
    let [mut floor, mut nginx_pull, mut our_push, mut our_pull, mut debian_push, mut debian_pull, mut cpu]: [Samples; 7] =
        Default::default();
    let megabytes = ((LAYERS * LAYER_BYTES) >> 20) as f64;
    for round in 0..ROUNDS {
        crate::interrupt::check()?;
        // New bytes each round: a layer that is there already is not sent.
        let layers: Vec<Layer> = (0..LAYERS).map(|_| Layer::random()).collect::<Result<_, _>>()?;
        let write_all = || layers.iter().try_for_each(|layer| hash_and_write(&folder, layer));
        let first = timed(write_all)?;

        let ours = Repository::of_slipway(slipway, &format!("acme/round-{round}"))?;
        let cpu_before = cpu_seconds(slipway.pid());
        our_push.push(megabytes / timed(|| layers.iter().try_for_each(|layer| ours.push(layer)))?);
        cpu.push((cpu_seconds(slipway.pid()) - cpu_before) * 1000.0 / megabytes);
        let theirs = Repository { port: debian.port, name: format!("round-{round}"), authorization: None };
        debian_push.push(megabytes / timed(|| layers.iter().try_for_each(|layer| theirs.push(layer)))?);

        // A floor is the least that is possible: whoever else used the disk may have met one of the two.
        floor.push(megabytes / timed(write_all)?.min(first));

        // The files that nginx serves are the ones just written; all three come from the page cache.
        nginx_pull.push(megabytes / timed(|| layers.iter().try_for_each(|layer| nginx.pull(layer)))?);
        our_pull.push(megabytes / timed(|| layers.iter().try_for_each(|layer| ours.pull(layer)))?);
        debian_pull.push(megabytes / timed(|| layers.iter().try_for_each(|layer| theirs.pull(layer)))?);
    }
    report.note("sha256 and write in one pass", "MB/s", &floor);
    report.note("push", "MB/s", &our_push);
    report.note("push, processor time", "ms/MB", &cpu);
    report.note("push to docker-registry", "MB/s", &debian_push);
    report.note("push to docker-registry beside the floor", "×", &debian_push.over(&floor));
    report.note("nginx static GET", "MB/s", &nginx_pull);
    report.note("pull", "MB/s", &our_pull);
    report.note("pull from docker-registry", "MB/s", &debian_pull);
    report.found(
        "registry push beside one pass of sha256 + write",
        Goal::AtLeast(0.6),
        " ×",
        &our_push.over(&floor),
    );
    report.found("registry pull beside nginx", Goal::AtLeast(0.9), " ×", &our_pull.over(&nginx_pull));
    Ok(())
}

struct Layer {
    bytes: Vec<u8>,
    digest: String,
}

impl Layer {
    fn random() -> anyhow::Result<Self> {
        let bytes = super::random_bytes(LAYER_BYTES)?;
        let digest = hex(&Sha256::digest(&bytes));
        Ok(Self { bytes, digest })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The floor: what every push must do.
fn hash_and_write(folder: &Folder, layer: &Layer) -> anyhow::Result<()> {
    let mut file = File::create(folder.join(&layer.digest))?;
    let mut hash = Sha256::new();
    for piece in layer.bytes.chunks(PIECE_BYTES) {
        hash.update(piece);
        file.write_all(piece)?;
    }
    if hex(&hash.finalize()) != layer.digest {
        bail!("the bytes have changed");
    }
    Ok(())
}

/// A repository of one registry or the other.
struct Repository {
    port: u16,
    name: String,
    /// The whole header line.
    authorization: Option<String>,
}

impl Repository {
    /// With a token for it, asked for as a client does.
    fn of_slipway(slipway: &Slipway, name: &str) -> anyhow::Result<Self> {
        let mut connection = Connection::open(slipway.registry)?;
        let target = format!("/token?service=slipway-registry&scope=repository:{name}:pull,push");
        let basic = format!("Authorization: Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let (head, body) = connection.ask("GET", &target, &[&basic], b"")?;
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let token =
            answer["token"].as_str().with_context(|| format!("the token was refused: {}", head.status))?;
        let authorization = Some(format!("Authorization: Bearer {token}"));
        Ok(Self { port: slipway.registry, name: name.to_owned(), authorization })
    }

    /// One upload, as clients do it: POST, the bytes in one PATCH, PUT with the digest.
    fn push(&self, layer: &Layer) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.port)?;
        let mut step = |method: &str, target: &str, body: &[u8], wanted: u16| -> anyhow::Result<String> {
            let mut fields = vec!["Content-Type: application/octet-stream"];
            fields.extend(self.authorization.as_deref());
            let (head, said) = connection.ask(method, target, &fields, body)?;
            if head.status != wanted {
                bail!("{method} {target} answered {}: {}", head.status, String::from_utf8_lossy(&said));
            }
            let location = head.field("location").unwrap_or_default();
            // Debian's says where it is with scheme and host, ours without.
            let path = location.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
            Ok(path.unwrap_or(location).to_owned())
        };
        let session = step("POST", &format!("/v2/{}/blobs/uploads/", self.name), b"", 202)?;
        let session = step("PATCH", &session, &layer.bytes, 202)?;
        let sign = if session.contains('?') { '&' } else { '?' };
        step("PUT", &format!("{session}{sign}digest=sha256:{}", layer.digest), b"", 201)?;
        Ok(())
    }

    fn pull(&self, layer: &Layer) -> anyhow::Result<()> {
        let target = format!("/v2/{}/blobs/sha256:{}", self.name, layer.digest);
        let fields: Vec<&str> = self.authorization.as_deref().into_iter().collect();
        pull(self.port, &target, &fields)
    }
}

fn pull(port: u16, target: &str, fields: &[&str]) -> anyhow::Result<()> {
    let count = Connection::open(port)?.drain(target, fields, &mut vec![0; PIECE_BYTES])?;
    if count != LAYER_BYTES {
        bail!("{target} has {count} bytes");
    }
    Ok(())
}

/// nginx with the files of a directory.
struct StaticFiles {
    port: u16,
    _daemon: Daemon,
}

impl StaticFiles {
    fn serve(folder: &Folder) -> anyhow::Result<Self> {
        let port = free_port();
        let server =
            format!("sendfile on; server {{ listen 127.0.0.1:{port}; root {}; }}", folder.path().display());
        let settings = super::nginx_settings(folder, "static", &server)?;
        let mut command = Command::new("nginx");
        command.args(["-p", &folder.text(""), "-c", &settings]);
        let daemon = Daemon::start(command, &folder.join("nginx.log"))?;
        wait_for_port("nginx", port)?;
        Ok(Self { port, _daemon: daemon })
    }

    fn pull(&self, layer: &Layer) -> anyhow::Result<()> {
        pull(self.port, &format!("/{}", layer.digest), &[])
    }
}

/// Seconds. What was written before is on the disk by then, and not in the way.
fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    nix::unistd::sync();
    let begun_at = Instant::now();
    work()?;
    Ok(begun_at.elapsed().as_secs_f64())
}
