//! One process to a data directory, and to a run directory: whoever looks after what is in them holds
//! both as long as it lives, and takes them before it binds or deletes anything.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::paths::Paths;

/// The file in each of them.
pub const FILE: &str = "slipwayd.lock";
/// A process that somebody starts has a copy of every open file until it becomes its program, and so of
/// a lock that has just been given up: that is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// Both, held until the value goes.
pub struct Claim {
    _data: File,
    _run: File,
}

impl Claim {
    /// Takes both directories, or says who has them.
    pub fn take(paths: &Paths) -> anyhow::Result<Self> {
        Ok(Self { _data: take(&paths.data, "--data-dir")?, _run: take(&paths.run, "--run-dir")? })
    }
}

fn take(directory: &Path, flag: &str) -> anyhow::Result<File> {
    let path = directory.join(FILE);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.with_context(|| format!("cannot open {}", path.display()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _unknown = file.read_to_string(&mut pid);
                let holder = pid.trim().parse::<u32>().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                bail!(
                    "another slipwayd{holder} runs on {}; stop it first, or choose another directory with {flag}",
                    directory.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    // Only a help for whoever finds it locked, so a disk without room for it is no reason to stop.
    let _unsaid = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_has_the_directories_until_it_goes() {
        let place = tempfile::tempdir().unwrap();
        let [data, run, other] = ["data", "run", "other"].map(|name| {
            let path = place.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        });
        let first = Claim::take(&Paths { data: data.clone(), run: run.clone() }).unwrap();
        for (paths, flag) in [
            (Paths { data: data.clone(), run: other.clone() }, "--data-dir"),
            (Paths { data: other, run: run.clone() }, "--run-dir"),
        ] {
            let said = Claim::take(&paths).err().unwrap().to_string();
            let holder = format!("another slipwayd (pid {})", std::process::id());
            assert!(said.contains(&holder) && said.contains(flag), "{said}");
        }
        drop(first);
        Claim::take(&Paths { data, run }).unwrap();
    }
}
