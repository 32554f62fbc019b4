//! The seven tables that the samples of a profile refer to, as one value.
//!
//! The tables are those of the OTLP profiles dictionary (and, under other names, of pprof): a stack lists locations, a
//! location points at its mapping and at the functions of its lines, functions and mappings point at strings. An
//! encoder walks the tables; nothing is looked up again.

use super::table::{Index, Table, index_types};
use crate::context::{SpanId, TraceId};
use std::sync::Arc;

index_types! {
    /// An index into [`Dictionary::strings`].
    StringIndex;
    /// An index into [`Dictionary::functions`].
    FunctionIndex;
    /// An index into [`Dictionary::mappings`].
    MappingIndex;
    /// An index into [`Dictionary::locations`].
    LocationIndex;
    /// An index into [`Dictionary::stacks`].
    StackIndex;
    /// An index into [`Dictionary::links`].
    LinkIndex;
    /// An index into [`Dictionary::attributes`].
    AttributeIndex;
}

/// Attribute keys of the OpenTelemetry semantic conventions for profiles.
pub(crate) mod key {
    /// On a location: what kind of code it is.
    pub(crate) const FRAME_TYPE: &str = "profile.frame.type";
    /// On a mapping: the contents of the file's GNU build id note, in hex.
    pub(crate) const BUILD_ID_GNU: &str = "process.executable.build_id.gnu";
    /// On a mapping: the hash of the file's head, tail and length.
    pub(crate) const BUILD_ID_HTLHASH: &str = "process.executable.build_id.htlhash";
    /// On a mapping: its locations carry functions.
    pub(crate) const HAS_FUNCTIONS: &str = "pprof.mapping.has_functions";
    /// On a mapping: its functions carry source files.
    pub(crate) const HAS_FILENAMES: &str = "pprof.mapping.has_filenames";
    /// On a mapping: its locations carry line numbers.
    pub(crate) const HAS_LINE_NUMBERS: &str = "pprof.mapping.has_line_numbers";
    /// On a mapping: its locations carry inlined functions.
    pub(crate) const HAS_INLINE_FRAMES: &str = "pprof.mapping.has_inline_frames";
    /// On a profile: notes for its reader, a list of strings.
    pub(crate) const COMMENT: &str = "pprof.profile.comment";
    /// On a sample: the name of the span that its link names. Not in the conventions; what Pyroscope's bridges use.
    pub(crate) const SPAN_NAME: &str = "span_name";
    /// On a sample: the name of the innermost region around it. Not in the conventions.
    pub(crate) const REGION: &str = "region";
}

/// A kind of value and its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ValueType {
    pub(crate) kind: StringIndex,
    pub(crate) unit: StringIndex,
}

/// The tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dictionary {
    pub(crate) strings: Table<StringIndex, Arc<str>>,
    pub(crate) functions: Table<FunctionIndex, Function>,
    pub(crate) mappings: Table<MappingIndex, Mapping>,
    pub(crate) locations: Table<LocationIndex, Location>,
    pub(crate) stacks: Table<StackIndex, Stack>,
    pub(crate) links: Table<LinkIndex, Link>,
    pub(crate) attributes: Table<AttributeIndex, Attribute>,
    /// What the locations of each mapping carry; in the order of `mappings`, without row 0.
    details: Vec<SymbolDetail>,
}

/// A function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Function {
    /// The name for people; never 0 but in row 0.
    pub(crate) name: StringIndex,
    /// The linkage name, or 0.
    pub(crate) system_name: StringIndex,
    /// The source file, or 0.
    pub(crate) file: StringIndex,
    /// Its first line, or 0.
    pub(crate) start_line: u32,
}

/// The text of a module in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mapping {
    /// The first address.
    pub(crate) start: u64,
    /// The address after the last.
    pub(crate) limit: u64,
    /// Where `start` is in the file.
    pub(crate) file_offset: u64,
    /// The file.
    pub(crate) file: StringIndex,
    /// The attribute that says what identifies the file's contents; never 0 but in row 0.
    pub(crate) build_id: AttributeIndex,
}

/// What the locations of a mapping carry; says what a backend could still add. No part of the mapping's identity:
/// two windows can see different functions of one library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SymbolDetail {
    /// Each location has a function: there is none that a backend could still name.
    pub(crate) functions: bool,
    /// There are source files.
    pub(crate) files: bool,
    /// There are line numbers.
    pub(crate) lines: bool,
    /// Inlined functions were looked for, where there were any.
    pub(crate) inlines: bool,
}

/// A code address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    /// The mapping that holds the address, or 0.
    pub(crate) mapping: MappingIndex,
    /// The address in this process; 0 for a frame that stands for something else than code.
    pub(crate) address: u64,
    /// The functions of the address, innermost inlined function first; none if it has no name.
    pub(crate) lines: Box<[Line]>,
    /// The attribute that says what kind of code it is, or 0.
    pub(crate) frame_type: AttributeIndex,
}

/// A place in a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    pub(crate) function: FunctionIndex,
    /// From 1; 0 is unknown.
    pub(crate) line: u32,
    /// From 1; 0 is unknown.
    pub(crate) column: u32,
}

/// A call stack, leaf first.
pub(crate) type Stack = Box<[LocationIndex]>;

/// The span that samples are attributed to; both ids are valid but in row 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
}

/// A key and a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Attribute {
    pub(crate) key: StringIndex,
    pub(crate) value: AttributeValue,
}

/// The value of an attribute. Text lies here and not in the string table: receivers are known not to resolve
/// references to strings in values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum AttributeValue {
    /// The zero value, of row 0 alone.
    #[default]
    None,
    Text(Arc<str>),
    Texts(Box<[Arc<str>]>),
}

impl Dictionary {
    /// The index of `text`.
    pub(crate) fn string(&mut self, text: &str) -> StringIndex {
        self.strings.find(text).unwrap_or_else(|| self.strings.intern(text.into()))
    }

    /// The kind of value `kind` in `unit`.
    pub(crate) fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { kind: self.string(kind), unit: self.string(unit) }
    }

    /// The index of the attribute `key` = `value`.
    pub(crate) fn attribute(&mut self, key: &str, value: AttributeValue) -> AttributeIndex {
        let key = self.string(key);
        self.attributes.intern(Attribute { key, value })
    }

    /// The index of `mapping`, some of whose locations carry `detail`.
    pub(crate) fn mapping(&mut self, mapping: Mapping, detail: SymbolDetail) -> MappingIndex {
        let index = self.mappings.intern(mapping);
        if let Some(number) = (index.row() as usize).checked_sub(1) {
            match self.details.get_mut(number) {
                Some(known) => *known = known.and(detail),
                None => self.details.push(detail),
            }
        }
        index
    }

    /// What the locations of the mapping at `index` carry.
    pub(crate) fn detail(&self, index: MappingIndex) -> SymbolDetail {
        let number = (index.row() as usize).checked_sub(1);
        number.and_then(|number| self.details.get(number)).copied().unwrap_or_default()
    }

    /// The index of a location that stands for something else than code and shows up as a frame called `name`.
    pub(crate) fn named_location(&mut self, name: &str) -> LocationIndex {
        let name = self.string(name);
        let function = self.functions.intern(Function { name, ..Function::default() });
        let lines = Box::new([Line { function, ..Line::default() }]);
        self.locations.intern(Location { lines, ..Location::default() })
    }

    /// The text at `index`; `None` for index 0.
    pub(crate) fn text(&self, index: StringIndex) -> Option<&str> {
        Some(&**self.strings.get(index)).filter(|text| !text.is_empty())
    }

    /// The value of the attribute at `index`, if it is text.
    pub(crate) fn attribute_text(&self, index: AttributeIndex) -> Option<&str> {
        match &self.attributes.get(index).value {
            AttributeValue::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl SymbolDetail {
    /// What locations carry of which some carry `self` and some `other`.
    fn and(self, other: Self) -> Self {
        Self {
            functions: self.functions && other.functions,
            files: self.files || other.files,
            lines: self.lines || other.lines,
            inlines: self.inlines || other.inlines,
        }
    }

    /// The attribute keys of OpenTelemetry for what is true.
    pub(crate) fn keys(self) -> impl Iterator<Item = &'static str> {
        let keys = [
            (self.functions, key::HAS_FUNCTIONS),
            (self.files, key::HAS_FILENAMES),
            (self.lines, key::HAS_LINE_NUMBERS),
            (self.inlines, key::HAS_INLINE_FRAMES),
        ];
        keys.into_iter().filter(|(set, _)| *set).map(|(_, key)| key)
    }
}
