//! The orchestrator's figures: examples that measure, verify what they measured by other code, and print a
//! line for each figure. Here they are run and their lines read; the goals stand beside them.
//!
//! They need no root, no peers and no network: scans, exhaustive best fit and flow checks run in the same
//! process as what is measured.

use std::process::Command;

use super::Bench;
use super::measure::{Goal, Report, Samples};
use super::process::output;
use super::slipway::release;
use crate::run::{finish, root};

/// The examples by the crate that they belong to.
const EXAMPLES: &[(&str, &str)] =
    &[("slipway-plan", "placement"), ("slipway-plan", "reconcile"), ("slipway-control", "control_path")];

/// A figure: the line that has all of these words, and what follows the number there.
struct Figure {
    what: &'static str,
    words: &'static [&'static str],
    unit: &'static str,
    /// What the number is multiplied by to have the unit of the goal.
    factor: f64,
    goal: Goal,
    shown_unit: &'static str,
}

const PLACEMENT: &[Figure] = &[
    Figure {
        what: "placements a second, 10,000 nodes, three constraints, one core",
        words: &["50 a service: ", "placed, "],
        unit: " a second",
        factor: 1.0,
        goal: Goal::AtLeast(1_000_000.0),
        shown_unit: "",
    },
    Figure {
        what: "one placement, p99",
        words: &["50 a service: ", "p99 "],
        unit: " ns, p99.9",
        factor: 0.001,
        goal: Goal::AtMost(20.0),
        shown_unit: " µs",
    },
    Figure {
        what: "500 a service: left unplaced though a flow check finds room",
        words: &["500 a service: ", " asked, "],
        unit: " of them stranded",
        factor: 1.0,
        goal: Goal::AtMost(0.0),
        shown_unit: "",
    },
    Figure {
        what: "nodes used beside exhaustive best fit",
        words: &["50 a service: ", " asked, "],
        unit: " of exhaustive best fit",
        factor: 1.0,
        goal: Goal::AtMost(1.02),
        shown_unit: " ×",
    },
    Figure {
        what: "a tenth of 10,000 nodes lost: all replacements decided",
        words: &[" nodes lost: "],
        unit: " ms",
        factor: 1.0,
        goal: Goal::AtMost(300.0),
        shown_unit: " ms",
    },
];

const RECONCILE: &[Figure] = &[Figure {
    what: "one look at 10,000 services when nothing changed",
    words: &["reconcile 10000 services, nothing changed"],
    unit: " ms",
    factor: 1.0,
    goal: Goal::AtMost(5.0),
    shown_unit: " ms",
}];

const CONTROL: &[Figure] = &[
    Figure {
        what: "instance starts a second, from the API to the stored assignment, with fsync",
        words: &["starts"],
        unit: " a second",
        factor: 1.0,
        goal: Goal::AtLeast(20_000.0),
        shown_unit: "",
    },
    Figure {
        what: "100,000 instances and 10,000 services in memory",
        words: &["held"],
        unit: " MB",
        factor: 1.0,
        goal: Goal::AtMost(600.0),
        shown_unit: " MB",
    },
    Figure {
        what: "an event to its subscriber, p99, 1,000 a second to 100",
        words: &["event", "p99"],
        unit: " ms",
        factor: 1.0,
        goal: Goal::AtMost(10.0),
        shown_unit: " ms",
    },
];

pub fn placement(_: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    measure("placement", PLACEMENT, report)
}

pub fn reconcile(_: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    measure("reconcile", RECONCILE, report)
}

pub fn control_path(_: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    measure("control_path", CONTROL, report)
}

/// Builds the examples that there are.
pub fn build() -> anyhow::Result<()> {
    for (package, example) in EXAMPLES {
        if is_there(package, example) {
            let mut cargo = Command::new("cargo");
            cargo.args(["build", "--release", "-p", package, "--example", example]).current_dir(root());
            finish(cargo)?;
        }
    }
    Ok(())
}

fn is_there(package: &str, example: &str) -> bool {
    let folder = root().join("crates").join(package).join("examples");
    folder.join(format!("{example}.rs")).exists() || folder.join(example).join("main.rs").exists()
}

fn measure(example: &str, figures: &[Figure], report: &mut Report) -> anyhow::Result<()> {
    let program = release(&format!("examples/{example}"));
    if !program.exists() {
        for Figure { what, goal, shown_unit, .. } in figures {
            report.missing(what, *goal, shown_unit, "its example is not built");
        }
        return Ok(());
    }
    let said = output(&mut Command::new(program))?;
    for line in said.lines() {
        println!("    | {line}");
    }
    for figure in figures {
        let Figure { what, goal, shown_unit, .. } = figure;
        match figure.read(&said) {
            Some(value) => report.found(what, *goal, shown_unit, &Samples::from_iter([value])),
            None => report.missing(what, *goal, shown_unit, "no line says it"),
        }
    }
    Ok(())
}

impl Figure {
    /// The number before the unit, in the first line that has all of the words.
    fn read(&self, said: &str) -> Option<f64> {
        let has_all =
            |line: &&str| self.words.iter().all(|word| line.contains(word)) && line.contains(self.unit);
        let line = said.lines().find(has_all)?;
        let before = line.split(self.unit).next()?;
        let number = before.rsplit([' ', '~', '≤']).next()?.replace([',', '_'], "");
        Some(number.parse::<f64>().ok()? * self.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_lines_of_the_examples() {
        let said = "\
50 a service: 100000 placed, 4321000 a second (best of 5); one: p50 120 ns, p99 2500 ns, p99.9 9 ns, p99.99 9 ns
1 a service: 100000 placed, 1 a second (best of 5); one: p50 1 ns, p99 1 ns, p99.9 1 ns, p99.99 1 ns
1000 nodes lost: 10052 replacements decided in 12.5 ms, 0 wait for room
50 a service: 100000 asked, 0 unplaced, 0 of them stranded (0 without repair), 99 nodes used, 1.0001 of exhaustive best fit, which places 5, 9 a second
500 a service: 100000 asked, 7 unplaced, 3 of them stranded (9 without repair), 99 nodes used, 1.5 of exhaustive best fit, which places 5, 9 a second";
        let values: Vec<_> = PLACEMENT.iter().map(|figure| figure.read(said)).collect();
        assert_eq!(values, [Some(4_321_000.0), Some(2.5), Some(3.0), Some(1.0001), Some(12.5)]);
        assert_eq!(RECONCILE[0].read("reconcile 10000 services, nothing changed: 4.2 ms"), Some(4.2));
        assert_eq!(RECONCILE[0].read("nothing"), None);
    }
}
