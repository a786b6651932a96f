//! The server's SSH host key: ed25519, made once, kept in a file that only its owner can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use russh::keys::ssh_key::{Error as KeyError, LineEnding};
use russh::keys::{Algorithm, PrivateKey};

use crate::error::Error;

/// Makes the host key, unless it is there.
///
/// # Errors
/// [`Error::HostKey`]; also when what is there is none.
pub fn make(path: &Path) -> Result<(), Error> {
    load_or_make(path).map(drop)
}

/// Puts this host key, as OpenSSH writes them, in the place of what is there.
///
/// # Errors
/// It is none, or the file cannot be written.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    PrivateKey::from_openssh(text).map_err(io::Error::other)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(path, text.as_bytes())
}

/// Reads the host key, or makes it. A crash in between leaves no half key: it is linked into place
/// once it is whole and on disk.
pub(crate) fn load_or_make(path: &Path) -> Result<PrivateKey, Error> {
    let failed = |source: KeyError| Error::HostKey { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(text) => return PrivateKey::from_openssh(text).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error.into())),
    }
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(failed)?;
    let text = key.to_openssh(LineEnding::LF).map_err(failed)?;
    match write_new(path, text.as_bytes()) {
        Ok(()) => Ok(key),
        // Another server of the cluster made it in the same moment, and its key is the host's.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let text = fs::read(path).map_err(|error| failed(error.into()))?;
            PrivateKey::from_openssh(text).map_err(failed)
        }
        Err(error) => Err(failed(error.into())),
    }
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension(format!("new-{:08x}", rand::random::<u32>()));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    linked?;
    path.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ssh/host_key");
        let made = load_or_make(&path).unwrap();
        assert_eq!(load_or_make(&path).unwrap().public_key(), made.public_key());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "garbage").unwrap();
        assert!(load_or_make(&path).is_err(), "a damaged key is an error, not a new identity");
    }
}
