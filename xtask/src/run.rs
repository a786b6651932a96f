//! Running programs, with a word about it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A program that cargo has built.
pub fn built(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("debug").join(name)
}

/// Says what comes now.
pub fn heading(text: &str) {
    println!("\n\x1b[1m==> {text}\x1b[0m");
}

/// A step with a heading and, at its end, its time.
pub fn step<T>(text: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    heading(text);
    let since = Instant::now();
    let done = work().with_context(|| format!("failed: {text}"))?;
    println!("    done in {:.1} s", since.elapsed().as_secs_f64());
    Ok(done)
}

/// Runs a program to its end; its output goes to ours.
pub fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    finish(command)
}

/// Waits for a prepared program, and fails when it does.
pub fn finish(mut command: Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        bail!("{name} {} ended with {status}", words.join(" "));
    }
    Ok(())
}
