//! Either transport: a server that follows a script, and an exporter that the environment of the test run does not touch.

use super::export_support::{self, Server};
use super::grpc_server::GrpcServer;
use profile_core::export::{Encoding, OtlpGrpcExporter, OtlpHttpExporter, OtlpSettings, ProfileExporter};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Http,
    Json,
    Grpc,
}

pub enum AnyServer {
    Http(Server),
    Grpc(GrpcServer),
}

impl Transport {
    /// What `OTEL_EXPORTER_OTLP_PROTOCOL` calls it.
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Http => "http/protobuf",
            Self::Json => "http/json",
            Self::Grpc => "grpc",
        }
    }

    /// An exporter with all the time of the world, that trusts `roots` and shows who it is.
    pub fn exporter(
        self,
        url: &str,
        roots: Option<&Path>,
        identity: Option<&(PathBuf, PathBuf)>,
    ) -> Box<dyn ProfileExporter> {
        macro_rules! build {
            ($builder:expr) => {{
                let mut builder = $builder.with_settings(OtlpSettings::default());
                builder = builder.with_endpoint(url).with_timeout(export_support::PATIENCE);
                if let Some(roots) = roots {
                    builder = builder.with_ca_certificate(roots);
                }
                if let Some((certificate, key)) = identity {
                    builder = builder.with_client_certificate(certificate, key);
                }
                Box::new(builder.build().unwrap())
            }};
        }
        match self {
            Self::Http => build!(OtlpHttpExporter::builder()),
            Self::Json => build!(OtlpHttpExporter::builder().with_encoding(Encoding::Json)),
            Self::Grpc => build!(OtlpGrpcExporter::builder()),
        }
    }
}

impl AnyServer {
    /// A server over TLS that takes all that comes.
    pub fn over_tls(transport: Transport, config: &Arc<ServerConfig>) -> Self {
        let config = Arc::clone(config);
        match transport {
            Transport::Http | Transport::Json => Self::Http(Server::start_over([], move |stream| {
                // A handshake that fails shows when something is read or written: then the connection is closed.
                let connection = ServerConnection::new(Arc::clone(&config)).ok()?;
                Some(Box::new(StreamOwned::new(connection, stream)) as Box<dyn export_support::Stream>)
            })),
            Transport::Grpc => Self::Grpc(GrpcServer::start_over([], Some(config))),
        }
    }

    pub const fn transport(&self) -> Transport {
        match self {
            Self::Http(_) => Transport::Http,
            Self::Grpc(_) => Transport::Grpc,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Http(server) => server.port(),
            Self::Grpc(server) => server.port(),
        }
    }

    /// How many profiles it has taken.
    pub fn taken(&self) -> u64 {
        match self {
            Self::Http(server) => server.taken(),
            Self::Grpc(server) => server.taken(),
        }
    }

    /// The starts and weights of the profiles that it has taken whole.
    pub fn taken_profiles(&self) -> Vec<(u64, i64)> {
        match self {
            Self::Http(server) => server.taken_profiles(),
            Self::Grpc(server) => server.taken_profiles(),
        }
    }

    /// Whether its script is over.
    pub fn script_is_over(&self) -> bool {
        match self {
            Self::Http(server) => server.script_is_over(),
            Self::Grpc(server) => server.script_is_over(),
        }
    }
}
