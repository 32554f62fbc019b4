//! The contents of a file: a head that tells a whole file from a part of one, and the profile as OTLP.
//!
//! ```text
//!  8 bytes  "PROFILE1"
//!  8 bytes  the length of what follows the head, little-endian
//!  4 bytes  its CRC-32 (that of gzip, RFC 1952), little-endian
//!  …        an ExportProfilesServiceRequest of one profile
//! ```

use crate::profile::ProfileBatch;
use flate2::Crc;

const MAGIC: &[u8; 8] = b"PROFILE1";
const HEAD: usize = 8 + 8 + 4;

pub(super) fn encode(otlp: &[u8]) -> Vec<u8> {
    let mut contents = Vec::with_capacity(HEAD + otlp.len());
    contents.extend_from_slice(MAGIC);
    contents.extend_from_slice(&(otlp.len() as u64).to_le_bytes());
    contents.extend_from_slice(&checksum(otlp).to_le_bytes());
    contents.extend_from_slice(otlp);
    contents
}

/// The profile; `None` if the file is not whole.
pub(super) fn decode(contents: &[u8]) -> Option<ProfileBatch> {
    let (head, otlp) = contents.split_at_checked(HEAD)?;
    let (magic, numbers) = head.split_at_checked(MAGIC.len())?;
    let (length, crc) = numbers.split_at_checked(8)?;
    let is_whole =
        magic == MAGIC && length == (otlp.len() as u64).to_le_bytes() && crc == checksum(otlp).to_le_bytes();
    if is_whole { ProfileBatch::from_otlp(otlp).filter(|batch| !batch.is_empty()) } else { None }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
