//! Real instances in real sandboxes. Needs root, a kernel with user namespaces, an OCI runtime,
//! nftables, busybox (static) and mkfs.ext4.
//!
//! This one program is also what it tests with: started under the shim's name it is the shim, with
//! `agent` it is an agent that can be killed, with `probe` it runs *inside* a sandbox and tries to get
//! out. The whole process has a network namespace of its own, so that nothing of the host's network
//! is touched. After all tests, what the kernel holds is compared with what it held before.

mod adoption;
mod baseline;
mod builds;
mod checks;
mod confinement;
mod fetches;
mod files;
mod internet;
mod life;
mod peers;
mod probe;
mod volumes;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words[0] == slipway_shim::ARGV0 {
        return slipway_shim::main();
    }
    if words[0] == slipway_agent::fetch::ARGV0 {
        return slipway_agent::fetch::main();
    }
    match words.get(1).map(String::as_str) {
        Some("agent") => return adoption::agent_process(&words[2..]),
        Some("probe") => return probe::run(),
        Some("tls") => return checks::tls_server(),
        _ => {}
    }
    // Before there is a second thread.
    world::enter_own_network();
    let certificates = tempfile::Builder::new().prefix(world::MARK).tempdir().expect("a directory");
    internet::connect(certificates.path());
    let before = baseline::Baseline::take();
    let mut arguments = Arguments::from_args();
    // Two processors start so many at once without making each other late.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let trials: Vec<Trial> = [
        life::trials(),
        peers::trials(),
        confinement::trials(),
        adoption::trials(),
        builds::trials(),
        volumes::trials(),
        checks::trials(),
        fetches::trials(),
        files::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if arguments.list {
        return ExitCode::SUCCESS;
    }
    let left = before.compare();
    if !left.is_empty() {
        eprintln!("left behind:\n{}", left.join("\n"));
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
