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
const EXAMPLES: &[(&str, &str)] = &[
    ("slipway-plan", "placement"),
    ("slipway-plan", "reconcile"),
    ("slipway-control", "control_path"),
    ("slipway-control", "takeover"),
    ("slipwayd", "herd"),
];

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
        words: &["50 a service: ", "placed and verified, "],
        unit: " a second",
        factor: 1.0,
        goal: Goal::AtLeast(1_000_000.0),
        shown_unit: "",
    },
    Figure {
        what: "one placement, p99",
        words: &["50 a service: ", "one takes "],
        unit: " us p99,",
        factor: 1.0,
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
        words: &[" nodes lost with "],
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
        words: &["assignments stored after"],
        unit: " instance starts/s",
        factor: 1.0,
        goal: Goal::AtLeast(20_000.0),
        shown_unit: "",
    },
    Figure {
        what: "100,000 instances and 10,000 services in memory",
        words: &["memory: "],
        unit: " MiB, ",
        factor: 1.048_576,
        goal: Goal::AtMost(600.0),
        shown_unit: " MB",
    },
    Figure {
        what: "an event to its subscriber, p99, 1,000 a second to 100",
        words: &["events to", "p99 "],
        unit: " ms, longest",
        factor: 1.0,
        goal: Goal::AtMost(10.0),
        shown_unit: " ms",
    },
];

const TAKEOVER: &[Figure] = &[
    Figure {
        what: "another server decides over 100,000 instances, over three ZooKeepers",
        words: &["another server decides after "],
        unit: " s (",
        factor: 1.0,
        goal: Goal::AtMost(5.0),
        shown_unit: " s",
    },
    Figure {
        what: "the same when it has to read all records first",
        words: &["a server without a copy decides after "],
        unit: " s, with",
        factor: 1.0,
        goal: Goal::AtMost(5.0),
        shown_unit: " s",
    },
];

const HERD: &[Figure] = &[Figure {
    what: "API p99 while 1,000 nodes come back to another server",
    words: &["while 1000 nodes come back: "],
    unit: " s; all are back",
    factor: 1.0,
    goal: Goal::AtMost(1.0),
    shown_unit: " s",
}];

pub fn placement(_: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    measure("placement", PLACEMENT, report)
}

pub fn reconcile(_: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    measure("reconcile", RECONCILE, report)
}

pub fn control_path(_: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    measure("control_path", CONTROL, report)
}

pub fn takeover(_: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    measure("takeover", TAKEOVER, report)
}

pub fn herd(_: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    measure("herd", HERD, report)
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
        let before = line.split_once(self.unit)?.0;
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
50 a service: 100000 placed and verified, 1656945 a second; one takes 0.53 us p50, 1.31 us p99, 2.67 us p99.9
1000 nodes lost with 9976 instances: 9976 replacements planned and applied in 73.4 ms, 0 wait for room
50 a service: 100000 asked, 0 unplaced, 0 of them stranded, 99 nodes used, 1.0001 of exhaustive best fit, which leaves 0 unplaced; 9 a second, 70 times as many
500 a service: 100000 asked, 7 unplaced, 3 of them stranded, 99 nodes used, 1.5 of exhaustive best fit, which leaves 0 unplaced; 9 a second, 64 times as many";
        let values: Vec<_> = PLACEMENT.iter().map(|figure| figure.read(said)).collect();
        assert_eq!(values, [Some(1_656_945.0), Some(1.31), Some(3.0), Some(1.0001), Some(73.4)]);
        let said = "reconcile 10000 services, nothing changed: 4.2 ms (4.1 ms at best)";
        assert_eq!(RECONCILE[0].read(said), Some(4.2));
        let said = "\
assignments stored after 4.10 s: 24390 instance starts/s
memory: 500 MiB, 3 MiB of them before anything was there
500000 events to 100 followers at 1000/s: p50 0.20 ms, p99 1.25 ms, longest 8.00 ms";
        let values: Vec<_> = CONTROL.iter().map(|figure| figure.read(said)).collect();
        assert_eq!(values, [Some(24_390.0), Some(500.0 * 1.048_576), Some(1.25)]);
        assert_eq!(RECONCILE[0].read("nothing"), None);
        let said = "\
round 1: the one before has ended after 0.43 s, decides after 1.84 s
another server decides after 1.81 s (1.65–1.84)
a server without a copy decides after 4.20 s, with the reading of all records";
        let values: Vec<_> = TAKEOVER.iter().map(|figure| figure.read(said)).collect();
        assert_eq!(values, [Some(1.81), Some(4.2)]);
        let said = "while 1000 nodes come back: API p99 0.950 s; all are back 4.14 s after the election, 2.9 times what their handshakes take";
        assert_eq!(HERD[0].read(said), Some(0.95));
    }
}
