//! `cargo xtask test`: everything that checks the project.

use anyhow::bail;

use crate::packages;
use crate::run::{run, step};
use crate::stack;

/// Runs all checks, or with filters only the tests whose names contain one of them.
pub fn test(filters: &[&str]) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the tests run real containers and need root");
    }
    packages::install(packages::ALL)?;
    if filters.is_empty() {
        step("Format", || run("cargo", &["fmt", "--all", "--check"]))?;
    }
    // One build of everything, so that no test waits for a compiler.
    step("Build", || run("cargo", &["build", "--workspace", "--all-targets"]))?;
    stack::layout()?;
    let mut words = vec!["test", "--workspace", "--no-fail-fast", "--"];
    words.extend_from_slice(filters);
    step("Test", || run("cargo", &words))
}
