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
/// What a request, its one scope and the attributes of mappings need besides what is counted.
const FRAME: usize = 512;
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
    let mappings = tables.mappings.len() * (2 * HEAD + 3 * LONG + 8 * INDEX + 5 * ELEMENT);
    let locations = tables
        .locations
        .rows()
        .iter()
        .map(|row| 2 * HEAD + 3 * INDEX + LONG + row.lines.len() * (HEAD + 3 * INDEX));
    let stacks = tables.stacks.rows().iter().map(|row| 2 * HEAD + row.len() * ELEMENT);
    // In OTLP 24 bytes of ids; in pprof 48 hex digits.
    let links = tables.links.len() * (3 * HEAD + 48);
    let attributes = tables.attributes.rows().iter().map(|row| 2 * HEAD + INDEX + attribute(row));
    2 * (functions + mappings + locations.sum::<usize>())
        + strings.sum::<usize>()
        + stacks.sum::<usize>()
        + links
        + attributes.sum::<usize>()
}

fn attribute(attribute: &Attribute) -> usize {
    let text = |text: &str| 2 * HEAD + INDEX + text.len();
    match &attribute.value {
        AttributeValue::None => 0,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::{
        ContextIndex, Frame, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
    };
    use crate::context::{SpanId, SpanPath, TraceFlags, TraceId};
    use crate::encode::pprof;
    use crate::modules::{BuildId, Module, ModuleId};
    use crate::profile::SpanScope;
    use crate::resource::Resource;
    use crate::symbolize::{SourceFrame, SymbolSource, Symbolizer};
    use std::sync::Arc;
    use std::time::Duration;

    struct NoSymbols;

    impl Symbolizer for NoSymbols {
        fn symbolize(&mut self, _: &Arc<Module>, _: u64) -> &[SourceFrame] {
            &[]
        }

        fn source(&self, _: &Module) -> SymbolSource {
            SymbolSource::AddressOnly
        }
    }

    /// `stacks` stacks of `depth` frames each, in each of `spans` spans.
    fn profile(stacks: u64, depth: u64, spans: u64) -> Profile {
        // High addresses, so that they take ten bytes.
        let frame = |number| Frame { module: None, address: u64::MAX - number };
        profile_of(stacks, spans, |number| (0..depth).map(|depth| frame(number * 7 + depth)).collect())
    }

    /// One stack in a module whose path has `length` bytes.
    fn profile_with_path(length: usize) -> Profile {
        let module = Arc::new(Module {
            id: ModuleId(1),
            path: "x".repeat(length).into(),
            build_id: Some(BuildId([1; 20].into())),
            bias: 0,
            text: 0x1000..0x2000,
            text_file_offset: 0,
            segments: Vec::new(),
            eh_frame_hdr: None,
        });
        profile_of(1, 1, |_| [Frame { module: Some(Arc::clone(&module)), address: 0x1234 }].into())
    }

    fn profile_of(stacks: u64, spans: u64, frames: impl Fn(u64) -> Box<[Frame]>) -> Profile {
        let stack = |number| Stack { frames: frames(number), end: StackEnd::NoRule };
        let context = |number: u64| {
            let root = SpanPath::NONE.child("span");
            let (trace_id, id) = (TraceId::from_bytes([7; 16]), SpanId::from_u64(u64::MAX - number));
            let flags = TraceFlags::SAMPLED;
            SampleContext {
                trace_id,
                flags,
                span_id: id,
                span: root,
                root_id: id,
                root,
                ..Default::default()
            }
        };
        let sample = |number: u64| WindowSample {
            stack: StackIndex((number % stacks) as u32),
            context: ContextIndex((number / stacks) as u32),
            weight: u64::MAX >> 1,
        };
        let window = Window {
            start_unix_nanos: u64::MAX,
            duration: Duration::MAX,
            period_nanos: u64::MAX,
            stacks: (0..stacks).map(stack).collect(),
            contexts: (0..spans).map(context).collect(),
            samples: (0..stacks * spans).map(sample).collect(),
            losses: Vec::new(),
        };
        Profile::from_window(&window, &mut NoSymbols, SpanScope::LocalRoot)
    }

    /// Whatever the bytes mostly consist of, the bound holds, and is of use: no more than `slack` times too high.
    fn assert_bounds(profile: Profile, resource: Resource, slack: usize) {
        let batch = ProfileBatch::new(Arc::new(resource), vec![Arc::new(profile.clone())]);
        let (otlp, pprof) = (batch.to_otlp().len(), pprof::encode_uncompressed(&profile).len());
        let bound = bound(&batch);
        assert!(otlp.max(pprof) <= bound, "{bound} for {otlp} and {pprof}");
        assert!(bound <= slack * otlp.max(pprof), "{bound} for {otlp} and {pprof}");
    }

    #[test]
    fn the_bound_holds_whatever_there_is_most_of() {
        assert_bounds(profile(1, 1, 1), Resource::empty(), 12); // mostly the constant part
        assert_bounds(profile(2, 50_000, 1), Resource::empty(), 6); // frames
        assert_bounds(profile(2, 20_000, 20), Resource::empty(), 6); // frames in pprof, which repeats them
        assert_bounds(profile(20_000, 1, 1), Resource::empty(), 6); // samples
        assert_bounds(profile(1, 1, 20_000), Resource::empty(), 6); // links
        assert_bounds(profile_with_path(100_000), Resource::empty(), 2); // strings
        let mut noted = profile(1, 1, 1);
        noted.add_note("x".repeat(100_000)); // text
        assert_bounds(noted, Resource::empty(), 2);
        let mut resource = Resource::empty();
        (0..2000).for_each(|number| resource.set(format!("key {number}"), Value::Int(-1)));
        resource.set("x".repeat(50_000), Value::String("x".repeat(50_000)));
        assert_bounds(profile(1, 1, 1), resource, 2);
    }
}
