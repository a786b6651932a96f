//! The cluster's authority: the one key whose signature makes somebody part of the cluster.
//!
//! It is made once, kept under the master key, and opened by every server. Its own certificate has no
//! meaningful dates: what it is trusted by is that a join token names it, and clocks that were wrong
//! when it was made must not break the cluster later (F18). The certificates that it gives have dates,
//! and short ones.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use slipway_model::unit::{Span, Timestamp};

use crate::certificate;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::identity::{Identity, Role};

/// How long a node's certificate lasts (`robustness.md` section 7).
pub const NODE_LIFETIME: Span = Span::from_secs(30 * 86_400);

/// How long a server's certificate lasts, which it gives itself.
const SERVER_LIFETIME: Span = Span::from_secs(30 * 86_400);

/// Certificates are valid from so long before they are given out, because the two clocks differ (F18).
const BACK_DATED: Span = Span::from_secs(3600);

/// A request for a certificate is a key and a signature, not more.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// The authority, opened.
pub struct Authority {
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

/// A certificate that has just been given.
#[derive(Debug, Clone)]
pub struct Issued {
    /// It, and the authority's, in PEM.
    pub chain: String,
    /// Its number, in hexadecimal, lower case.
    pub serial: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Authority {
    /// Makes the authority of a new cluster; the second is its key in PEM, to be kept secret.
    ///
    /// # Errors
    /// [`Error::Certificate`] when no key can be made.
    pub fn create(cluster: &str) -> Result<(Self, String), Error> {
        let key = KeyPair::generate().map_err(failed("make a key"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("Slipway {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.serial_number = Some(serial());
        let certificate_pem = params.self_signed(&key).map_err(failed("sign a certificate"))?.pem();
        let key_pem = key.serialize_pem();
        Ok((Self::open(cluster, &certificate_pem, &key_pem)?, key_pem))
    }

    /// Opens an authority that was made before.
    ///
    /// # Errors
    /// [`Error::Certificate`] when the two are no certificate and key.
    pub fn open(cluster: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key_pem).map_err(failed("read the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key)
            .map_err(failed("read the authority's certificate"))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(failed("read the authority's certificate"))?;
        let (cluster, certificate_pem) = (cluster.to_owned(), certificate_pem.to_owned());
        Ok(Self { cluster, issuer, certificate, certificate_pem })
    }

    /// Which cluster's it is.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate_pem
    }

    /// What join tokens name it by.
    pub fn fingerprint(&self) -> String {
        certificate::fingerprint(&self.certificate)
    }

    /// Gives a certificate for the key of a request. Nothing else of the request counts: who and how
    /// long is the caller's decision.
    ///
    /// # Errors
    /// [`Error::Certificate`] for a request that is not one, or that was not signed with its key.
    pub fn issue(
        &self,
        request_pem: &str,
        role: Role,
        name: &str,
        lifetime: Span,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        if request_pem.len() > REQUEST_BYTES_MAX {
            return Err(Error::RequestTooLong);
        }
        let request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(failed("read the request for a certificate"))?;
        self.sign(&request.public_key, role, name, lifetime, now)
    }

    /// A server's own credentials.
    ///
    /// # Errors
    /// [`Error::Certificate`] when no key can be made.
    pub fn server_credentials(&self, name: &str, now: Timestamp) -> Result<Credentials, Error> {
        let key = KeyPair::generate().map_err(failed("make a key"))?;
        let issued = self.sign(&key, Role::Server, name, SERVER_LIFETIME, now)?;
        Credentials::new(&issued.chain, &key.serialize_pem())
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        role: Role,
        holder: &str,
        lifetime: Span,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let uri = Identity::uri(&self.cluster, role, holder);
        let begins = Timestamp(now.0.saturating_sub(BACK_DATED.millis()));
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("{role} {holder}"));
        params.subject_alt_names =
            vec![SanType::URI(uri.as_str().try_into().map_err(failed("name a certificate"))?)];
        params.not_before = (std::time::UNIX_EPOCH + begins_at(begins)).into();
        params.not_after = (std::time::UNIX_EPOCH + begins_at(begins.plus(lifetime))).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A node's certificate serves nobody, whatever is read in its name.
        params.extended_key_usages = match role {
            Role::Server => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Role::Node => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.serial_number = Some(serial());
        let signed = params.signed_by(key, &self.issuer).map_err(failed("sign a certificate"))?;
        let facts = certificate::read(signed.der()).ok_or(Error::NotOfACluster)?;
        Ok(Issued {
            chain: signed.pem() + &self.certificate_pem,
            serial: facts.identity.serial,
            expires_at: facts.not_after,
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// 126 random bits, so that the first byte is neither zero nor a sign.
fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from(bytes.to_vec())
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn begins_at(moment: Timestamp) -> Duration {
    Duration::from_secs(moment.0 / 1000)
}

pub(crate) fn failed<E: std::error::Error + Send + Sync + 'static>(
    what: &'static str,
) -> impl FnOnce(E) -> Error {
    move |source| Error::Certificate { what, source: Box::new(source) }
}

#[cfg(test)]
mod tests;
