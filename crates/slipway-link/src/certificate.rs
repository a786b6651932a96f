//! Reading a certificate: who, and from when to when.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use slipway_model::unit::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::Identity;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) identity: Identity,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// `None` when it is not a certificate of somebody in a cluster: not one URI of ours, and nothing else.
pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Facts> {
    let (rest, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let [GeneralName::URI(uri)] = names[..] else { return None };
    let validity = certificate.validity();
    rest.is_empty().then_some(())?;
    Some(Facts {
        identity: Identity::parse(uri, hex::encode(certificate.raw_serial()))?,
        not_before: moment(validity.not_before.timestamp()),
        not_after: moment(validity.not_after.timestamp()),
    })
}

/// What a join token knows the authority by: the first 128 bits of the SHA-256 of its certificate, in
/// hexadecimal.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(&Sha256::digest(certificate)[..16])
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}
