//! The wall clock of each host, which can be set while its program runs: libfaketime, asked to leave the
//! monotonic clock alone, reads it from a file.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Host, Lab};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Makes the program live by the host's clock.
pub fn follow(lab: &Lab, host: &Host, command: &mut Command) -> anyhow::Result<()> {
    if !file(lab, host).exists() {
        reset(lab, host)?;
    }
    command.env("LD_PRELOAD", LIBRARY).env("FAKETIME_TIMESTAMP_FILE", file(lab, host));
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    command.env("FAKETIME_CACHE_DURATION", "1");
    Ok(())
}

/// Sets it so far ahead: `+1d`, `+730d`.
pub fn set(lab: &Lab, host: &Host, ahead: &str) -> anyhow::Result<()> {
    // Renamed into place, because the program reads it at any time.
    let new = lab.folder.join(format!("{}.clock.new", host.name));
    fs::write(&new, format!("{ahead}\n"))?;
    fs::rename(new, file(lab, host))?;
    Ok(())
}

/// Sets it right.
pub fn reset(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    set(lab, host, "+0")
}

/// Removes what the library leaves behind of processes that have been killed.
pub fn sweep() {
    let left = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    for entry in left {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((_, pid)) = name.split_once("faketime_").and_then(|(_, rest)| rest.split_once('_')) else {
            continue;
        };
        if !PathBuf::from("/proc").join(pid).exists() {
            let _gone = fs::remove_file(entry.path());
        }
    }
}

fn file(lab: &Lab, host: &Host) -> PathBuf {
    lab.folder.join(format!("{}.clock", host.name))
}
