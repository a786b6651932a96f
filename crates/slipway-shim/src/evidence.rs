//! What the kernel's cgroups say about an end, and taking them away.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::spec::{ExitRecord, ShimSpec};

/// Fills in what the cgroups know. Before they are removed.
pub(crate) fn collect(spec: &ShimSpec, record: &mut ExitRecord) {
    for cgroup in &spec.cgroups {
        // v1 and v2 have it in files of different names, and never both.
        let kills = counter(&cgroup.join("memory.oom_control"), "oom_kill")
            .or_else(|| counter(&cgroup.join("memory.events"), "oom_kill"));
        record.oom_kills += kills.unwrap_or(0);
        record.forks_refused += counter(&cgroup.join("pids.events"), "max").unwrap_or(0);
    }
}

/// Kills every process that is left in the cgroups. The program's pid namespace has ended with its
/// first process, so this finds something only when the runtime itself failed half-way.
pub(crate) fn kill_cgroup(spec: &ShimSpec) {
    for cgroup in &spec.cgroups {
        for pid in processes(cgroup) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
    }
}

/// Removes cgroups and the runtime's own record of the container, as the runtime's `delete` would.
pub(crate) fn remove_leftovers(spec: &ShimSpec) {
    crate::mounts::tear_down(spec);
    let _ = std::fs::remove_dir_all(spec.runtime_root.join(&spec.id));
    // A killed process leaves its cgroup a moment after its parent has heard of it.
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = spec.cgroups.iter().any(|cgroup| std::fs::remove_dir(cgroup).is_err() && cgroup.exists());
        if !left || Instant::now() > deadline {
            return;
        }
        kill_cgroup(spec);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn processes(cgroup: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn counter(file: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
