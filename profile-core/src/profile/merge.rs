//! Copying what one profile refers to into the tables of another: for several profiles in one request, for several
//! profiles as one, and for parts of a profile.
//!
//! An [`Import`] follows the references of the rows that are asked for, and only these, so the tables that it fills
//! hold nothing that is not referred to. It remembers what it has copied: each row is copied once.

use super::dictionary::{
    Attribute, AttributeIndex, Dictionary, Function, FunctionIndex, Line, LinkIndex, Location, LocationIndex,
    Mapping, MappingIndex, StackIndex, StringIndex, ValueType,
};
use super::sample::{ContextRow, Labels, Profile, Sample};
use super::table::Index;
use std::borrow::Cow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// The numbers that what a profile's samples refer to have in the tables that are written.
pub(crate) struct Numbers<'a> {
    /// What a weight counts, and what the period is measured in.
    pub(crate) types: [ValueType; 2],
    /// By [`LabelsIndex`](super::sample::LabelsIndex).
    pub(crate) labels: Cow<'a, [Labels]>,
    /// The attribute that holds the notes, or 0.
    pub(crate) comment: AttributeIndex,
    /// `None` where the profile's own tables are written.
    stacks: Option<Copied<StackIndex>>,
}

/// Copies rows of one dictionary into another.
struct Import<'a> {
    from: &'a Dictionary,
    into: &'a mut Dictionary,
    strings: Copied<StringIndex>,
    functions: Copied<FunctionIndex>,
    mappings: Copied<MappingIndex>,
    locations: Copied<LocationIndex>,
    stacks: Copied<StackIndex>,
    links: Copied<LinkIndex>,
    attributes: Copied<AttributeIndex>,
}

/// For each row of one table its number in the other, as far as it was copied.
struct Copied<I>(Vec<Option<I>>);

impl Profile {
    /// Several profiles as one that has all their samples, those of equal stack and context added up; `None` if
    /// there is none.
    ///
    /// It starts when the earliest starts, and lasts as long as all of them together: that is the time in which
    /// samples were taken, whether or not there was time between the windows, so that CPU time over duration is the
    /// use of the CPU. If the profiles have different periods, the shortest is taken, weights are converted to it,
    /// and the total of each profile stays right to within one period.
    #[must_use]
    pub fn merge(profiles: &[&Self]) -> Option<Self> {
        let start = profiles.iter().map(|profile| profile.start_unix_nanos).min()?;
        let duration =
            profiles.iter().fold(Duration::ZERO, |sum, profile| sum.saturating_add(profile.duration));
        let period = profiles.iter().map(|profile| profile.period_nanos).min()?;
        let mut merged = Self::empty(start, duration, period);
        for profile in profiles {
            merged.take(profile, &profile.samples);
        }
        merged.arrange();
        Some(merged)
    }

    /// The profile in two halves of about as many exported samples each, with the same times and notes; `None` if
    /// there is only one exported sample.
    pub(super) fn halve(&self) -> Option<[Self; 2]> {
        let middle = self.samples.len() / 2;
        // What is exported as one sample stays in one half.
        let ends = self.runs().scan(0, |end, (_, run)| {
            *end += run.len();
            Some(*end)
        });
        let cut = ends.take_while(|end| *end < self.samples.len()).min_by_key(|end| end.abs_diff(middle))?;
        let (head, tail) = self.samples.split_at_checked(cut)?;
        Some([head, tail].map(|part| {
            let mut half = Self::empty(self.start_unix_nanos, self.duration, self.period_nanos);
            half.take(self, part);
            half.arrange();
            half
        }))
    }

    /// Adds `samples` of `from`, and its notes.
    fn take(&mut self, from: &Self, samples: &[Sample]) {
        from.notes_shared().iter().for_each(|note| self.add_note(&**note));
        let mut rescale = Rescale { from: from.period_nanos, into: self.period_nanos, rest: 0 };
        let mut import = Import::new(&from.dictionary, &mut self.dictionary);
        let mut contexts = Copied::of(from.contexts.len());
        for sample in samples {
            let stack = import.stack(sample.stack);
            let context = contexts.get_or(sample.context, || {
                let row = from.contexts.get(sample.context);
                let labels = from.labels.get(row.labels);
                let labels = self.labels.intern(import.labels(labels));
                self.contexts.intern(ContextRow { context: row.context, labels })
            });
            self.samples.push(Sample { stack, context, weight: rescale.weight(sample.weight) });
        }
        for loss in &from.loss_stacks {
            if let Some(stack) = import.stacks.known(*loss).filter(|stack| !self.loss_stacks.contains(stack))
            {
                self.loss_stacks.push(stack);
            }
        }
    }
}

/// Converts weights from one period to another. What rounding leaves goes to the next weight.
struct Rescale {
    from: u64,
    into: u64,
    rest: u128,
}

impl Rescale {
    fn weight(&mut self, weight: u64) -> u64 {
        if self.from == self.into {
            return weight;
        }
        let nanos = u128::from(weight) * u128::from(self.from) + self.rest;
        let into = u128::from(self.into.max(1));
        self.rest = nanos % into;
        u64::try_from(nanos / into).unwrap_or(u64::MAX)
    }
}

impl<'a> Numbers<'a> {
    /// Those of a profile whose own tables are written.
    pub(crate) fn own(profile: &'a Profile) -> Self {
        Self {
            types: profile.types(),
            labels: Cow::Borrowed(profile.labels().rows()),
            comment: profile.comment(),
            stacks: None,
        }
    }

    /// Those of a profile of which all that its samples refer to is copied into `into`.
    pub(crate) fn imported(profile: &'a Profile, into: &mut Dictionary) -> Self {
        let mut import = Import::new(&profile.dictionary, into);
        let types = profile.types().map(|kind| import.value_type(kind));
        let labels = profile.labels.rows().iter().map(|row| import.labels(row)).collect();
        let comment = import.attribute(profile.comment);
        for sample in &profile.samples {
            import.stack(sample.stack);
        }
        Self { types, labels, comment, stacks: Some(import.stacks) }
    }

    /// The row of a stack of the profile.
    pub(crate) fn stack(&self, index: StackIndex) -> StackIndex {
        self.stacks.as_ref().map_or(index, |copied| copied.known(index).unwrap_or_default())
    }
}

impl<'a> Import<'a> {
    fn new(from: &'a Dictionary, into: &'a mut Dictionary) -> Self {
        Self {
            strings: Copied::of(from.strings.len()),
            functions: Copied::of(from.functions.len()),
            mappings: Copied::of(from.mappings.len()),
            locations: Copied::of(from.locations.len()),
            stacks: Copied::of(from.stacks.len()),
            links: Copied::of(from.links.len()),
            attributes: Copied::of(from.attributes.len()),
            from,
            into,
        }
    }

    fn string(&mut self, index: StringIndex) -> StringIndex {
        let Self { from, into, strings, .. } = self;
        strings.get_or(index, || into.strings.intern(Arc::clone(from.strings.get(index))))
    }

    fn function(&mut self, index: FunctionIndex) -> FunctionIndex {
        if let Some(known) = self.functions.known(index) {
            return known;
        }
        let row = self.from.functions.get(index);
        let copy = Function {
            name: self.string(row.name),
            system_name: self.string(row.system_name),
            file: self.string(row.file),
            start_line: row.start_line,
        };
        self.functions.set(index, self.into.functions.intern(copy))
    }

    fn mapping(&mut self, index: MappingIndex) -> MappingIndex {
        if let Some(known) = self.mappings.known(index) {
            return known;
        }
        let row = self.from.mappings.get(index);
        let file = self.string(row.file);
        let copy = Mapping { file, build_id: self.attribute(row.build_id), ..*row };
        self.mappings.set(index, self.into.mapping(copy, self.from.detail(index)))
    }

    fn location(&mut self, index: LocationIndex) -> LocationIndex {
        if let Some(known) = self.locations.known(index) {
            return known;
        }
        let row = self.from.locations.get(index);
        let copy = Location {
            mapping: self.mapping(row.mapping),
            address: row.address,
            lines: row
                .lines
                .iter()
                .map(|line| Line { function: self.function(line.function), ..*line })
                .collect(),
            frame_type: self.attribute(row.frame_type),
        };
        self.locations.set(index, self.into.locations.intern(copy))
    }

    fn labels(&mut self, labels: &Labels) -> Labels {
        Labels {
            link: self.link(labels.link),
            attributes: labels.attributes.iter().map(|index| self.attribute(*index)).collect(),
        }
    }

    fn value_type(&mut self, value_type: ValueType) -> ValueType {
        ValueType { kind: self.string(value_type.kind), unit: self.string(value_type.unit) }
    }

    fn stack(&mut self, index: StackIndex) -> StackIndex {
        if let Some(known) = self.stacks.known(index) {
            return known;
        }
        let row = self.from.stacks.get(index);
        let copy = row.iter().map(|location| self.location(*location)).collect();
        self.stacks.set(index, self.into.stacks.intern(copy))
    }

    fn link(&mut self, index: LinkIndex) -> LinkIndex {
        let Self { from, into, links, .. } = self;
        links.get_or(index, || into.links.intern(*from.links.get(index)))
    }

    fn attribute(&mut self, index: AttributeIndex) -> AttributeIndex {
        if let Some(known) = self.attributes.known(index) {
            return known;
        }
        let row = self.from.attributes.get(index);
        let copy = Attribute { key: self.string(row.key), value: row.value.clone() };
        self.attributes.set(index, self.into.attributes.intern(copy))
    }
}

impl<I: Index + Hash> Copied<I> {
    fn of(rows: usize) -> Self {
        Self(vec![None; rows])
    }

    fn known(&self, index: I) -> Option<I> {
        self.0.get(index.row() as usize).copied().flatten()
    }

    fn set(&mut self, index: I, copy: I) -> I {
        if let Some(slot) = self.0.get_mut(index.row() as usize) {
            *slot = Some(copy);
        }
        copy
    }

    fn get_or(&mut self, index: I, copy: impl FnOnce() -> I) -> I {
        match self.known(index) {
            Some(known) => known,
            None => self.set(index, copy()),
        }
    }
}
