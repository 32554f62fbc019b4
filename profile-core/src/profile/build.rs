//! From a window and a symbolizer to a profile: the only place that knows both.
//!
//! Locations are entered first (see [`frames`](super::frames)), stacks as lists of them, then samples that refer to
//! stacks; each row refers to rows that are there already, and nothing is entered that no sample needs. What became
//! equal on the way (a library that came back at its old place, contexts of which the same is exported) is added up
//! at the end.

use super::dictionary::{AttributeIndex, AttributeValue, Dictionary, Link, LinkIndex, StackIndex, key};
use super::frames::Locations;
use super::sample::{ContextIndex, ContextRow, Labels, Profile, Sample};
use crate::collector::{SampleContext, Stack, StackEnd, Window};
use crate::context::Region;
use crate::symbolize::Symbolizer;
use hashbrown::HashSet;

/// Which span a sample names in its link, its `span_name` and its pprof labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanScope {
    /// The local root: the outermost span of the request in this process. Its profile is that of the whole request,
    /// and it is what Grafana's trace view asks for.
    #[default]
    LocalRoot,
    /// The innermost span. A span's profile is then what it did outside the spans below it.
    Span,
}

/// The most distinct span names of a profile: each becomes a series of its own in Pyroscope.
const MAX_SPAN_NAMES: usize = 1000;

/// Stands for the span names beyond these.
const OTHER_SPAN_NAMES: &str = "[span names overflow]";

/// The most bytes of a span's or region's name: the longest label value that Pyroscope takes.
const MAX_TEXT_BYTES: usize = 2048;

impl Profile {
    /// The profile of `window`: its addresses symbolised, its contexts turned into links and attributes as `scope`
    /// says, its losses entered as samples of one named frame. A window without any weight gives a profile without
    /// samples, which a [`ProfileBatch`](super::ProfileBatch) drops.
    #[must_use]
    pub fn from_window(window: &Window, symbolizer: &mut dyn Symbolizer, scope: SpanScope) -> Self {
        let profile = Self::empty(window.start_unix_nanos, window.duration, window.period_nanos);
        let mut build = Build { profile, scope, window, span_names: HashSet::new() };
        let locations = Locations::of(window, &mut build.profile.dictionary, symbolizer);
        build.samples(&locations);
        build.losses();
        build.profile.arrange();
        build.profile
    }
}

struct Build<'w> {
    profile: Profile,
    scope: SpanScope,
    window: &'w Window,
    span_names: HashSet<&'static str>,
}

impl Build<'_> {
    /// Enters the window's samples, with their stacks and contexts.
    fn samples(&mut self, locations: &Locations<'_>) {
        let window = self.window;
        let mut stacks = vec![None; window.stacks.len()];
        let mut contexts = vec![None; window.contexts.len()];
        for sample in window.samples.iter().filter(|sample| sample.weight > 0) {
            let number = sample.stack.0 as usize;
            let stack = match stacks.get(number).copied().flatten() {
                Some(known) => known,
                None => self.stack(window.stacks.get(number), locations),
            };
            if let Some(slot) = stacks.get_mut(number) {
                *slot = Some(stack);
            }
            let number = sample.context.0 as usize;
            let context = match contexts.get(number).copied().flatten() {
                Some(known) => known,
                None => self.context(window.contexts.get(number).copied().unwrap_or_default()),
            };
            if let Some(slot) = contexts.get_mut(number) {
                *slot = Some(context);
            }
            self.profile.samples.push(Sample { stack, context, weight: sample.weight });
        }
    }

    /// Enters the window's losses.
    fn losses(&mut self) {
        for (loss, weight) in self.window.losses.iter().filter(|(_, weight)| *weight > 0) {
            let location = self.profile.dictionary.named_location(loss.frame_name());
            let stack = self.profile.dictionary.stacks.intern(Box::new([location]));
            if !self.profile.loss_stacks.contains(&stack) {
                self.profile.loss_stacks.push(stack);
            }
            self.profile.samples.push(Sample { stack, context: ContextIndex::default(), weight: *weight });
        }
    }

    /// Enters a stack. Why it ends early is said by one more frame at its outer end; a stack without any frame says
    /// so too.
    fn stack(&mut self, stack: Option<&Stack>, locations: &Locations<'_>) -> StackIndex {
        let dictionary = &mut self.profile.dictionary;
        let known = stack.map_or(&[][..], |stack| &stack.frames);
        let mut row = Vec::with_capacity(known.len() + 1);
        row.extend(known.iter().filter_map(|frame| locations.get(frame)));
        let end = match stack.map_or(StackEnd::Complete, |stack| stack.end) {
            StackEnd::Complete if row.is_empty() => Some("[no stack]".into()),
            StackEnd::Complete => None,
            StackEnd::Truncated => Some(format!("[truncated: stack deeper than {} frames]", known.len())),
            StackEnd::LeftStack => Some("[truncated: left the thread's stack]".into()),
            StackEnd::NoRule => Some("[truncated: no unwind rule]".into()),
            StackEnd::NotReady => Some("[truncated: unwind tables not ready]".into()),
        };
        row.extend(end.map(|name| dictionary.named_location(&name)));
        dictionary.stacks.intern(row.into())
    }

    /// Enters a context and its labels.
    fn context(&mut self, context: SampleContext) -> ContextIndex {
        let (span_id, path) = match self.scope {
            SpanScope::LocalRoot => (context.root_id, context.root),
            SpanScope::Span => (context.span_id, context.span),
        };
        let dictionary = &mut self.profile.dictionary;
        let linked = context.trace_id.is_valid() && span_id.is_valid() && context.flags.is_sampled();
        let link = if linked {
            dictionary.links.intern(Link { trace_id: context.trace_id, span_id })
        } else {
            LinkIndex::default()
        };
        let mut attributes = Vec::new();
        if !path.name().is_empty() {
            attributes.push(span_name(dictionary, &mut self.span_names, path.name()));
        }
        if context.region != Region::NONE {
            attributes.push(text(dictionary, key::REGION, context.region.name()));
        }
        attributes.extend(context.labels.iter().map(|(key, value)| text(dictionary, key, value)));
        let labels = self.profile.labels.intern(Labels { link, attributes: attributes.into() });
        self.profile.contexts.intern(ContextRow { context, labels })
    }
}

/// The attribute for a span's name; the names of a profile are bounded in number and length.
fn span_name(
    dictionary: &mut Dictionary,
    known: &mut HashSet<&'static str>,
    name: &'static str,
) -> AttributeIndex {
    let overflow = known.len() >= MAX_SPAN_NAMES && !known.contains(name);
    let name = if overflow { OTHER_SPAN_NAMES } else { name };
    known.insert(name);
    text(dictionary, key::SPAN_NAME, name)
}

/// The attribute `key` with a text that is bounded in length.
fn text(dictionary: &mut Dictionary, key: &str, text: &str) -> AttributeIndex {
    let cut = (0..=text.len().min(MAX_TEXT_BYTES)).rev().find(|end| text.is_char_boundary(*end));
    let text = cut.and_then(|end| text.get(..end)).unwrap_or_default();
    dictionary.attribute(key, AttributeValue::Text(text.into()))
}
