//! Start of an instance: from the agent's list to the program exec'd, beside the bare OCI runtime and
//! `docker run --detach`.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context;

use super::Bench;
use super::docker::{Docker, IMAGE};
use super::measure::{Goal, Report, Samples};
use super::process::output;
use super::slipway::release;

/// Each of them starts so many one after the other, and then so many at once.
const BATCHES: usize = 4;
const IN_TURN: usize = 10;
const AT_ONCE: usize = 50;
/// Clients that start containers at the same time; more do not make dockerd faster.
const DOCKER_CLIENTS: usize = 8;

pub fn start(bench: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    let docker = bench.docker().as_ref().map_err(Clone::clone);
    let mut ours = Ours::default();
    let mut theirs = Theirs::default();
    for _ in 0..BATCHES {
        crate::interrupt::check()?;
        ours.measure()?;
        if let Ok(docker) = docker {
            theirs.measure(docker)?;
        }
    }
    report.note("agent accepts to exec, p50", "ms", &ours.agent_ms);
    report.note("bare runtime, p50", "ms", &ours.bare_ms);
    report.note(&format!("agent, {AT_ONCE} at once"), "a second", &ours.at_once);
    report.note(&format!("bare runtime, {AT_ONCE} at once"), "a second", &ours.bare_at_once);
    report.found(
        "start beside the bare runtime",
        Goal::AtMost(1.25),
        " ×",
        &ours.agent_ms.over(&ours.bare_ms),
    );
    let (start, burst) = ("start beside docker run -d", "50 starts at once beside docker");
    match docker {
        Ok(_) => {
            report.note("docker run -d, p50", "ms", &theirs.run_ms);
            report.note(&format!("docker, {AT_ONCE} at once"), "a second", &theirs.at_once);
            report.note("containerd-shim, PSS each", "MB", &theirs.shim_mb);
            report.found(start, Goal::AtMost(0.2), " ×", &ours.agent_ms.over(&theirs.run_ms));
            report.found(burst, Goal::AtLeast(10.0), " ×", &ours.at_once.over(&theirs.at_once));
        }
        Err(why) => {
            report.missing(start, Goal::AtMost(0.2), " ×", &why);
            report.missing(burst, Goal::AtLeast(10.0), " ×", &why);
        }
    }
    report.found("slipway-shim, PSS each", Goal::AtMost(1.0), " MB", &ours.shim_mb);
    Ok(())
}

#[derive(Default)]
struct Ours {
    agent_ms: Samples,
    bare_ms: Samples,
    at_once: Samples,
    bare_at_once: Samples,
    shim_mb: Samples,
}

impl Ours {
    /// The agent's own comparison, which starts both in turn in namespaces of its own.
    fn measure(&mut self) -> anyhow::Result<()> {
        let mut program = Command::new(release("examples/start_bench"));
        let said = output(program.args([IN_TURN.to_string(), AT_ONCE.to_string()]))?;
        let number = |after: &str| number_after(&said, after);
        self.agent_ms.push(number("agent ")?);
        self.bare_ms.push(number("bare runtime ")?);
        self.at_once.push(number("at once: ")?);
        self.bare_at_once.push(number("bare runtime alone: ")?);
        self.shim_mb.push(number("shims: ")? / 1024.0);
        Ok(())
    }
}

#[derive(Default)]
struct Theirs {
    run_ms: Samples,
    at_once: Samples,
    shim_mb: Samples,
}

impl Theirs {
    fn measure(&mut self, docker: &Docker) -> anyhow::Result<()> {
        let mut times = Samples::default();
        for _ in 0..IN_TURN {
            let begun_at = Instant::now();
            run_container(docker)?;
            times.push(begun_at.elapsed().as_secs_f64() * 1000.0);
        }
        docker.clear()?;
        self.run_ms.push(times.median());

        let left = AtomicUsize::new(AT_ONCE);
        let take =
            || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let client = || -> anyhow::Result<()> {
            while take() {
                run_container(docker)?;
            }
            Ok(())
        };
        let begun_at = Instant::now();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..DOCKER_CLIENTS).map(|_| scope.spawn(client)).collect();
            clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
        })?;
        self.at_once.push(AT_ONCE as f64 / begun_at.elapsed().as_secs_f64());
        self.shim_mb.push(docker.shims_pss_mb().into_iter().collect::<Samples>().median());
        docker.clear()
    }
}

/// With the limits and the network that an instance has.
fn run_container(docker: &Docker) -> anyhow::Result<String> {
    let limits = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "64"];
    output(docker.command().args(["run", "--detach"]).args(limits).args([IMAGE, "/bin/sleep", "1000"]))
}

fn number_after(text: &str, word: &str) -> anyhow::Result<f64> {
    let rest = text.split_once(word).map(|(_, rest)| rest);
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("the agent's comparison says no number after {word:?}: {text}"))
}
