//! How large a batch can become as bytes at most, without making them.
//!
//! A batch that surely is small enough, as nearly all are, need not be encoded to find that out. Strings count with
//! their length, everything else as if each number took all the bytes it can, and OTLP and pprof are added up
//! although only one of them is made.

use crate::profile::dictionary::{Attribute, AttributeValue};
use crate::profile::{Profile, ProfileBatch};
use crate::resource::Value;

/// The start of a nested message or text: its key and its length.
const HEAD: usize = 1 + 5;
/// A table index or another number of 32 bits, with its key.
const INDEX: usize = 1 + 5;
/// An element of a list of indices.
const ELEMENT: usize = 5;
/// A number of 64 bits, with its key.
const LONG: usize = 1 + 10;
/// What a request and its one scope need besides what is counted.
const FRAME: usize = 256;
/// What a profile needs besides what is counted.
const PROFILE: usize = 256;

/// At least as many bytes as `batch` has as OTLP, or as uncompressed pprof.
pub(super) fn bound(batch: &ProfileBatch) -> usize {
    let attributes = batch.resource().attributes();
    let resource = attributes.map(|(key, value)| {
        4 * HEAD
            + key.len()
            + match value {
                Value::String(text) => text.len(),
                Value::Int(_) => LONG,
            }
    });
    FRAME
        + resource.sum::<usize>()
        + batch.profiles().iter().map(|profile| tables(profile) + samples(profile)).sum::<usize>()
}

fn tables(profile: &Profile) -> usize {
    let tables = profile.dictionary();
    let strings = tables.strings.rows().iter().map(|text| HEAD + text.len());
    let functions = tables.functions.len() * (HEAD + 5 * INDEX);
    let mappings = tables
        .mappings
        .rows()
        .iter()
        .map(|row| 2 * HEAD + 3 * LONG + 8 * INDEX + row.attributes.len() * ELEMENT);
    let locations = tables
        .locations
        .rows()
        .iter()
        .map(|row| 2 * HEAD + 3 * INDEX + LONG + row.lines.len() * (HEAD + 3 * INDEX));
    let stacks = tables.stacks.rows().iter().map(|row| 2 * HEAD + row.len() * ELEMENT);
    // In OTLP 24 bytes of ids; in pprof 48 hex digits.
    let links = tables.links.len() * (3 * HEAD + 48);
    let attributes = tables.attributes.rows().iter().map(|row| 2 * HEAD + INDEX + attribute(row));
    2 * (functions + mappings.sum::<usize>() + locations.sum::<usize>())
        + strings.sum::<usize>()
        + stacks.sum::<usize>()
        + links
        + attributes.sum::<usize>()
}

fn attribute(attribute: &Attribute) -> usize {
    let text = |text: &str| 2 * HEAD + INDEX + text.len();
    match &attribute.value {
        AttributeValue::None => 0,
        AttributeValue::Bool(_) => INDEX,
        AttributeValue::Text(value) => text(value),
        AttributeValue::Texts(values) => HEAD + values.iter().map(|value| text(value)).sum::<usize>(),
    }
}

fn samples(profile: &Profile) -> usize {
    let mut count = 0;
    let samples = profile.exported().map(|sample| {
        count += 1;
        let stack = profile.dictionary().stacks.get(sample.stack).len();
        let attributes = profile.labels().get(sample.labels).attributes.len();
        let otlp = 3 * HEAD + 2 * INDEX + LONG + attributes * ELEMENT;
        let pprof = 3 * HEAD + 2 * LONG + stack * ELEMENT + (2 + attributes) * (HEAD + 2 * INDEX);
        otlp + pprof
    });
    let samples = samples.sum::<usize>();
    samples + PROFILE * (1 + count / super::otlp::MAX_SAMPLES)
}
