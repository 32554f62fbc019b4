//! Reading a profile without knowing its tables: for reports and tests.

use super::dictionary::{Dictionary, Line, Location};
use super::sample::{Profile, Sample};
use crate::collector::SampleContext;
use std::fmt;
use std::time::Duration;

/// What was seen in one stack and one span context.
#[derive(Clone, Copy)]
pub struct SampleView<'a> {
    profile: &'a Profile,
    sample: Sample,
}

/// One frame of a stack: a function, an inlined function, an address, or a name that stands for something else.
#[derive(Clone, Copy)]
pub struct FrameView<'a> {
    dictionary: &'a Dictionary,
    location: &'a Location,
    line: Option<Line>,
    inlined: bool,
}

impl Profile {
    /// When the profile began, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn start_unix_nanos(&self) -> u64 {
        self.start_unix_nanos
    }

    /// How long it lasted.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// What one unit of weight stands for, in nanoseconds of CPU time; never 0.
    #[must_use]
    pub fn period_nanos(&self) -> u64 {
        self.period_nanos
    }

    /// The sum of all weights, losses included.
    #[must_use]
    pub fn total_weight(&self) -> u64 {
        self.samples.iter().fold(0, |sum, sample| sum.saturating_add(sample.weight))
    }

    /// Whether there is no sample in it. Such a profile is not exported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The samples: one for each distinct pair of stack and span context.
    pub fn samples(&self) -> impl Iterator<Item = SampleView<'_>> {
        self.samples.iter().map(|sample| SampleView { profile: self, sample: *sample })
    }

    /// The notes, in order; see [`add_note`](Self::add_note).
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes_shared().iter().map(|note| &**note)
    }
}

impl<'a> SampleView<'a> {
    /// How many periods it stands for; never 0.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.sample.weight
    }

    /// The frames, leaf first; where functions are inlined, the innermost first.
    pub fn frames(&self) -> impl Iterator<Item = FrameView<'a>> + use<'a> {
        let dictionary = &self.profile.dictionary;
        let stack = dictionary.stacks.get(self.sample.stack);
        stack.iter().flat_map(move |index| frames_of(dictionary, dictionary.locations.get(*index)))
    }

    /// The span context that it was taken in.
    #[must_use]
    pub fn context(&self) -> &'a SampleContext {
        &self.profile.row_of_context(self.sample.context).context
    }

    /// Whether it stands for CPU time that has no stack; its one frame says why.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        self.profile.loss_stacks.contains(&self.sample.stack)
    }
}

/// The frames of one location: one for each function, or one without.
fn frames_of<'a>(dictionary: &'a Dictionary, location: &'a Location) -> impl Iterator<Item = FrameView<'a>> {
    let last = location.lines.len().saturating_sub(1);
    (0..=last).map(move |number| FrameView {
        dictionary,
        location,
        line: location.lines.get(number).copied(),
        inlined: number < last,
    })
}

impl<'a> FrameView<'a> {
    /// The function's name, demangled; `None` if only the address is known.
    #[must_use]
    pub fn function(&self) -> Option<&'a str> {
        let function = self.dictionary.functions.get(self.line?.function);
        self.dictionary.text(function.name)
    }

    /// The function's linkage name.
    #[must_use]
    pub fn system_name(&self) -> Option<&'a str> {
        let function = self.dictionary.functions.get(self.line?.function);
        self.dictionary.text(function.system_name)
    }

    /// The source file.
    #[must_use]
    pub fn file(&self) -> Option<&'a str> {
        let function = self.dictionary.functions.get(self.line?.function);
        self.dictionary.text(function.file)
    }

    /// The line, from 1; 0 is unknown.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line.map_or(0, |line| line.line)
    }

    /// The file that the code was mapped from.
    #[must_use]
    pub fn mapping_path(&self) -> Option<&'a str> {
        self.dictionary.text(self.dictionary.mappings.get(self.location.mapping).file)
    }

    /// The address in the process; 0 for a frame that stands for something else than code.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.location.address
    }

    /// Whether the function was inlined into that of the next frame.
    #[must_use]
    pub fn is_inlined(&self) -> bool {
        self.inlined
    }
}

/// The function's name; without one, the file's name and the offset in the file; without a file, the address.
impl fmt::Display for FrameView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(function) = self.function() {
            return f.write_str(function);
        }
        let address = self.address();
        match self.mapping_path() {
            Some(path) => {
                let mapping = self.dictionary.mappings.get(self.location.mapping);
                let name = path.rsplit('/').next().unwrap_or(path);
                let offset = address.wrapping_sub(mapping.start).wrapping_add(mapping.file_offset);
                write!(f, "{name}+{offset:#x}")
            }
            None => write!(f, "{address:#x}"),
        }
    }
}

impl fmt::Debug for FrameView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameView({self})")
    }
}

impl fmt::Debug for SampleView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampleView")
            .field("weight", &self.weight())
            .field("context", self.context())
            .field("frames", &self.frames().collect::<Vec<_>>())
            .finish()
    }
}
