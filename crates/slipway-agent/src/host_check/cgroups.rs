//! Which cgroups this host has: v1, v2 ("unified"), or v1 with a v2 tree beside it ("hybrid").

use std::collections::BTreeSet;
use std::fs;

use super::Finding;

/// Without these nothing limits an instance.
const NEEDED: [&str; 3] = ["memory", "cpu", "pids"];

/// How cgroups are mounted, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    pub(super) controllers: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    None,
    V1,
    Hybrid,
    V2,
}

impl Layout {
    pub(super) fn of_this_host() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        Self::read(&mounts, &unified)
    }

    /// From the text of `mountinfo` and, for v2, of the root's `cgroup.controllers`.
    pub(super) fn read(mountinfo: &str, unified_controllers: &str) -> Self {
        let (mut has_v1, mut has_v2) = (false, false);
        let mut controllers = BTreeSet::new();
        for line in mountinfo.lines() {
            // `… mount-point options - type source super-options`, proc_pid_mountinfo(5).
            let Some((_, after)) = line.split_once(" - ") else { continue };
            let mut words = after.split(' ');
            match (words.next(), words.nth(1)) {
                (Some("cgroup"), Some(options)) if !options.contains("name=") => {
                    has_v1 = true;
                    controllers.extend(options.split(',').map(str::to_owned));
                }
                (Some("cgroup2"), _) => has_v2 = true,
                _ => {}
            }
        }
        let kind = match (has_v1, has_v2) {
            (true, true) => Kind::Hybrid,
            (true, false) => Kind::V1,
            (false, true) => Kind::V2,
            (false, false) => Kind::None,
        };
        if kind == Kind::V2 {
            controllers.extend(unified_controllers.split_whitespace().map(str::to_owned));
        }
        Self { kind, controllers }
    }

    pub(super) fn finding(&self) -> Finding {
        let kind = match self.kind {
            Kind::None => {
                let advice = "mount the cgroup2 file system at /sys/fs/cgroup, as systemd does";
                return Finding::fail("cgroups", "none are mounted", advice);
            }
            Kind::V1 => "version 1",
            Kind::Hybrid => "hybrid, version 1 with a version 2 tree",
            Kind::V2 => "version 2",
        };
        let missing: Vec<_> =
            NEEDED.into_iter().filter(|controller| !self.controllers.contains(*controller)).collect();
        if missing.is_empty() {
            return Finding::ok("cgroups", kind);
        }
        let missing = missing.join(", ");
        let advice = if self.controllers.contains("cpu") {
            "boot with the kernel parameter cgroup_enable=memory"
        } else {
            "use a kernel that has these controllers"
        };
        Finding::fail("cgroups", format!("{kind}, without the controllers {missing}"), advice)
    }
}
