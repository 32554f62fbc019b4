//! The plain form into which both readers resolve a profile: no indices, no tables.

use std::collections::BTreeMap;
use std::fmt;

/// One source-level frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// The function's name; empty if the address was not symbolised.
    pub function: String,
    /// Its linkage name.
    pub system_name: String,
    /// Its source file.
    pub file: String,
    /// The line in `file`; 0 is unknown.
    pub line: i64,
    /// The column; 0 is unknown.
    pub column: i64,
    /// The first line of the function; 0 is unknown.
    pub start_line: i64,
    /// The address; frames inlined into each other share it.
    pub address: u64,
    /// Whether this frame was inlined into the next one of the stack.
    pub inlined: bool,
    /// The module.
    pub mapping: Option<Mapping>,
    /// Attributes of the location, such as `profile.frame.type` (OTLP only).
    pub attributes: BTreeMap<String, String>,
}

/// The module of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// The file it was loaded from.
    pub file: String,
    /// The GNU build id in hex; empty if there is none.
    pub build_id: String,
    /// The addresses, from the first to one past the last.
    pub memory: (u64, u64),
    /// Where the memory starts in the file.
    pub file_offset: u64,
}

/// The span that a sample is linked to, both ids in lowercase hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// 32 digits.
    pub trace_id: String,
    /// 16 digits.
    pub span_id: String,
}

/// One sample: a stack, how much of the profile's quantity it stands for, and where it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The frames, leaf first, inlined ones included.
    pub stack: Vec<Frame>,
    /// In the unit of the profile's sample type.
    pub value: i64,
    /// The span, if the sample was taken in one.
    pub link: Option<Link>,
    /// Attributes or labels, such as `span_name`.
    pub attributes: BTreeMap<String, String>,
}

impl Sample {
    /// The function names, leaf first.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.stack.iter().map(|frame| frame.function.as_str())
    }

    /// Whether any frame's function name contains `part`.
    #[must_use]
    pub fn mentions(&self, part: &str) -> bool {
        self.functions().any(|function| function.contains(part))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.trace_id, self.span_id)
    }
}

/// The sum of the samples' values for each span; under `None` those outside every span.
#[must_use]
pub fn totals_by_span<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> BTreeMap<Option<Link>, i64> {
    let mut totals = BTreeMap::new();
    for sample in samples {
        let total: &mut i64 = totals.entry(sample.link.clone()).or_default();
        *total = total.saturating_add(sample.value);
    }
    totals
}

/// Bytes as lowercase hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
