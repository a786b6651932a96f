//! What the kernel holds: mounts, cgroups, loop devices, processes of ours, network interfaces.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::world::MARK;

pub struct Baseline(BTreeSet<String>);

impl Baseline {
    pub fn take() -> Self {
        Self(everything())
    }

    /// What is there now and was not before. Things that are on their way out get a moment.
    pub fn compare(&self) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left: Vec<String> = everything().difference(&self.0).cloned().collect();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn everything() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(MARK)).map(|line| format!("mount {line}")));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        for group in fs::read_dir(hierarchy.path()).into_iter().flatten().flatten() {
            let path = group.path().display().to_string();
            if path.contains(MARK) {
                found.insert(format!("cgroup {path}"));
            }
        }
    }
    for device in fs::read_dir("/sys/block").unwrap().flatten() {
        // A device that was attached when its file was unlinked says "(deleted)".
        if let Ok(file) = fs::read_to_string(device.path().join("loop/backing_file"))
            && file.contains(MARK)
        {
            found.insert(format!("loop {} {file}", device.path().display()));
        }
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let own = process.file_name().to_str() == Some(&std::process::id().to_string());
        if line.contains(MARK) && !own {
            found.insert(format!("process {line}"));
        }
    }
    // Of the network namespace that the tests have for themselves.
    for link in fs::read_to_string("/proc/thread-self/net/dev").unwrap().lines().skip(2) {
        found.insert(format!("link {}", link.split(':').next().unwrap_or_default().trim()));
    }
    found
}
