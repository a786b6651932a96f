//! Which address goes to whom, and when an address may be used again.
//!
//! Addresses are given out in order through the whole subnet, so that one that has just been
//! released is the last to come round; and none is given again within [`REST_SECONDS`] of its
//! release, however small the subnet. A router that has not yet heard that an instance is gone thus
//! finds nobody at its address, never somebody else (S7, F30).
//!
//! This must hold over a restart of the agent, a reboot and a power loss, so a small journal keeps
//! it: a line for each address given and returned, and, synced to disk ahead of use, a mark below
//! which every address may have been given. The journal is compacted when it is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use slipway_model::cidr::Cidr;

/// How long an address rests after its release. Routers follow the table within seconds; this
/// leaves room for one that was cut off and for connections that are still draining.
pub(super) const REST_SECONDS: u64 = 600;

/// How far the mark is ahead: one sync to disk for so many addresses.
const MARK_STEP: u32 = 64;

/// The first address that may be given: 0 is the network's own, then gateway and host.
const FIRST: u32 = 3;

/// The addresses of one node.
pub(super) struct Addresses {
    subnet: Cidr,
    given: BTreeSet<u32>,
    /// When each was released, in seconds since boot.
    resting: BTreeMap<u32, u64>,
    cursor: u32,
    mark: u32,
    journal: File,
    /// Lines since the journal was compacted.
    lines: usize,
    directory: std::path::PathBuf,
    boot: String,
}

/// Every address is in use or resting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted {
    pub(super) in_use: usize,
    pub(super) resting: usize,
}

/// A point in time that survives a restart of the process but not of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// Identifies the boot.
    pub(super) boot: String,
    /// Seconds since then.
    pub(super) seconds: u64,
}

impl Moment {
    /// Now. Taken from the boot clock because a wall clock that jumps would end every rest (F18).
    pub(super) fn now() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let uptime = fs::read_to_string("/proc/uptime")?;
        let seconds = uptime.split(['.', ' ']).next().and_then(|text| text.parse().ok());
        Ok(Self { boot, seconds: seconds.ok_or(io::ErrorKind::InvalidData)? })
    }
}

impl Addresses {
    /// Reads the journal in `directory`. `alive` are the addresses that the kernel still has; all
    /// others that had been given are taken to be released now.
    pub(super) fn open(
        directory: &Path,
        subnet: Cidr,
        alive: &BTreeSet<Ipv4Addr>,
        now: &Moment,
    ) -> io::Result<Self> {
        let path = directory.join("addresses");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        let past = Past::read(&text, subnet, now);
        let given: BTreeSet<u32> = alive.iter().filter_map(|address| subnet.offset(*address)).collect();
        let mut resting = past.resting;
        resting.extend(past.given.iter().map(|offset| (*offset, now.seconds)));
        resting.retain(|offset, since| !given.contains(offset) && !is_over(*since, now.seconds));
        let mut addresses = Self {
            subnet,
            given,
            resting,
            cursor: past.mark,
            mark: past.mark,
            // Replaced at once by the compacted one.
            journal: File::open(directory)?,
            lines: 0,
            directory: directory.to_owned(),
            boot: now.boot.clone(),
        };
        addresses.compact()?;
        Ok(addresses)
    }

    /// The next free address, or why there is none.
    pub(super) fn give(&mut self, now: u64) -> io::Result<Result<Ipv4Addr, Exhausted>> {
        let usable = self.usable();
        for step in 0..usable {
            let offset = FIRST + (self.cursor - FIRST + step) % usable;
            let resting = self.resting.get(&offset).is_some_and(|since| !is_over(*since, now));
            if resting || self.given.contains(&offset) {
                continue;
            }
            self.advance(offset, step)?;
            self.resting.remove(&offset);
            self.given.insert(offset);
            self.note(&format!("given {}\n", self.subnet.at(offset)))?;
            return Ok(Ok(self.subnet.at(offset)));
        }
        Ok(Err(Exhausted { in_use: self.given.len(), resting: self.resting.len() }))
    }

    /// Takes an address back; it rests from now on.
    pub(super) fn take_back(&mut self, address: Ipv4Addr, now: u64) -> io::Result<()> {
        let Some(offset) = self.subnet.offset(address) else { return Ok(()) };
        if self.given.remove(&offset) {
            self.resting.insert(offset, now);
            self.note(&format!("returned {address} {now}\n"))?;
        }
        Ok(())
    }

    /// Moves the cursor behind `offset`, and the mark, on disk, in front of it.
    fn advance(&mut self, offset: u32, passed: u32) -> io::Result<()> {
        let usable = self.usable();
        let left = (self.mark + usable - self.cursor) % usable;
        self.cursor = FIRST + (offset - FIRST + 1) % usable;
        if passed < left {
            return Ok(());
        }
        self.mark = FIRST + (self.cursor - FIRST + MARK_STEP.min(usable / 2)) % usable;
        self.note(&format!("mark {}\n", self.subnet.at(self.mark)))?;
        self.journal.sync_data()
    }

    /// The last address of a subnet is its broadcast address.
    fn usable(&self) -> u32 {
        self.subnet.size() as u32 - FIRST - 1
    }

    fn note(&mut self, line: &str) -> io::Result<()> {
        // As many lines as the subnet has addresses, doubled: compacting costs as much as that.
        if self.lines as u64 > self.subnet.size() * 2 {
            self.compact()?;
        }
        self.lines += 1;
        // One write for a line, so that a crash leaves at most the last one incomplete.
        self.journal.write_all(line.as_bytes())
    }

    /// Writes what is still true to a new journal and puts it in the place of the old one.
    fn compact(&mut self) -> io::Result<()> {
        let mut text = format!("boot {}\nmark {}\n", self.boot, self.subnet.at(self.mark));
        for offset in &self.given {
            text.push_str(&format!("given {}\n", self.subnet.at(*offset)));
        }
        for (offset, since) in &self.resting {
            text.push_str(&format!("returned {} {since}\n", self.subnet.at(*offset)));
        }
        let (new, path) = (self.directory.join("addresses.new"), self.directory.join("addresses"));
        fs::write(&new, text)?;
        let journal = OpenOptions::new().append(true).open(&new)?;
        journal.sync_data()?;
        fs::rename(&new, &path)?;
        File::open(&self.directory)?.sync_all()?;
        self.journal = journal;
        self.lines = 0;
        Ok(())
    }
}

fn is_over(since: u64, now: u64) -> bool {
    now.saturating_sub(since) >= REST_SECONDS
}

/// What a journal says.
struct Past {
    given: BTreeSet<u32>,
    resting: BTreeMap<u32, u64>,
    mark: u32,
}

impl Past {
    /// Lines that make no sense (the last one, cut by a crash; another subnet's) are passed over:
    /// the mark, which is synced, is what safety after a power loss rests on.
    fn read(text: &str, subnet: Cidr, now: &Moment) -> Self {
        let mut past = Self { given: BTreeSet::new(), resting: BTreeMap::new(), mark: FIRST };
        let last = u64::from(FIRST)..subnet.size() - 1;
        let offset = |text: Option<&str>| {
            let offset = subnet.offset(text?.parse().ok()?)?;
            last.contains(&u64::from(offset)).then_some(offset)
        };
        let mut same_boot = false;
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("boot"), boot, _) => same_boot = boot == Some(now.boot.as_str()),
                (Some("mark"), address, _) => past.mark = offset(address).unwrap_or(past.mark),
                (Some("given"), address, _) => past.given.extend(offset(address)),
                (Some("returned"), address, since) => {
                    let Some(offset) = offset(address) else { continue };
                    past.given.remove(&offset);
                    // Seconds of another boot say nothing: the rest starts again.
                    let since = since.and_then(|text| text.parse().ok()).filter(|_| same_boot);
                    past.resting.insert(offset, since.unwrap_or(now.seconds).min(now.seconds));
                }
                _ => {}
            }
        }
        past
    }
}

#[cfg(test)]
mod tests;
