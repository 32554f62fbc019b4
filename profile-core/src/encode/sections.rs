//! Where the contents of a request change in kind, so that a compressor can begin anew there.
//!
//! gzip has one code for a block of tens of kilobytes. Samples, tables and stacks have little in common, and a block that
//! holds the end of one and the beginning of the next fits neither: a few percent of the whole.

use crate::profile::ProfileBatch;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};

/// The fields that begin a section: the dictionary of a request, and in it the table of stacks.
const DICTIONARY: u8 = 2;
const STACKS: u8 = 7;

/// The bytes of samples in a block: about what the 10,000 samples of a request take while their numbers begin alike.
const SAMPLES: usize = 16 << 10;

impl ProfileBatch {
    /// [`to_otlp`](Self::to_otlp) as gzip (RFC 1952), as exporters send it: in blocks that end where its contents change in
    /// kind. Of an empty batch there are no bytes.
    #[must_use]
    pub fn to_otlp_gzip(&self) -> Vec<u8> {
        // Writing to memory does not fail.
        if self.is_empty() { Vec::new() } else { gzip(&self.to_otlp()).unwrap_or_default() }
    }
}

/// `body` as gzip; if it is a request as [`otlp`](super::otlp) writes it, with the end of a block after each section, and
/// between its samples where [their order](super::order) has come to other numbers.
pub(crate) fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    match sections(body) {
        Some([samples, tables, stacks]) => {
            let parts: Vec<&[u8]> = samples.chunks(SAMPLES).chain([tables, stacks]).collect();
            gzip_parts(&parts)
        }
        None => gzip_parts(&[body]),
    }
}

/// `parts` after one another as gzip, with the end of a block between them.
pub(super) fn gzip_parts(parts: &[&[u8]]) -> io::Result<Vec<u8>> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes / 4), Compression::default());
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            encoder.flush()?;
        }
        encoder.write_all(part)?;
    }
    encoder.finish()
}

/// The samples with what is around them, the tables but for the last, and the table of stacks; `None` if `body` is something
/// else, such as JSON.
fn sections(body: &[u8]) -> Option<[&[u8]; 3]> {
    let (_, _, rest) = field(body)?;
    let (DICTIONARY, mut stacks, []) = field(rest)? else { return None };
    while let Some((number, _, next)) = field(stacks) {
        if number == STACKS {
            break;
        }
        stacks = next;
    }
    let (before, stacks) = body.split_at_checked(body.len().checked_sub(stacks.len())?)?;
    let (samples, tables) = before.split_at_checked(body.len().checked_sub(rest.len())?)?;
    Some([samples, tables, stacks])
}

/// The first field: its number, its contents, and what follows it. `None` if it has no length.
fn field(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    const WITH_LENGTH: u8 = 2;
    let (tag, mut rest) = bytes.split_first()?;
    let is_one = tag & 0x80 == 0 && tag & 7 == WITH_LENGTH;
    let length = prost::decode_length_delimiter(&mut rest).ok().filter(|_| is_one)?;
    let (contents, after) = rest.split_at_checked(length)?;
    Some((tag >> 3, contents, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::wire::Wire;

    #[test]
    fn a_request_is_cut_where_its_contents_change_and_nothing_else_is() {
        let mut wire = Wire::default();
        wire.message(1, |wire| wire.text(2, &[1; 300]));
        let samples = 300 + 3 + 3;
        wire.message(2, |wire| {
            wire.text(2, &[2; 200]);
            wire.text(5, b"");
            wire.text(7, &[3; 100]);
            wire.text(7, b"");
        });
        let bytes = wire.into_bytes();
        let [first, tables, stacks] = sections(&bytes).unwrap();
        assert_eq!((first.len(), tables.len(), stacks.len()), (samples, 3 + 203 + 2, 102 + 2));
        assert_eq!([first, tables, stacks].concat(), bytes);
        for other in [&b"{\"resourceProfiles\":[]}"[..], b"", &bytes[..samples], &bytes[..400], &[0xff; 30]] {
            assert!(sections(other).is_none(), "{other:?}");
        }
    }
}
