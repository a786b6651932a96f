//! Git: a large push beside `file://`, what it does to the server's memory, and a small push beside
//! OpenSSH.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Bench;
use super::measure::{Goal, Report, Samples};
use super::openssh::OpenSsh;
use super::process::{Folder, output, rss_mb};
use super::slipway::git_identity;

const LARGE_ROUNDS: usize = 3;
const LARGE_MB: usize = 200;
const SMALL_ROUNDS: usize = 15;

/// Pushed branches do not deploy, so that only git is measured.
pub fn git(bench: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    let slipway = bench.slipway()?;
    let work = slipway.project("large")?;
    let peer = OpenSsh::start("git")?;
    let remote = peer.repository("small.git")?;
    let folder = Folder::make("bare")?;
    output(Command::new("git").args(["init", "--quiet", "--bare", &folder.text("large.git")]))?;
    let by_file = format!("file://{}", folder.text("large.git"));

    // Nothing here can be made smaller; that a client tries would be most of the time on both sides.
    slipway.git(&work, &["config", "core.compression", "0"])?;
    slipway.git(&work, &["config", "pack.window", "0"])?;
    // A first, small push makes the connection's keys known and the repositories real.
    commit(&work, "first", 1)?;
    slipway.git(&work, &["push", "--quiet", "paas-dev", "HEAD:refs/heads/side"])?;
    output(peer.git_command(&work).args(["push", "--quiet", &remote, "HEAD:refs/heads/side"]))?;
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for round in 0..SMALL_ROUNDS {
        crate::interrupt::check()?;
        commit(&work, &format!("small {round}"), 1)?;
        ours.push(timed(slipway.git_command(&work).args([
            "push",
            "--quiet",
            "paas-dev",
            "HEAD:refs/heads/side",
        ]))?);
        theirs.push(timed(peer.git_command(&work).args([
            "push",
            "--quiet",
            &remote,
            "HEAD:refs/heads/side",
        ]))?);
    }
    report.note("small push over our SSH", "s", &ours);
    report.note("small push over OpenSSH", "s", &theirs);
    report.found("small push beside OpenSSH", Goal::AtMost(0.8), " ×", &ours.over(&theirs));

    let (mut ours, mut theirs, mut grown) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..LARGE_ROUNDS {
        crate::interrupt::check()?;
        commit(&work, &format!("large {round}"), LARGE_MB)?;
        let branch = format!("HEAD:refs/heads/large-{round}");
        let before = rss_mb(slipway.pid()).unwrap_or_default();
        let (took, peak) = watched(slipway.pid(), || {
            timed(slipway.git_command(&work).args(["push", "--quiet", "paas-dev", &branch]))
        });
        ours.push(took?);
        grown.push(peak - before);
        theirs.push(timed(peer.git_command(&work).args(["push", "--quiet", &by_file, &branch]))?);
    }
    report.note(&format!("push of {LARGE_MB} MB"), "s", &ours);
    report.note("the same to file://", "s", &theirs);
    report.found("200 MB push beside file://", Goal::AtMost(1.2), " ×", &ours.over(&theirs));
    // A tenth of what is pushed would be "it grows with it".
    report.found("slipwayd's growth during a 200 MB push, RSS", Goal::AtMost(20.0), " MB", &grown);
    slipway.delete("large")
}

/// A commit that adds incompressible files of a megabyte, for git to carry and not to squeeze.
fn commit(work: &Path, message: &str, megabytes: usize) -> anyhow::Result<()> {
    for number in 0..megabytes {
        // The small ones are small: it is the round trip that counts there.
        let size = if megabytes == 1 { 1 << 10 } else { 1 << 20 };
        fs::write(work.join(format!("data-{number}")), super::random_bytes(size)?)?;
    }
    for words in [["add", "--all"].as_slice(), &["commit", "--quiet", "--message", message]] {
        output(Command::new("git").args(words).current_dir(work).envs(git_identity()))?;
    }
    Ok(())
}

fn timed(command: &mut Command) -> anyhow::Result<f64> {
    let begun_at = Instant::now();
    output(command)?;
    Ok(begun_at.elapsed().as_secs_f64())
}

/// The most memory that a process had while something was done, in MB.
fn watched<T>(pid: u32, work: impl FnOnce() -> T) -> (T, f64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let peak = scope.spawn(|| {
            let mut peak = 0.0_f64;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(rss_mb(pid).unwrap_or_default());
                std::thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        (result, peak.join().expect("reading a file does not panic"))
    })
}
