//! Real `git` and `ssh` against the real server, with a real store; in place of builder and leader a
//! task that writes the records they would write.
//!
//! This binary is also the hook program of the servers it starts, and, with `--serve`, a server that
//! can be killed; so it has a `main` of its own. Arguments that are not options filter by name.

mod cases;
mod killed;
mod platform;
#[path = "../../../slipway-storage/tests/servers/s3.rs"]
mod s3_server;
mod world;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    if slipway_git::hook::NAMES.contains(&name) {
        return slipway_git::hook::main(name);
    }
    let arguments: Vec<String> = arguments.collect();
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    };
    if let [first, directory] = arguments.as_slice()
        && first == "--serve"
    {
        return runtime().block_on(killed::serve(directory.as_ref()));
    }
    let all = cases::all().into_iter().chain(killed::all());
    if arguments.iter().any(|argument| argument == "--list") {
        all.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, case) in all {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let began = Instant::now();
        // A case that panics ends its own thread and its own world; the others still run.
        let passed = std::thread::spawn(move || runtime().block_on(case())).join().is_ok();
        println!(
            "test {name} ... {} ({:.1} s)",
            if passed { "ok" } else { "FAILED" },
            began.elapsed().as_secs_f32()
        );
        if !passed {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}
