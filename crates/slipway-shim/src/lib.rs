//! One small process beside each instance. It outlives the agent, so that an instance's output and
//! its exit status have somewhere to go while the agent is away, killed or being replaced.
//!
//! The agent writes a [`spec::ShimSpec`] and starts the shim with its path. The shim
//!
//! 1. takes a mount namespace of its own and builds the root filesystem in it ([`mounts`]). What is
//!    mounted there goes away with the last process that uses it: no crash of anything can leak it;
//! 2. has the OCI runtime start the program ([`launch`]) and, as a subreaper, becomes its parent;
//! 3. pumps output into capped files ([`log`]) and to whoever is attached ([`attach`]), until the
//!    program's end ([`pump`]);
//! 4. writes down how it ended ([`spec::ExitRecord`], fsync and rename), removes its cgroups and
//!    the runtime's state by itself (the runtime's own `delete -f` polls for 100 ms), and ends.
//!
//! Whether a shim lives is told by a lock, not by a process id: its standard input is a locked file
//! that the agent made, and the lock is gone when, and only when, the process is gone.
//!
//! It has one thread, no async runtime and next to no libraries, because there is one of these
//! for each instance: about a third of a megabyte.

pub mod spec;

pub mod frame;

pub mod attach;

pub mod launch;

pub mod log;

pub mod mounts;

pub mod disk;

pub mod keep;

pub mod pump;

pub mod exec;

pub mod limit;

mod evidence;

use std::path::Path;
use std::process::ExitCode;

use crate::spec::{Ended, ExitRecord, ShimProcess, ShimSpec};

/// The name a program must be started under (its `argv[0]`) to behave as the shim. The shim's own
/// binary does so always; a larger program may contain it and ask this first.
pub const ARGV0: &str = "slipway-shim";

/// The word after it that makes it the runtime's hook ([`limit`]).
pub const LIMIT: &str = "limit";

/// The shim as a program: `slipway-shim <spec file>`, or `slipway-shim exec <spec file>` for one more
/// process in a sandbox that runs ([`exec`]), or `slipway-shim limit` as the runtime's hook ([`limit`]).
pub fn main() -> ExitCode {
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    match words.as_slice() {
        [_, mode] if mode == LIMIT => limit::run(),
        [_, spec] => run(Path::new(spec)),
        [_, mode, spec] if mode == "exec" => exec::run(Path::new(spec)),
        _ => {
            eprintln!("slipway-shim is started by slipwayd, with a spec file");
            ExitCode::from(2)
        }
    }
}

/// Runs the shim as described in the file. Returns when the program has ended and everything of it
/// but its log and its exit record is gone.
pub fn run(spec_path: &Path) -> ExitCode {
    let spec = match std::fs::read(spec_path)
        .map_err(|e| e.to_string())
        .and_then(|text| serde_json::from_slice::<ShimSpec>(&text).map_err(|e| e.to_string()))
    {
        Ok(spec) => spec,
        Err(error) => {
            eprintln!("slipway-shim: cannot read {}: {error}", spec_path.display());
            return ExitCode::from(2);
        }
    };
    detach_from_agent();
    let exit = supervise(&spec);
    keep::keep(&spec);
    evidence::remove_leftovers(&spec);
    if let Err(error) = spec::write_durably(&spec.exit_file, &exit) {
        // A full disk. The agent reads the same from the note, if it is there, and else reports the
        // instance as lost.
        eprintln!("slipway-shim: cannot write {}: {error}", spec.exit_file.display());
    }
    spec::note(&format!("ended {}", serde_json::to_string(&exit).unwrap_or_default()));
    ExitCode::SUCCESS
}

fn supervise(spec: &ShimSpec) -> ExitRecord {
    let started = announce(spec, 0).and_then(|()| mounts::build(spec)).and_then(|()| launch::start(spec));
    match started {
        Ok(program) => {
            // A failure to write this is not worth ending a program for that already runs.
            let _ = announce(spec, program.init_pid());
            spec::note(&format!("started {}", program.init_pid()));
            pump::until_end(spec, program)
        }
        Err(error) => {
            evidence::kill_cgroup(spec);
            ExitRecord::new(Ended::LaunchFailed { error })
        }
    }
}

/// Writes down which process this is, and which one the program's first is.
fn announce(spec: &ShimSpec, init_pid: i32) -> Result<(), String> {
    let process = ShimProcess { pid: std::process::id() as i32, init_pid, at: spec::now_millis() };
    spec::write_whole(&spec.process_file, &process)
        .map_err(|error| format!("cannot write {}: {error}", spec.process_file.display()))
}

/// Own session, so that a terminal's Ctrl-C or the end of the agent's session does not reach us;
/// subreaper, so that the program becomes our child when the runtime's process ends; and nearly the
/// last to be chosen when the machine is out of memory (F40).
fn detach_from_agent() {
    let _ = nix::unistd::setsid();
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    // SAFETY: setting a signal's disposition to "ignore" runs no code of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        // The lock on standard input must end with this process, not with the program.
        libc::fcntl(0, libc::F_SETFD, libc::FD_CLOEXEC);
    }
}
