//! What a machine has of the things that a platform may leave behind (L8).

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// Things by kind, as text.
#[derive(Debug, PartialEq, Eq)]
pub struct Baseline {
    things: BTreeSet<String>,
}

impl Baseline {
    pub fn take() -> Self {
        let mut things = BTreeSet::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for line in mounts.lines() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            things.insert(format!("mount {point}"));
        }
        for (kind, program, words) in [
            ("link", "ip", &["-o", "link", "show"] as &[&str]),
            ("route", "ip", &["-4", "route", "show"]),
            ("netns", "ip", &["netns", "list"]),
            ("nft", "nft", &["list", "tables"]),
            ("loop", "losetup", &["--list", "--noheadings", "--output", "BACK-FILE"]),
        ] {
            let output = Command::new(program).args(words).output().unwrap();
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                let name = line.split_once(": ").map_or(line, |(_, rest)| rest);
                let name = if kind == "link" { name.split(':').next().unwrap_or(name) } else { line };
                things.insert(format!("{kind} {name}"));
            }
        }
        for controller in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            collect_cgroups(&controller.path(), &mut things);
        }
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains("slipway-shim")
                || command.contains("slipwayd router")
                || command.contains("runc")
            {
                things.insert(format!("process {command}"));
            }
        }
        Self { things }
    }

    /// Says what is there now that was not there before and carries one of a server's marks; other
    /// people's things come and go on a machine.
    pub fn compare(&self, marks: &[String]) -> Result<(), String> {
        let now = Self::take();
        let is_ours = |thing: &String| marks.iter().any(|mark| thing.contains(mark));
        let left: Vec<&String> = now.things.difference(&self.things).filter(|thing| is_ours(thing)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:#?}")) }
    }
}

fn collect_cgroups(folder: &std::path::Path, things: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        things.insert(format!("cgroup {}", entry.path().display()));
        collect_cgroups(&entry.path(), things);
    }
}
