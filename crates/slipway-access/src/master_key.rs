//! The master key: 32 random bytes in a file outside the data directory, so that a stolen disk or
//! backup of the data gives no secrets away.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::Error;

const KEY_BYTES: usize = 32;

/// Before the key in its file, so that it is not taken for something else.
const LABEL: &str = "slipway-master-key-1 ";

/// The key under which everything is sealed. Prints nothing of itself.
#[derive(Clone)]
pub struct MasterKey([u8; KEY_BYTES]);

impl MasterKey {
    /// Reads the key file, or makes one with a new key, readable by nobody else.
    ///
    /// # Errors
    /// [`Error::MasterKeyRefused`] when others may read the file or it holds no key;
    /// [`Error::MasterKeyFile`] when it cannot be read or made.
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        match File::open(path) {
            Ok(file) => Self::load(path, file),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(path),
            Err(source) => Err(Error::MasterKeyFile { step: "open", path: path.to_owned(), source }),
        }
    }

    fn load(path: &Path, file: File) -> Result<Self, Error> {
        let failed = |source| Error::MasterKeyFile { step: "read", path: path.to_owned(), source };
        let refused = |why: String| Error::MasterKeyRefused { path: path.to_owned(), why };
        // Asked of the open file, so that it cannot be exchanged in between.
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(refused("is not a regular file".to_owned()));
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(refused(format!(
                "can be used by others than its owner (mode {mode:04o}); if nobody has read it, run: chmod 600 {}",
                path.display()
            )));
        }
        let mut text = String::new();
        file.take(1024).read_to_string(&mut text).map_err(failed)?;
        let key = text.trim_end().strip_prefix(LABEL).and_then(|key| STANDARD.decode(key).ok());
        let key = key.and_then(|key| key.try_into().ok());
        key.map(Self)
            .ok_or_else(|| refused("does not hold a key; restore it from where it was kept".to_owned()))
    }

    fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::MasterKeyFile { step: "make", path: path.to_owned(), source };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
        let key = Self(rand::random());
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let new = dir.join(name);
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            writeln!(file, "{LABEL}{}", STANDARD.encode(key.0))?;
            file.sync_all()?;
            // Unlike a rename, a link never replaces a key that somebody has just put there.
            std::fs::hard_link(&new, path)
        };
        let written = write();
        let _ = std::fs::remove_file(&new);
        written.and_then(|()| File::open(dir)?.sync_all()).map_err(failed)?;
        tracing::info!(path = %path.display(), "made a master key; keep a copy of it apart from the backups of the data");
        Ok(key)
    }

    /// A name for the key that tells nothing of it.
    pub fn id(&self) -> String {
        hex::encode(&self.derive("key id", &[])[..8])
    }

    /// What the records of a cluster's store are authenticated with.
    pub fn store_authentication(&self) -> [u8; KEY_BYTES] {
        self.derive("store authentication", &[])
    }

    /// What the objects in the storage that a cluster's servers share are authenticated with.
    pub fn storage_authentication(&self) -> [u8; KEY_BYTES] {
        self.derive("storage authentication", &[])
    }

    /// A key for one purpose: the master key itself seals nothing.
    pub(crate) fn derive(&self, purpose: &str, parts: &[&[u8]]) -> [u8; KEY_BYTES] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length will do");
        for part in [b"slipway 1", purpose.as_bytes()].iter().chain(parts) {
            // Lengths keep ("ab", "c") apart from ("a", "bc").
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

#[cfg(test)]
mod tests;
