//! How the body of a request is compressed.

use super::ExportError;
use crate::encode::gzip;
use std::io;
#[cfg(feature = "grpc")]
use std::io::Read as _;

/// How the body of a request is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As gzip (RFC 1952).
    Gzip,
    /// As zstd (RFC 8878).
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Compression {
    /// The compression that a variable names.
    pub(crate) fn parse(name: &str) -> Result<Self, &'static str> {
        match name {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            #[cfg(feature = "zstd")]
            "zstd" => Ok(Self::Zstd),
            #[cfg(not(feature = "zstd"))]
            "zstd" => Err("is not built in: enable the feature zstd"),
            _ => Err("is not one of: none, gzip, zstd"),
        }
    }

    /// What `Content-Encoding` and `grpc-encoding` call it; `None` for a body as it is.
    pub(crate) const fn encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            #[cfg(feature = "zstd")]
            Self::Zstd => Some("zstd"),
        }
    }

    /// `body`, compressed.
    pub(crate) fn compress(self, body: Vec<u8>) -> Result<Vec<u8>, ExportError> {
        let compressed: io::Result<Vec<u8>> = match self {
            Self::None => return Ok(body),
            Self::Gzip => gzip(&body),
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::bulk::compress(&body, zstd::DEFAULT_COMPRESSION_LEVEL),
        };
        let name = self.encoding().unwrap_or_default();
        compressed.map_err(|cause| ExportError::rejected(format!("{name}: {cause}")))
    }

    /// What was compressed, if it is no longer than `limit`.
    #[cfg(feature = "grpc")]
    pub(crate) fn decompress(self, body: &[u8], limit: usize) -> Option<Vec<u8>> {
        let bounded = |reader: &mut dyn io::Read| {
            let mut content = Vec::new();
            io::Read::take(reader, limit as u64 + 1).read_to_end(&mut content).ok()?;
            Some(content).filter(|content| content.len() <= limit)
        };
        match self {
            Self::None => Some(body.to_vec()),
            Self::Gzip => bounded(&mut flate2::read::GzDecoder::new(body)),
            #[cfg(feature = "zstd")]
            Self::Zstd => bounded(&mut zstd::stream::read::Decoder::new(body).ok()?),
        }
    }
}
