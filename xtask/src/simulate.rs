//! `cargo xtask simulate [--seed N] [--seeds N]`: the plan under made-up nodes and faults.
//!
//! The simulator is a test of `slipway-plan`; here it is run as a release, with as many seeds as one
//! likes. A seed that fails is printed with the property that broke, and `--seed` tells its story alone.

use std::process::Command;

use anyhow::{Context, bail};

use crate::run::{finish, root, step};

/// Replays one seed, or runs each scenario over its own or the given number of seeds.
pub fn simulate(words: &[&str]) -> anyhow::Result<()> {
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text} is not a number"));
    let mut command = Command::new("cargo");
    command.args(["test", "--release", "-p", "slipway-plan", "--lib", "--", "simulator"]);
    let title = match words {
        [] => "Simulating".to_owned(),
        ["--seed", seed] => {
            let seed = number(seed)?;
            command.env("SLIPWAY_SEED", seed.to_string()).args(["--nocapture", "--test-threads=1"]);
            format!("Simulating seed {seed} alone, in every scenario")
        }
        ["--seeds", seeds] => {
            let seeds = number(seeds)?;
            if seeds == 0 {
                bail!("no seeds show nothing");
            }
            command.env("SLIPWAY_SEEDS", seeds.to_string());
            format!("Simulating {seeds} seeds of every scenario")
        }
        other => bail!("simulate takes --seed N or --seeds N, not {}", other.join(" ")),
    };
    command.current_dir(root());
    step(&title, || finish(command))
}
