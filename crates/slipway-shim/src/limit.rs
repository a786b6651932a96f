//! What one sandbox may use of the things that the kernel counts by user and not by cgroup.
//!
//! Each user namespace has its own bounds in `/proc/sys/user` (namespaces(7), since Linux 4.9), and
//! what is used inside is counted for the user who made the namespace too, all the way up: for root
//! of the host. Without bounds of its own one sandbox could therefore take all inotify instances that
//! every other sandbox and root have together. The OCI runtime refuses `user.*` as a sysctl, so it
//! runs this as a hook, after the namespaces are made and before the program is started.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

/// Names in `/proc/sys/user`, and how much of each. A language server, a file watcher or a .NET
/// program has a handful of inotify instances. A sandbox's own namespaces count as one of each kind
/// but user, and no filter of system calls lets it make more: this is the second lock on that door.
const BOUNDS: &[(&str, u32)] = &[
    ("max_inotify_instances", 16),
    ("max_inotify_watches", 8192),
    ("max_fanotify_groups", 0),
    ("max_fanotify_marks", 0),
    ("max_user_namespaces", 0),
    ("max_mnt_namespaces", 1),
    ("max_net_namespaces", 1),
    ("max_pid_namespaces", 1),
    ("max_ipc_namespaces", 1),
    ("max_uts_namespaces", 1),
    ("max_cgroup_namespaces", 1),
    ("max_time_namespaces", 1),
];

/// The state that a runtime gives to a hook is a few lines (OCI runtime-spec, runtime.md).
const STATE_BYTES_MAX: u64 = 1 << 20;

/// As the runtime's `createRuntime` hook: sets the bounds of the sandbox whose state is on standard
/// input. A failure fails the launch.
pub fn run() -> ExitCode {
    match read_pid(io::stdin()).and_then(bound) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway-shim: cannot bound the sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_pid(state: impl Read) -> Result<i32, String> {
    let mut text = Vec::new();
    state.take(STATE_BYTES_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let state: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.filter(|pid| *pid > 1).ok_or_else(|| "the runtime does not say which process it is".to_owned())
}

/// This process must have one thread: the kernel lets no other enter a user namespace. What a file
/// of `/proc/sys/user` means is decided by the namespace of whoever looks it up.
fn bound(pid: i32) -> Result<(), String> {
    let namespace = File::open(format!("/proc/{pid}/ns/user"))
        .map_err(|error| format!("its process is gone: {error}"))?;
    // The kernel refuses to enter the namespace that one is in, so these are not the host's bounds.
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWUSER)
        .map_err(|error| format!("cannot join its user namespace: {error}"))?;
    for (name, most) in BOUNDS {
        match fs::write(format!("/proc/sys/user/{name}"), most.to_string()) {
            // What this kernel does not count is not bounded.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("cannot set user.{name}: {error}"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
