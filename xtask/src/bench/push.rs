//! Push to live: from `git push` to the first answer of the new version, and what a visitor notices.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use slipway_testing::free_port;

use super::Bench;
use super::docker::Docker;
use super::http;
use super::measure::{Goal, Report, Samples};
use super::pipeline::{self, Pipeline};
use super::probe::{Probe, Seen};
use super::process::{Folder, output, wait_for};
use super::slipway::{Slipway, git_identity};

const ROUNDS: usize = 7;
const FLASK_ROUNDS: usize = 2;
/// A push that takes longer is broken.
const PUSH_TIME_MAX: Duration = Duration::from_secs(120);
/// How long the probe goes on after the new version's first answer: the old one is stopped meanwhile.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// 100 files of 10 KB, of which one changes with each push.
pub fn one_file(bench: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    let (slipway, docker) = bench.slipway_and_docker()?;
    let ours = slipway.project("site")?;
    write_site(&ours)?;
    let site = Site { port: slipway.router, host: slipway.host("site"), work: &ours };
    let push = || {
        let mut push = slipway.git_command(&ours);
        push.args(["push", "--quiet", "paas-dev", "main"]);
        push
    };
    site.push("first", push())?;

    let goal = "push to live, one file of 100, beside ssh + docker build + registry + Swarm";
    let folder = Folder::make("site")?;
    let peer = docker.as_ref().map_err(Clone::clone).and_then(|docker| {
        let pipeline = Pipeline::assemble(docker).map_err(|error| format!("{error:#}"))?;
        prepare_peer(&pipeline, &folder).map_err(|error| format!("{error:#} {}", pipeline.complaint()))?;
        Ok(pipeline)
    });
    let (mut us, mut them, mut failed, mut requests) = (Samples::default(), Samples::default(), 0, 0);
    let (mut peer_silence, mut peer_failed, mut our_silence) = (Samples::default(), 0, Samples::default());
    for round in 0..ROUNDS {
        crate::interrupt::check()?;
        let version = format!("version-{round}-of-the-site");
        let (took, seen) = site.push(&version, push())?;
        us.push(took.as_secs_f64());
        our_silence.push(seen.silence.as_secs_f64());
        failed += seen.failed;
        requests += seen.requests;
        if let Ok(pipeline) = &peer {
            let site = Site { port: pipeline.port, host: "localhost".into(), work: folder.path() };
            let pushed = site.push(&version, pipeline.push_command(folder.path()));
            let (took, seen) = pushed.with_context(|| pipeline.complaint())?;
            them.push(took.as_secs_f64());
            peer_silence.push(seen.silence.as_secs_f64());
            peer_failed += seen.failed;
        }
    }
    report.note("git push to first answer", "s", &us);
    report.note("longest time between two answers", "s", &our_silence);
    match &peer {
        Ok(pipeline) => {
            report.note("the assembled pipeline", "s", &them);
            report.note(&format!("its longest silence ({peer_failed} requests failed)"), "s", &peer_silence);
            report.note("its daemons' memory, PSS", "MB", &Samples::from_iter([pipeline.pss_mb()]));
            report.found(goal, Goal::AtMost(0.35), " ×", &us.over(&them));
        }
        Err(why) => report.missing(goal, Goal::AtMost(0.35), " ×", why),
    }
    let what = format!("failed requests of {requests} during {ROUNDS} pushes, 200 a second");
    report.found(&what, Goal::AtMost(0.0), "", &Samples::from_iter([failed as f64]));
    slipway.delete("site")
}

/// The first push goes without a clock: it makes the service.
fn prepare_peer(pipeline: &Pipeline<'_>, folder: &Folder) -> anyhow::Result<()> {
    let git = |words: &[&str]| output(Command::new("git").args(words).current_dir(folder.path()));
    git(&["init", "--quiet", "--initial-branch=main"])?;
    write_site(folder.path())?;
    folder.write("Dockerfile", &pipeline::dockerfile())?;
    let site = Site { port: pipeline.port, host: "localhost".into(), work: folder.path() };
    site.push("first", pipeline.push_command(folder.path()))?;
    Ok(())
}

fn write_site(work: &Path) -> anyhow::Result<()> {
    fs::write(work.join("index.html"), "<h1>A site</h1>\n")?;
    for number in 0..100 {
        fs::write(work.join(format!("f{number}")), super::random_bytes(10 << 10)?)?;
    }
    Ok(())
}

/// A working copy, and where it answers once pushed.
struct Site<'w> {
    port: u16,
    host: String,
    work: &'w Path,
}

impl Site<'_> {
    /// Commits a new version, pushes it while the probe asks, and waits for the first answer of it.
    fn push(&self, version: &str, mut push: Command) -> anyhow::Result<(Duration, Seen)> {
        fs::write(self.work.join("version"), version)?;
        for words in [["add", "--all"].as_slice(), &["commit", "--quiet", "--message", version]] {
            output(Command::new("git").args(words).current_dir(self.work).envs(git_identity()))?;
        }
        let probe = Probe::start(self.port, &self.host, "/version");
        let begun_at = Instant::now();
        let pushing = push.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let live = probe.first(version, PUSH_TIME_MAX);
        let said = pushing.wait_with_output()?;
        if !said.status.success() {
            bail!("git push ended with {}: {}", said.status, String::from_utf8_lossy(&said.stderr));
        }
        let took = live?.duration_since(begun_at);
        std::thread::sleep(AFTERMATH);
        Ok((took, probe.end()))
    }
}

/// A Python program whose dependencies nobody has yet; the stack is on the node.
pub fn flask_cold(bench: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    let layout = crate::stack::layout_by(&super::slipway::release("slipwayd"))?;
    let (slipway, docker) = bench.slipway_and_docker()?;
    let folder = Folder::make("flask")?;
    write_flask(folder.path())?;
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    fs::copy(certificates, folder.join("ca.crt"))?;
    folder.write("Dockerfile", FLASK_DOCKERFILE)?;
    let peer = docker.as_ref().map_err(Clone::clone).and_then(|docker| {
        let imported = pipeline::import_stack(docker, &layout, &folder, "bench-stack");
        imported.map(|()| docker).map_err(|error| format!("{error:#}"))
    });
    // The stack's layers come to the node with the first instance.
    flask_by_push(slipway, "flask-warm", true)?;
    let (mut us, mut them) = (Samples::default(), Samples::default());
    let mut trouble = peer.as_ref().err().cloned();
    for round in 0..FLASK_ROUNDS {
        crate::interrupt::check()?;
        us.push(flask_by_push(slipway, &format!("flask-{round}"), false)?.as_secs_f64());
        if let Ok(docker) = peer {
            match flask_by_docker(docker, &folder) {
                Ok(took) => them.push(took.as_secs_f64()),
                Err(error) => trouble = Some(format!("{error:#}")),
            }
        }
    }
    match trouble {
        None => report.note("docker build + run of the same", "s", &them),
        Some(why) => println!("    docker build + run: not measured, because {why}"),
    }
    report.found("Flask with its dependencies, cold: git push to live", Goal::AtMost(4.0), " s", &us);
    Ok(())
}

const FLASK_DOCKERFILE: &str = "\
FROM bench-stack
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /app
COPY requirements.txt .
RUN uv venv --quiet .venv && uv pip install -r requirements.txt
COPY . .
CMD [\"/app/.venv/bin/gunicorn\", \"--bind\", \"0.0.0.0:8080\", \"app:app\"]
";

fn write_flask(work: &Path) -> anyhow::Result<()> {
    let program = "from flask import Flask\n\napp = Flask(__name__)\n\n\n@app.get(\"/\")\ndef hello():\n    return \"hello\\n\"\n";
    fs::write(work.join("app.py"), program)?;
    fs::write(work.join("requirements.txt"), "flask\ngunicorn\n")?;
    Ok(fs::write(work.join("Procfile"), "web: gunicorn app:app\n")?)
}

/// Pushes it as a new project, which has no cache. A program of no packages when it is only to warm.
fn flask_by_push(slipway: &Slipway, name: &str, is_warming: bool) -> anyhow::Result<Duration> {
    let work = slipway.project(name)?;
    write_flask(&work)?;
    if is_warming {
        fs::write(work.join("requirements.txt"), "")?;
        fs::write(work.join("Procfile"), "web: exec python3 -m http.server $PORT\n")?;
    }
    slipway.git(&work, &["add", "--all"])?;
    slipway.git(&work, &["commit", "--quiet", "--message=A program"])?;
    let begun_at = Instant::now();
    slipway.git(&work, &["push", "--quiet", "paas-dev", "main"])?;
    let answers = || http::page(slipway.router, &slipway.host(name), "/");
    wait_for("the program to answer", PUSH_TIME_MAX, answers)?;
    let took = begun_at.elapsed();
    slipway.delete(name)?;
    Ok(took)
}

fn flask_by_docker(docker: &Docker, folder: &Folder) -> anyhow::Result<Duration> {
    let port = free_port();
    let begun_at = Instant::now();
    let place = folder.path().to_string_lossy();
    docker.run(&["build", "--quiet", "--no-cache", "--network", "host", "--tag", "bench-flask", &place])?;
    docker.run(&["run", "--detach", "--publish", &format!("127.0.0.1:{port}:8080"), "bench-flask"])?;
    wait_for("the container to answer", PUSH_TIME_MAX, || http::page(port, "localhost", "/"))?;
    let took = begun_at.elapsed();
    docker.clear()?;
    Ok(took)
}
