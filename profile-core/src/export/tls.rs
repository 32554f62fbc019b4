//! What a TLS connection needs besides the system's roots: files that are read and checked when an exporter is built,
//! not when the first profile is lost.

use std::fmt;
use std::path::Path;
#[cfg(feature = "tls")]
use std::sync::Arc;

/// Certificates and a key, in PEM, all of which can be used. Shows only what is there.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The roots to trust instead of the system's.
    #[cfg(feature = "tls")]
    roots: Option<Pem>,
    /// What to show a server that asks who we are: the certificate with its chain, and its key.
    #[cfg(feature = "tls")]
    identity: Option<(Pem, Pem)>,
}

/// A PEM file's content.
#[cfg(feature = "tls")]
type Pem = Arc<[u8]>;

/// An HTTP client being configured.
#[cfg(feature = "otlp-http")]
type HttpConfig = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// Far more than certificates need; a path to something else must not fill the memory.
#[cfg(feature = "tls")]
const MAX_FILE: u64 = 4 << 20;

#[cfg(not(feature = "tls"))]
impl Tls {
    /// Certificates are of no use to this build.
    pub(crate) fn trust(&mut self, _: &Path) -> Result<(), String> {
        Err(NOT_BUILT_IN.to_owned())
    }

    /// A key is of no use to this build.
    pub(crate) fn identify(&mut self, _: &Path, _: &Path) -> Result<(), String> {
        Err(NOT_BUILT_IN.to_owned())
    }

    pub(crate) const fn or(self, _: Self) -> Self {
        self
    }

    /// Nothing to configure.
    #[cfg(feature = "otlp-http")]
    pub(crate) fn configure(&self, http: HttpConfig) -> Result<HttpConfig, String> {
        Ok(http)
    }
}

#[cfg(not(feature = "tls"))]
const NOT_BUILT_IN: &str = "is of no use: TLS is not built in, enable the feature tls";

#[cfg(feature = "tls")]
impl Tls {
    /// Trusts the certificates in the file at `path`. The error follows the path.
    pub(crate) fn trust(&mut self, path: &Path) -> Result<(), String> {
        let pem = read(path)?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(&pem)? {
            roots
                .add(certificate)
                .map_err(|cause| format!("holds a certificate that is no root: {cause}"))?;
        }
        self.roots = Some(pem);
        Ok(())
    }

    /// Shows servers the certificate at one path, proven by the key at another. The error follows the paths.
    pub(crate) fn identify(&mut self, certificate: &Path, key: &Path) -> Result<(), String> {
        use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
        let (pem, key) = (read(certificate)?, read(key)?);
        let chain = certificates(&pem)?;
        // What exactly is wrong with a key's file is not shown.
        let parsed = PrivateKeyDer::from_pem_slice(&key).map_err(|_| "hold no PEM key")?;
        rustls::sign::CertifiedKey::from_der(chain, parsed, &rustls::crypto::ring::default_provider())
            .map_err(|cause| format!("hold a certificate and a key that do not go together: {cause}"))?;
        self.identity = Some((pem, key));
        Ok(())
    }

    /// What is here, and what `other` has beyond that.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { roots: self.roots.or(other.roots), identity: self.identity.or(other.identity) }
    }

    /// Configures an HTTP client.
    #[cfg(feature = "otlp-http")]
    pub(crate) fn configure(&self, http: HttpConfig) -> Result<HttpConfig, String> {
        use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
        let owned = |pem: &[u8]| -> Result<Vec<_>, String> {
            Ok(certificates(pem)?.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
        };
        let roots = match &self.roots {
            Some(pem) => RootCerts::new_with_certs(&owned(pem)?),
            None => RootCerts::PlatformVerifier,
        };
        let identity = match &self.identity {
            Some((pem, key)) => {
                let key = PrivateKey::from_pem(key).map_err(|_| "no PEM key")?;
                Some(ClientCert::new_with_certs(&owned(pem)?, key))
            }
            None => None,
        };
        // Named, because the process may have several providers, none of which is the default.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = TlsConfig::builder().root_certs(roots).client_cert(identity);
        Ok(http.tls_config(config.unversioned_rustls_crypto_provider(provider).build()))
    }

    /// The configuration for a gRPC channel.
    #[cfg(feature = "grpc")]
    pub(crate) fn for_grpc(&self) -> tonic::transport::ClientTlsConfig {
        use tonic::transport::{Certificate, ClientTlsConfig, Identity};
        let config = match &self.roots {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match &self.identity {
            Some((pem, key)) => config.identity(Identity::from_pem(pem, key)),
            None => config,
        }
    }
}

#[cfg(feature = "tls")]
fn read(path: &Path) -> Result<Pem, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|cause| format!("cannot be read: {cause}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|cause| format!("cannot be read: {cause}"))?;
    Ok(bytes.into())
}

/// The certificates in `pem`; at least one.
#[cfg(feature = "tls")]
fn certificates(pem: &[u8]) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("holds no PEM certificate".to_owned()),
        Ok(found) => Ok(found),
        Err(cause) => Err(format!("holds a malformed PEM certificate: {cause}")),
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Tls");
        #[cfg(feature = "tls")]
        shown.field("own_roots", &self.roots.is_some()).field("identity", &self.identity.is_some());
        shown.finish()
    }
}
