//! `cargo xtask test`: everything that checks the project.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::packages;
use crate::run::{root, run, step};
use crate::stack;

/// The tests that start real ZooKeeper servers, which `cargo test` alone leaves out because it cannot
/// install them.
const ZOOKEEPER_TESTS: [&str; 2] =
    ["--features", "slipway-store/zookeeper-tests,slipway-ensemble/zookeeper-tests"];

/// For images, layers and builds of several servers, and for disks that are filled on purpose.
const ROOM_GIB: u64 = 6;

/// Runs all checks, or with filters only the tests whose names contain one of them.
pub fn test(filters: &[&str]) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the tests run real containers and need root");
    }
    packages::install(&[packages::ALL, packages::CLUSTER, packages::TESTS].concat())?;
    if filters.is_empty() {
        step("Format", || run("cargo", &["fmt", "--all", "--check"]))?;
        step("Rules and their tests", || crate::rules::rules(&["--check"]))?;
    }
    // One build of everything, so that no test waits for a compiler.
    let build = [&["build", "--workspace", "--all-targets"][..], &ZOOKEEPER_TESTS].concat();
    step("Build", || run("cargo", &build))?;
    stack::layout()?;
    enough_room(&std::env::temp_dir())?;
    let mut sum = step("Test", || tests(filters))?;
    if filters.is_empty() && sum.failed == 0 && sum.succeeded {
        sum.passed += step("A cluster, and what breaks it", crate::faults::test)?;
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed > 0 || !sum.succeeded {
        bail!("not all tests passed");
    }
    Ok(())
}

/// Says at once what a hundred tests would say in riddles.
fn enough_room(place: &Path) -> anyhow::Result<()> {
    let stat = nix::sys::statvfs::statvfs(place).with_context(|| place.display().to_string())?;
    let free = (stat.blocks_available() * stat.fragment_size()) >> 30;
    if free < ROOM_GIB {
        bail!(
            "the tests need {ROOM_GIB} GiB in {} and there are {free}; free some, or set TMPDIR",
            place.display()
        );
    }
    Ok(())
}

/// What all test programs together say.
#[derive(Default)]
struct Sum {
    passed: u32,
    failed: u32,
    succeeded: bool,
}

fn tests(filters: &[&str]) -> anyhow::Result<Sum> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
    command.args(ZOOKEEPER_TESTS).arg("--").args(filters);
    command.current_dir(root()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo")?;
    let mut sum = Sum::default();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some(result) = line.strip_prefix("test result: ") {
            sum.passed += count(result, "passed");
            sum.failed += count(result, "failed");
        }
    }
    sum.succeeded = child.wait()?.success();
    Ok(sum)
}

/// The number before a word: `ok. 52 passed; 0 failed; …`.
fn count(result: &str, word: &str) -> u32 {
    let part = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word));
    part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}
