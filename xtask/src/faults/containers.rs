//! Every container of the cluster, and when it was started, as the kernel tells: one shim process each,
//! whose only argument is a file below its node's directory.

use std::collections::BTreeMap;
use std::fs;

use crate::cluster::Lab;

/// What ran at one moment.
pub struct Containers {
    /// Node and instance, and when its shim was started, in the kernel's ticks.
    born: BTreeMap<(String, String), u64>,
}

impl Containers {
    /// Looks at all processes.
    pub fn look(lab: &Lab) -> Self {
        let mut born = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            let Some(path) = line.split('\0').nth(1) else { continue };
            let Some(below) = path.strip_prefix(&format!("{}/", lab.folder.display())) else { continue };
            let mut parts = below.split('/');
            let (Some(node), Some(instance)) = (parts.next(), parts.skip_while(|part| *part != "i").nth(1))
            else {
                continue;
            };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // proc(5): the 22nd field; what follows the name begins with the third.
            let ticks = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok());
            if let Some(ticks) = ticks {
                born.insert((node.to_owned(), instance.to_owned()), ticks);
            }
        }
        Self { born }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.born.len()
    }

    /// The nodes that have one, with how many.
    pub fn by_node(&self) -> BTreeMap<&str, usize> {
        let mut nodes = BTreeMap::new();
        for (node, _) in self.born.keys() {
            *nodes.entry(node.as_str()).or_default() += 1;
        }
        nodes
    }

    /// Instances that occur more than once.
    pub fn duplicates(&self) -> usize {
        let mut instances: Vec<_> = self.born.keys().map(|(_, instance)| instance).collect();
        instances.sort_unstable();
        instances.windows(2).filter(|two| two[0] == two[1]).count()
    }

    /// How many of these do not run any more later, or were started again.
    pub fn gone_in(&self, later: &Self) -> usize {
        self.born.iter().filter(|(at, ticks)| later.born.get(*at) != Some(*ticks)).count()
    }
}
