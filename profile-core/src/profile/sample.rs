//! The profile itself: samples over the tables of one [`Dictionary`].
//!
//! A sample is a stack, the span context it was taken in, and a weight. What is *exported* of the context are its
//! labels: the link and the attributes. Many contexts share labels (all spans below one local root do), and OTLP
//! wants one sample for each {stack, attributes, link}. So samples are kept one for each {stack, context}, which
//! lets a reader ask for the innermost span, and in an order in which those of equal stack and labels are
//! neighbours: [`Profile::exported`] adds up each such run on the fly, and no second list of samples is ever made.

use super::dictionary::{
    Attribute, AttributeIndex, AttributeValue, Dictionary, LinkIndex, StackIndex, ValueType, key,
};
use super::table::{Index, Table, index_types};
use crate::collector::SampleContext;
use std::sync::Arc;
use std::time::Duration;

index_types! {
    /// An index into the contexts of a profile.
    ContextIndex;
    /// An index into the distinct labels of a profile.
    LabelsIndex;
}

/// A symbolised CPU profile of one window of time (or of several, see [`Profile::merge`]): what the exporters encode.
///
/// Nothing in it has weight 0, and nothing is in it that no sample refers to.
#[derive(Clone, Debug)]
pub struct Profile {
    pub(super) start_unix_nanos: u64,
    pub(super) duration: Duration,
    pub(super) period_nanos: u64,
    /// What a weight counts.
    pub(super) sample_type: ValueType,
    /// What the period is measured in.
    pub(super) period_type: ValueType,
    pub(super) dictionary: Dictionary,
    pub(super) contexts: Table<ContextIndex, ContextRow>,
    pub(super) labels: Table<LabelsIndex, Labels>,
    /// The stacks that stand for losses: one named frame each.
    pub(super) loss_stacks: Vec<StackIndex>,
    /// Sorted by stack, labels and context; no two are equal in these, none has weight 0.
    pub(super) samples: Vec<Sample>,
    /// The attribute that holds the notes, or 0.
    pub(super) comment: AttributeIndex,
}

/// A weight in one stack and context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) stack: StackIndex,
    pub(crate) context: ContextIndex,
    /// In periods.
    pub(crate) weight: u64,
}

/// A context and what is exported of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ContextRow {
    pub(crate) context: SampleContext,
    pub(crate) labels: LabelsIndex,
}

/// What an exported sample says about its span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    /// The span, or 0.
    pub(crate) link: LinkIndex,
    /// Unique keys.
    pub(crate) attributes: Box<[AttributeIndex]>,
}

/// What one exported sample consists of: a stack, labels, and the weight of all samples that have both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exported {
    pub(crate) stack: StackIndex,
    pub(crate) labels: LabelsIndex,
    pub(crate) weight: u64,
}

/// The most notes that a profile carries; later ones are left out.
const MAX_NOTES: usize = 32;

impl Profile {
    /// A profile without samples.
    pub(crate) fn empty(start_unix_nanos: u64, duration: Duration, period_nanos: u64) -> Self {
        let mut dictionary = Dictionary::default();
        Self {
            start_unix_nanos,
            duration,
            // No backend takes a period of 0.
            period_nanos: period_nanos.max(1),
            // Pyroscope's `process_cpu` profile is made of exactly this pair of types.
            sample_type: dictionary.value_type("samples", "count"),
            period_type: dictionary.value_type("cpu", "nanoseconds"),
            dictionary,
            contexts: Table::new(),
            labels: Table::new(),
            loss_stacks: Vec::new(),
            samples: Vec::new(),
            comment: AttributeIndex::default(),
        }
    }

    /// Fills an empty profile with tables and samples that were written to disk: one context for each set of labels.
    pub(crate) fn restore(
        &mut self,
        dictionary: Dictionary,
        comment: AttributeIndex,
        samples: impl Iterator<Item = (StackIndex, Labels, u64)>,
    ) {
        let [sample_type, period_type] = self.types().map(|kind| [kind.kind, kind.unit]).map(|names| {
            names
                .map(|name| dictionary.strings.find(&**self.dictionary.strings.get(name)).unwrap_or_default())
        });
        self.sample_type = ValueType { kind: sample_type[0], unit: sample_type[1] };
        self.period_type = ValueType { kind: period_type[0], unit: period_type[1] };
        self.dictionary = dictionary;
        self.comment = comment;
        for (stack, labels, weight) in samples {
            let labels = self.labels.intern(labels);
            let context = self.contexts.intern(ContextRow { context: SampleContext::default(), labels });
            self.samples.push(Sample { stack, context, weight });
        }
        self.arrange();
    }

    /// Adds a sentence for the reader of the profile, such as what it cannot show and why. Repeated notes are kept
    /// once, and no more than 32 are kept.
    pub fn add_note(&mut self, note: impl Into<String>) {
        let mut notes = self.notes_shared().to_vec();
        let note: String = note.into();
        if notes.len() >= MAX_NOTES || notes.iter().any(|known| **known == *note) {
            return;
        }
        notes.push(note.into());
        let value = AttributeValue::Texts(notes.into());
        if self.comment == AttributeIndex::default() {
            self.comment = self.dictionary.attribute(key::COMMENT, value);
        } else {
            let key = self.dictionary.string(key::COMMENT);
            self.dictionary.attributes.replace(self.comment, Attribute { key, value });
        }
    }

    /// The notes, in order.
    pub(crate) fn notes_shared(&self) -> &[Arc<str>] {
        match &self.dictionary.attributes.get(self.comment).value {
            AttributeValue::Texts(notes) => notes,
            _ => &[],
        }
    }

    /// Brings the samples into their order and adds up those of one stack and context.
    pub(super) fn arrange(&mut self) {
        self.samples.retain(|sample| sample.weight > 0);
        let contexts = &self.contexts;
        self.samples.sort_unstable_by_key(|sample| {
            (sample.stack, contexts.get(sample.context).labels, sample.context)
        });
        self.samples.dedup_by(|next, first| {
            let same = (next.stack, next.context) == (first.stack, first.context);
            if same {
                first.weight = first.weight.saturating_add(next.weight);
            }
            same
        });
    }

    /// The samples as they are exported: one for each pair of stack and labels.
    pub(crate) fn exported(&self) -> impl Iterator<Item = Exported> {
        self.runs().map(Exported::of)
    }

    /// The same, sorted by `key`.
    pub(crate) fn exported_by<K: Ord>(&self, key: impl Fn(&Exported) -> K) -> impl Iterator<Item = Exported> {
        let mut starts: Vec<u32> = Vec::new();
        let mut start = 0;
        for (_, run) in self.runs() {
            starts.push(start);
            start = start.saturating_add(run.len() as u32);
        }
        let one = |start: &u32| self.runs_from(*start as usize).next().map(Exported::of);
        // A key is a sum over a run of samples: it is made once.
        starts.sort_by_cached_key(|start| one(start).map(|one| key(&one)));
        starts.into_iter().filter_map(move |start| self.runs_from(start as usize).next().map(Exported::of))
    }

    /// The runs of samples that become one exported sample each.
    pub(super) fn runs(&self) -> impl Iterator<Item = (LabelsIndex, &[Sample])> {
        self.runs_from(0)
    }

    /// Those from the sample at `start` on, which must be the first of a run.
    fn runs_from(&self, start: usize) -> impl Iterator<Item = (LabelsIndex, &[Sample])> {
        let identity = |sample: &Sample| (sample.stack, self.contexts.get(sample.context).labels);
        let samples = self.samples.get(start..).unwrap_or_default();
        samples
            .chunk_by(move |a, b| identity(a) == identity(b))
            .filter_map(move |run| run.first().map(|first| (identity(first).1, run)))
    }

    /// What a weight counts, and what the period is measured in.
    pub(crate) fn types(&self) -> [ValueType; 2] {
        [self.sample_type, self.period_type]
    }

    pub(crate) fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    pub(crate) fn labels(&self) -> &Table<LabelsIndex, Labels> {
        &self.labels
    }

    /// The attribute that holds the notes, or 0.
    pub(crate) fn comment(&self) -> AttributeIndex {
        self.comment
    }

    /// The labels at `index`.
    pub(super) fn row_of_context(&self, index: ContextIndex) -> &ContextRow {
        self.contexts.get(index)
    }
}

impl Exported {
    fn of((labels, run): (LabelsIndex, &[Sample])) -> Self {
        Self {
            stack: run.first().map_or_else(StackIndex::default, |sample| sample.stack),
            labels,
            weight: run.iter().fold(0, |sum, sample| sum.saturating_add(sample.weight)),
        }
    }
}

impl LabelsIndex {
    /// The index as an index into a slice.
    pub(crate) fn position(self) -> usize {
        self.row() as usize
    }
}
