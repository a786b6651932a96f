//! The project's own commands, run as `cargo xtask <command>` on a Debian machine as root.
//!
//! They need nothing but Rust's toolchain: what is missing of Debian's packages is installed by
//! name, with a word about it. Each command is a list of steps that one can read in its file.

use std::process::ExitCode;

mod bench;
mod cluster;
mod demo;
mod faults;
mod forgetful;
mod interrupt;
mod packages;
mod rules;
mod run;
mod simulate;
mod stack;
mod test;

const HELP: &str = "\
cargo xtask <command>

  demo       build Slipway, start it, and take a small program through push, promotion and scaling
  test       everything that checks the project
  cluster    a whole cluster on this machine: up, down, status, kill, pause, cut, fill, heal
  faults     break such a cluster in many ways and check what it promises; --hours N, or names
  bench      measure Slipway beside its peers; with names, only those subjects
  rules      write docs/rules.md, which says what test shows which rule; with --check, compare it
  simulate   the plan under thousands of made-up clusters; --seed N replays one, --seeds N runs so many
  packages   install the Debian packages that demo and test need
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo", options @ ..] => demo::demo(options),
        ["test", filters @ ..] => test::test(filters),
        ["cluster", words @ ..] => cluster::cluster(words),
        ["faults", words @ ..] => faults::faults(words),
        ["bench", names @ ..] => bench::bench(names),
        // For `faults`, which runs it beside itself.
        ["forgetful-disk", folder] => forgetful::serve(std::path::Path::new(folder)),
        ["rules", options @ ..] => rules::rules(options),
        ["simulate", options @ ..] => simulate::simulate(options),
        ["packages"] => packages::install(packages::ALL),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
