//! The cgroups of one node: v1, v2 or both at once ("hybrid").
//!
//! All of ours are below one parent that carries the tag, one child for each instance, so that what
//! runs on a node can be told from the kernel alone, whatever files were lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::Error;

/// The hierarchies of this host, and our place in each.
#[derive(Debug, Clone)]
pub struct Cgroups {
    /// Name of the parent, the same in each hierarchy.
    parent: String,
    /// Mount points.
    hierarchies: Vec<PathBuf>,
    /// Whether the memory limit can include swap; without swap accounting a runtime must not ask.
    limits_swap: bool,
}

impl Cgroups {
    /// Looks at what is mounted.
    ///
    /// # Errors
    /// When there is nothing that limits memory, processors and processes.
    pub fn detect(parent: &str) -> Result<Self, Error> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| Error::Cgroups { why: format!("no mountinfo: {error}") })?;
        Self::of_mounts(parent, &mounts)
    }

    /// The same, by the text of `mountinfo`.
    fn of_mounts(parent: &str, mounts: &str) -> Result<Self, Error> {
        let mut hierarchies = Vec::new();
        let mut controllers = BTreeSet::new();
        let mut limits_swap = false;
        for mount in mounts.lines().filter_map(Mount::parse) {
            // A runtime touches those with controllers, and systemd's.
            hierarchies.push(mount.point.clone());
            controllers.extend(mount.controllers());
            limits_swap |= mount.point.join("memory.memsw.limit_in_bytes").exists() || mount.is_v2;
        }
        for needed in ["memory", "pids", "cpu"] {
            if !controllers.contains(needed) {
                let why = format!("no cgroup hierarchy has the controller {needed}");
                return Err(Error::Cgroups { why });
            }
        }
        Ok(Self { parent: parent.to_owned(), hierarchies, limits_swap })
    }

    /// For `linux.cgroupsPath` of a bundle.
    pub fn path_of(&self, id: &str) -> String {
        format!("/{}/{id}", self.parent)
    }

    /// The directories that this instance has or would have.
    pub fn directories_of(&self, id: &str) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|root| root.join(&self.parent).join(id)).collect()
    }

    /// Whether a memory limit can include swap.
    pub fn limits_swap(&self) -> bool {
        self.limits_swap
    }

    /// The instances that the kernel knows of.
    pub fn existing(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for root in &self.hierarchies {
            for entry in fs::read_dir(root.join(&self.parent)).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    names.extend(entry.file_name().into_string());
                }
            }
        }
        names
    }

    /// The instance's processes.
    pub fn processes(&self, id: &str) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for directory in self.directories_of(id) {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        }
        pids
    }

    /// Sends a signal to every process of the instance.
    pub fn signal(&self, id: &str, signal: Signal) {
        for pid in self.processes(id) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Kills all processes and removes the directories. Blocks, at most for `patience`.
    ///
    /// # Errors
    /// When something could not be killed (F45); the process ids that are left.
    pub fn destroy(&self, id: &str, patience: Duration) -> Result<(), BTreeSet<i32>> {
        let deadline = Instant::now() + patience;
        loop {
            self.signal(id, Signal::SIGKILL);
            let mut left = false;
            for directory in self.directories_of(id) {
                remove_with_children(&directory);
                left |= directory.exists();
            }
            if !left {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.processes(id));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Removes the parent, if nothing is in it.
    pub fn remove_parent(&self) {
        for root in &self.hierarchies {
            let _ = fs::remove_dir(root.join(&self.parent));
        }
    }
}

fn remove_with_children(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_with_children(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

struct Mount {
    point: PathBuf,
    is_v2: bool,
    options: String,
}

impl Mount {
    /// One line of mountinfo, when it is a cgroup hierarchy.
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let kind = right.next()?;
        let options = right.nth(1)?.to_owned();
        let point = PathBuf::from(left.split(' ').nth(4)?);
        match kind {
            "cgroup" => Some(Self { point, is_v2: false, options }),
            "cgroup2" => Some(Self { point, is_v2: true, options }),
            _ => None,
        }
    }

    fn controllers(&self) -> Vec<String> {
        if self.is_v2 {
            let text = fs::read_to_string(self.point.join("cgroup.controllers")).unwrap_or_default();
            return text.split_whitespace().map(str::to_owned).collect();
        }
        self.options.split(',').map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests;
