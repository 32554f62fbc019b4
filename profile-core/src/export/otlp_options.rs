//! What the builders of OTLP exporters have in common: what the program sets goes before what the environment sets,
//! and a default comes last; all of it checked before the first profile.

use super::compression::Compression;
use super::endpoint::{Endpoint, GivenEndpoint, Transport, shown};
use super::headers::{Headers, shown_name};
use super::otlp_settings::{
    DEFAULT_OTLP_GRPC_ENDPOINT, DEFAULT_OTLP_HTTP_ENDPOINT, DEFAULT_OTLP_TIMEOUT, OtlpSettings, Protocol,
};
use super::tls::Tls;
use crate::config::Environment;
use crate::diag;
use crate::error::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;

/// What the program sets.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) endpoint: Option<GivenEndpoint>,
    pub(super) headers: Headers,
    pub(super) timeout: Option<Duration>,
    pub(super) compression: Option<Compression>,
    pub(super) roots: Option<PathBuf>,
    /// The paths of certificate and key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    pub(super) settings: Option<OtlpSettings>,
}

/// What is settled.
#[derive(Debug)]
pub(super) struct Settled {
    /// What the environment names, if it does.
    #[cfg_attr(not(feature = "otlp-http"), allow(dead_code, reason = "gRPC has one encoding"))]
    pub(super) protocol: Option<Protocol>,
    pub(super) endpoint: Endpoint,
    pub(super) headers: Headers,
    pub(super) timeout: Duration,
    pub(super) compression: Compression,
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nothing is in it"))]
    pub(super) tls: Tls,
}

impl Options {
    pub(super) fn settle(mut self, transport: Transport) -> Result<Settled> {
        let settings = self.settings.take().unwrap_or_else(|| {
            let environment = Environment::of_process();
            environment.report();
            environment.otlp
        });
        let endpoint = self.endpoint(settings.endpoint, transport)?;
        let timeout = self.timeout.or(settings.timeout).unwrap_or(DEFAULT_OTLP_TIMEOUT);
        if timeout.is_zero() {
            return Err(Error::config("timeout", "0", "leaves no time for a request"));
        }
        for (name, value) in self.headers.iter() {
            Headers::check(name, value).map_err(|why| Error::config("header", shown_name(name), why))?;
        }
        Ok(Settled {
            protocol: settings.protocol,
            tls: self.tls(settings.tls, &endpoint)?,
            endpoint,
            headers: self.headers.over(settings.headers),
            timeout,
            compression: self.compression.or(settings.compression).unwrap_or_default(),
        })
    }

    fn endpoint(&self, from_environment: Option<GivenEndpoint>, transport: Transport) -> Result<Endpoint> {
        if let Some(given) = &self.endpoint {
            let resolved = given.resolve(transport);
            return resolved.map_err(|why| Error::config("OTLP endpoint", &shown(&given.text), why));
        }
        // It has been checked for the protocol that the environment names, which may be another one.
        match from_environment.map(|given| given.resolve(transport).map_err(|why| (given, why))) {
            Some(Ok(endpoint)) => return Ok(endpoint),
            Some(Err((given, why))) => {
                diag::warn(
                    "endpoint",
                    format_args!("OTLP endpoint of the environment: {given:?} {why}; ignored"),
                );
            }
            None => {}
        }
        let default = match transport {
            Transport::Http => DEFAULT_OTLP_HTTP_ENDPOINT,
            Transport::Grpc => DEFAULT_OTLP_GRPC_ENDPOINT,
        };
        let default = GivenEndpoint { is_whole: false, insecure: true, text: default.to_owned() };
        default.resolve(transport).map_err(|why| Error::config("OTLP endpoint", &default.text, why))
    }

    fn tls(&self, from_environment: Tls, endpoint: &Endpoint) -> Result<Tls> {
        let mut tls = Tls::default();
        let mut given = None;
        if let Some(roots) = &self.roots {
            tls.trust(roots)
                .map_err(|why| Error::config("CA certificate", &roots.to_string_lossy(), &why))?;
            given = Some(("CA certificate", roots));
        }
        if let Some((certificate, key)) = &self.identity {
            tls.identify(certificate, key).map_err(|why| {
                let paths = format!("{} and {}", certificate.display(), key.display());
                Error::config("client certificate and key", &paths, &why)
            })?;
            given = Some(("client certificate", certificate));
        }
        match given {
            Some((what, path)) if !endpoint.is_https() => {
                let why = "is of no use: the endpoint does not begin with https://";
                Err(Error::config(what, &path.to_string_lossy(), why))
            }
            _ => Ok(tls.or(from_environment)),
        }
    }
}

/// The methods that the builders have in common; each has a field `options`.
macro_rules! common_options {
    ($builder:ident) => {
        impl $builder {
            /// A header of every request, such as `Authorization`. It replaces one of the same name from the
            /// environment.
            #[must_use]
            pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.options.headers.push(name, value);
                self
            }

            /// How long one request may take, connecting included;
            /// [`DEFAULT_OTLP_TIMEOUT`](crate::export::DEFAULT_OTLP_TIMEOUT) by default.
            #[must_use]
            pub fn with_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.options.timeout = Some(timeout);
                self
            }

            /// How requests are compressed; not at all by default.
            #[must_use]
            pub fn with_compression(mut self, compression: crate::export::Compression) -> Self {
                self.options.compression = Some(compression);
                self
            }

            /// The file of the certificates to trust instead of the system's, in PEM.
            #[cfg(feature = "tls")]
            #[must_use]
            pub fn with_ca_certificate(mut self, path: impl Into<std::path::PathBuf>) -> Self {
                self.options.roots = Some(path.into());
                self
            }

            /// The files of the certificate (with its chain) to show to the server, and of its key, in PEM.
            #[cfg(feature = "tls")]
            #[must_use]
            pub fn with_client_certificate(
                mut self,
                certificate: impl Into<std::path::PathBuf>,
                key: impl Into<std::path::PathBuf>,
            ) -> Self {
                self.options.identity = Some((certificate.into(), key.into()));
                self
            }

            /// What the environment says, if it has been read before; or else `build` reads it.
            #[must_use]
            pub fn with_settings(mut self, settings: crate::export::OtlpSettings) -> Self {
                self.options.settings = Some(settings);
                self
            }
        }
    };
}
pub(super) use common_options;
