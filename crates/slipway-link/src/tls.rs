//! How the two ends of a link prove who they are: TLS 1.3 only, and nobody but this cluster's authority.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::authority::failed;
use crate::certificate;
use crate::error::Error;
use crate::identity::Role;

/// Says at once that the other end is no server of another kind.
const PROTOCOL: &[u8] = b"slipway/1";

/// Both sides of the credentials' holder.
#[derive(Clone)]
pub(crate) struct Configs {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

impl Configs {
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        cluster: &str,
    ) -> Result<Self, Error> {
        let anchor = Anchor::Authority { roots: roots.clone(), cluster: cluster.to_owned() };
        let mut client = client_builder(anchor)?
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(failed("use the certificate"))?;
        finish(&mut client);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .allow_unauthenticated()
            .build()
            .map_err(failed("trust the authority"))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed("set up TLS"))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(failed("use the certificate"))?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A session that could be resumed would outlive the certificate that it began with.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// For a machine that has nothing but a join token.
pub(crate) fn pinned(fingerprint: &str) -> Result<Arc<ClientConfig>, Error> {
    let anchor = Anchor::Fingerprint(fingerprint.to_owned());
    let mut client = client_builder(anchor)?.with_no_client_auth();
    finish(&mut client);
    Ok(Arc::new(client))
}

fn client_builder(
    anchor: Anchor,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Error> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed("set up TLS"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer { anchor, algorithms })))
}

fn finish(client: &mut ClientConfig) {
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.enable_sni = false;
    client.resumption = Resumption::disabled();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What TLS wants to be told; it is sent to nobody and compared with nothing.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("slipway").expect("it is a host name")
}

/// Why a server is not talked to, beyond what TLS itself can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untrusted {
    #[error("it is not a server of the cluster that the join token is for")]
    NotTheTokens,
    #[error("it is not a server of this cluster")]
    NotAServer,
}

#[derive(Debug)]
enum Anchor {
    Authority { roots: Arc<RootCertStore>, cluster: String },
    Fingerprint(String),
}

/// Trusts every server of a cluster, under whatever address.
struct AnyServer {
    anchor: Anchor,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut found = RootCertStore::empty();
        let (roots, cluster) = match &self.anchor {
            Anchor::Authority { roots, cluster } => (&**roots, Some(cluster)),
            Anchor::Fingerprint(wanted) => {
                let named = chain.iter().find(|sent| certificate::fingerprint(sent) == *wanted);
                found.add(named.ok_or_else(|| untrusted(Untrusted::NotTheTokens))?.clone().into_owned())?;
                (&found, None)
            }
        };
        let parsed = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, chain, now, self.algorithms.all)?;
        let facts = certificate::read(own).ok_or_else(|| untrusted(Untrusted::NotAServer))?;
        let is_of_cluster = cluster.is_none_or(|cluster| facts.identity.cluster == *cluster);
        if facts.identity.role != Role::Server || !is_of_cluster {
            return Err(untrusted(Untrusted::NotAServer));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for AnyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyServer").field("anchor", &self.anchor).finish_non_exhaustive()
    }
}

fn untrusted(why: Untrusted) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}
