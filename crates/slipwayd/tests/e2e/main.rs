//! The whole, as its users meet it: the real server, real git and ssh, real containers, real HTTP.
//!
//! Most tests share one server, each with a tenant of its own, and run side by side; those that
//! kill it or fill its disk come afterwards, one at a time. The last one deletes everything and
//! compares what is left on the machine with what was there before.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

mod app;
mod baseline;
mod http;
mod manual;
mod person;
mod server;

mod bad_build;
mod bad_key;
mod bad_manifest;
mod bad_program;
mod bad_repository;
mod cluster;
mod crash;
mod disk_full;
mod files;
mod isolation;
mod marathon;
mod operate;
mod path;
#[path = "../../../slipway-storage/tests/servers/s3.rs"]
#[expect(dead_code, reason = "what other tests need of it")]
mod s3_server;
mod start;

use server::Server;

type Outcome = Result<(), Failed>;

/// A test that shares the server.
pub struct Case {
    name: &'static str,
    run: fn(&Server),
}

/// Lists functions of a module as cases.
#[macro_export]
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        vec![$( $crate::Case { name: concat!(module_path!(), "::", stringify!($name)), run: $name } ),+]
    };
}

impl Case {
    fn trial(self, server: &Arc<Server>) -> Trial {
        let server = server.clone();
        let name = self.name.trim_start_matches("e2e::").to_owned();
        Trial::test(name, move || -> Outcome {
            (self.run)(&server);
            Ok(())
        })
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let side_by_side: Vec<Case> = [
        path::cases(),
        bad_key::cases(),
        bad_manifest::cases(),
        bad_repository::cases(),
        bad_build::cases(),
        bad_program::cases(),
        isolation::cases(),
        files::cases(),
        marathon::cases(),
        manual::cases(),
        operate::cases(),
        start::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let alone: Vec<Case> = [
        operate::alone(),
        crash::cases(),
        disk_full::cases(),
        cluster::cases(),
        cluster::agents::cases(),
        cluster::abdication::cases(),
        cluster::bucket::cases(),
        cluster::ensemble::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    if arguments.list {
        // Listing needs no server; nobody runs these.
        for case in side_by_side.into_iter().chain(alone) {
            println!("{}: test", case.name.trim_start_matches("e2e::"));
        }
        return ExitCode::SUCCESS;
    }

    let before = baseline::Baseline::take();
    let server = Arc::new(Server::start());
    // More at once only makes each slower on two cores, and time limits meaningless.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(3).min(3));
    let trials = side_by_side.into_iter().map(|case| case.trial(&server)).collect();
    let first = libtest_mimic::run(&arguments, trials);
    arguments.test_threads = Some(1);
    let mut trials: Vec<Trial> = alone.into_iter().map(|case| case.trial(&server)).collect();
    let last = server.clone();
    trials.push(Trial::test("nothing_is_left", move || -> Outcome {
        last.wipe();
        before.compare(&last.marks()).map_err(Failed::from)
    }));
    let second = libtest_mimic::run(&arguments, trials);
    if first.has_failed() || second.has_failed() {
        eprintln!("the server's log: {}", server.log_path().display());
        server.wipe();
        return ExitCode::FAILURE;
    }
    server.wipe();
    server.remove();
    ExitCode::SUCCESS
}
