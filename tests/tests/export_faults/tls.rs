//! TLS over both transports: whom an exporter trusts, and who it says it is.

use super::any_server::{AnyServer, Transport};
use super::export_support::{PATIENCE, account, processor, profile, wait_until};
use profile_core::config::Environment;
use profile_core::error::ErrorKind;
use profile_core::export::{OtlpHttpExporter, OtlpSettings, ProfileExporter, ProfileProcessor};
use profile_core::stats::{ExporterSnapshot, Stats};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// An authority, and what it has certified, as files.
pub struct Pki {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Pki {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root: Certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("root.pem"), root.pem()).unwrap();
        Self { dir, root: root.der().clone(), issuer: Issuer::new(params, key) }
    }

    pub fn root_file(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// A certificate of `name` and its key.
    fn certify(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The same as files.
    fn files(&self, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.certify(name);
        let path = |what: &str| self.dir.path().join(format!("{name}.{what}.pem"));
        fs::write(path("certificate"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("certificate"), path("key"))
    }

    /// A server that says it is `name`; it asks its clients who they are if `clients`.
    pub fn server(&self, name: &str, clients: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certificate, key) = self.certify(name);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// A server of each transport.
fn both(config: &Arc<ServerConfig>) -> [AnyServer; 2] {
    [Transport::Http, Transport::Grpc].map(|transport| AnyServer::over_tls(transport, config))
}

fn url(server: &AnyServer) -> String {
    format!("https://localhost:{}", server.port())
}

fn exporter(
    server: &AnyServer,
    roots: Option<&Path>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Box<dyn ProfileExporter> {
    server.transport().exporter(&url(server), roots, identity)
}

/// Delivers a profile.
fn assert_delivers(server: &AnyServer, exporter: Box<dyn ProfileExporter>) {
    let stats = Stats::new();
    let processor = processor(&stats).with_exporters(vec![exporter]).build().unwrap();
    processor.on_profile(profile(1));
    processor.shutdown(PATIENCE).unwrap();
    assert_eq!((account(&stats, 0).exported, server.taken()), (1, 1));
}

/// Tries, and gives up in time.
fn assert_fails(server: &AnyServer, exporter: Box<dyn ProfileExporter>) -> ExporterSnapshot {
    let stats = Stats::new();
    let processor = processor(&stats).with_exporters(vec![exporter]).build().unwrap();
    processor.on_profile(profile(1));
    wait_until("a retry", || account(&stats, 0).retries >= 1);
    let error = processor.shutdown(Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Export | ErrorKind::Deadline), "{error}");
    let account = account(&stats, 0);
    assert_eq!((account.given, account.exported, server.taken()), (1, 0, 0), "{account:?}");
    assert_eq!(account.dropped.total(), 1, "{account:?}");
    account
}

#[test]
fn a_server_of_a_trusted_authority_and_the_right_name_is_trusted_and_no_other() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    for server in both(&pki.server("localhost", false)) {
        assert_delivers(&server, exporter(&server, Some(&pki.root_file()), None));
    }
    for server in both(&pki.server("elsewhere.example", false)) {
        assert_fails(&server, exporter(&server, Some(&pki.root_file()), None));
    }
    for server in both(&pki.server("localhost", false)) {
        assert_fails(&server, exporter(&server, Some(&stranger.root_file()), None));
    }
}

#[test]
fn a_server_that_asks_is_shown_the_clients_certificate() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let (own, strange) = (pki.files("client"), stranger.files("client"));
    let config = pki.server("localhost", true);
    for identity in [None, Some(&strange)] {
        for server in both(&config) {
            assert_fails(&server, exporter(&server, Some(&pki.root_file()), identity));
        }
    }
    for server in both(&config) {
        assert_delivers(&server, exporter(&server, Some(&pki.root_file()), Some(&own)));
    }
}

#[test]
fn certificates_are_named_by_variables() {
    let pki = Pki::new();
    let (certificate, key) = pki.files("client");
    for server in both(&pki.server("localhost", true)) {
        let environment = Environment::read(|name| {
            Some(match name {
                "OTEL_EXPORTER_OTLP_ENDPOINT" => url(&server).into(),
                "OTEL_EXPORTER_OTLP_PROTOCOL" => server.transport().protocol().into(),
                "OTEL_EXPORTER_OTLP_CERTIFICATE" => pki.root_file().into(),
                "OTEL_EXPORTER_OTLP_PROFILES_CLIENT_CERTIFICATE" => certificate.clone().into(),
                "OTEL_EXPORTER_OTLP_CLIENT_KEY" => key.clone().into(),
                _ => return None,
            })
        });
        assert!(environment.warnings.is_empty(), "{environment:?}");
        let mut exporters = environment.exporters(Vec::new()).exporters;
        assert_delivers(&server, exporters.remove(0));
    }
}

#[test]
fn files_that_cannot_be_used_fail_to_build_and_are_warnings_of_the_environment() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let ((certificate, key), (_, other_key)) = (pki.files("client"), stranger.files("client"));
    let builder = || OtlpHttpExporter::builder().with_settings(OtlpSettings::default());
    let https = || builder().with_endpoint("https://localhost");
    for (built, words) in [
        (https().with_ca_certificate(&key).build(), "no PEM certificate"),
        (https().with_ca_certificate(pki.dir.path()).build(), "cannot be read"),
        (https().with_client_certificate(&certificate, &other_key).build(), "do not go together"),
        (https().with_client_certificate(&certificate, &certificate).build(), "no PEM key"),
        (
            builder().with_endpoint("http://localhost").with_ca_certificate(pki.root_file()).build(),
            "of no use",
        ),
    ] {
        let error = built.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(words), "{error}");
    }
    let warnings = |variables: &[(&str, &Path)]| {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, path)| (*path).into());
        Environment::read(value).warnings
    };
    for variables in [
        [("OTEL_EXPORTER_OTLP_CERTIFICATE", key.as_path()), ("", key.as_path())],
        [("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate.as_path()), ("", key.as_path())],
        [
            ("OTEL_EXPORTER_OTLP_PROFILES_CLIENT_CERTIFICATE", certificate.as_path()),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", other_key.as_path()),
        ],
    ] {
        let warnings = warnings(&variables);
        let (name, path) = variables[0];
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(&format!("{name}: {path:?} ")), "{warnings:?}");
    }
}

/// The system's roots are what this variable names, for OpenSSL as for rustls; only a process of its own can change it.
#[test]
fn without_an_authority_of_its_own_an_exporter_trusts_the_systems() {
    const CHILD: &str = "EXPORT_FAULTS_TLS_CHILD";
    const TEST: &str = "tls::without_an_authority_of_its_own_an_exporter_trusts_the_systems";
    let pki = Pki::new();
    if let Some(root) = std::env::var_os(CHILD) {
        // The authority of this process is another one than that of its parent.
        fs::write(&root, fs::read(pki.root_file()).unwrap()).unwrap();
        for server in both(&pki.server("localhost", false)) {
            assert_delivers(&server, exporter(&server, None, None));
        }
        return;
    }
    let root = pki.dir.path().join("system.pem");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", TEST]).env(CHILD, &root).env("SSL_CERT_FILE", &root).env_remove("SSL_CERT_DIR");
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
