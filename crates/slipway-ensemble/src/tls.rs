//! Our end of TLS with ZooKeeper's servers.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::options::Tls;

/// Reads the certificates that the server itself has, with which we are a client that it trusts.
///
/// # Errors
/// A sentence that names the file.
pub fn client(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let bad = |path: &std::path::Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates = |path: &std::path::Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let all = CertificateDer::pem_file_iter(path).map_err(|error| bad(path, &error))?;
        all.collect::<Result<_, _>>().map_err(|error| bad(path, &error))
    };
    let mut trusted = RootCertStore::empty();
    for certificate in certificates(&tls.trust_store)? {
        trusted.add(certificate).map_err(|error| bad(&tls.trust_store, &error))?;
    }
    let chain = certificates(&tls.key_store)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_store).map_err(|error| bad(&tls.key_store, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(trusted)
        .with_client_auth_cert(chain, key)
        .map_err(|error| bad(&tls.key_store, &error))?;
    Ok(Arc::new(config))
}
