//! What somebody in a cluster has: its certificate, its key, the authority's certificate.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use slipway_model::unit::Timestamp;

use crate::authority::failed;
use crate::certificate::{self, Facts};
use crate::error::Error;
use crate::identity::Identity;
use crate::tls::Configs;

/// One file, so that a certificate and its key are replaced together.
const FILE: &str = "link.pem";

/// More than any certificate, key and authority of ours.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The identity of this process, with what proves it. Immutable: a renewal makes another.
pub struct Credentials {
    pem: String,
    facts: Facts,
    authority: CertificateDer<'static>,
    pub(crate) configs: Configs,
}

impl Credentials {
    /// Takes a chain (the own certificate first, the authority's last) and the key to it, in PEM.
    ///
    /// # Errors
    /// [`Error::Certificate`], [`Error::NotOfACluster`].
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
        let chain = chain.map_err(failed("read a certificate"))?;
        let [own, .., authority] = &chain[..] else { return Err(Error::NotOfACluster) };
        let facts = certificate::read(own).ok_or(Error::NotOfACluster)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(failed("read the key"))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).map_err(failed("trust the authority"))?;
        let configs = Configs::new(Arc::new(roots), chain.clone(), key, &facts.identity.cluster)?;
        let pem = format!("{chain_pem}{key_pem}");
        Ok(Self { pem, facts, authority: authority.clone(), configs })
    }

    /// Reads what [`Credentials::save`] wrote; `None` when there is nothing.
    ///
    /// # Errors
    /// [`Error::Files`], [`Error::Certificate`], [`Error::NotOfACluster`].
    pub fn load(directory: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(FILE);
        let pem = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(Error::NotOfACluster),
            _ => fs::read_to_string(&path).map_err(|source| Error::Files { path: path.clone(), source })?,
        };
        Self::new(&pem, &pem).map(|read| Some(Self { pem, ..read }))
    }

    /// Writes everything to a file in `directory`, which only the owner may read. Whoever stops in the
    /// midst of it finds the old or the new.
    ///
    /// # Errors
    /// [`Error::Files`].
    pub fn save(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(FILE);
        let write = || -> io::Result<()> {
            fs::create_dir_all(directory)?;
            let fresh = directory.join(format!("{FILE}.new"));
            // One that was left by a crash may have other rights.
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(self.pem.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| Error::Files { path: path.clone(), source })
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.facts.identity
    }

    /// When the certificate begins.
    pub fn valid_from(&self) -> Timestamp {
        self.facts.not_before
    }

    /// When the certificate ends.
    pub fn expires_at(&self) -> Timestamp {
        self.facts.not_after
    }

    /// When it is time for another: after two thirds of its life.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.facts.not_after.since(self.facts.not_before).millis();
        Timestamp(self.facts.not_before.0 + life / 3 * 2)
    }

    /// What join tokens name the authority by.
    pub fn authority_fingerprint(&self) -> String {
        certificate::fingerprint(&self.authority)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.facts.identity)
            .field("expires_at", &self.facts.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
