//! From frames to locations: mappings, functions and lines of the addresses in a window's stacks.
//!
//! Each distinct frame is looked up twice: first to learn what each module's symbols can tell, which is part of its
//! mapping; then to enter its functions and its location, which refers to the mapping. The second lookup is a hit in
//! the symbolizer's cache.

use super::dictionary::{
    AttributeValue, Dictionary, Function, Line, Location, LocationIndex, Mapping, MappingIndex, SymbolDetail,
    key,
};
use super::file_hash::htlhash;
use crate::collector::{Frame, Window};
use crate::modules::{Module, ModuleId};
use crate::symbolize::{SourceFrame, SymbolSource, Symbolizer};
use hashbrown::HashMap;
use std::sync::Arc;

/// The location of each distinct frame of the stacks that a sample with a weight refers to.
pub(super) struct Locations<'w>(HashMap<&'w Frame, LocationIndex>);

impl<'w> Locations<'w> {
    /// Enters the locations of `window`.
    pub(super) fn of(
        window: &'w Window,
        dictionary: &mut Dictionary,
        symbolizer: &mut dyn Symbolizer,
    ) -> Self {
        let (frames, mut locations) = distinct_frames(window);
        let mappings = enter_mappings(dictionary, &frames, symbolizer);
        for frame in frames {
            let module = module_of(frame);
            let source = module.map_or(&[][..], |module| symbolizer.symbolize(module, frame.address));
            let mapping = module.and_then(|module| mappings.get(&module.id)).copied().unwrap_or_default();
            locations.insert(frame, enter_location(dictionary, mapping, frame.address, source));
        }
        Self(locations)
    }

    /// The location of `frame`.
    pub(super) fn get(&self, frame: &Frame) -> Option<LocationIndex> {
        self.0.get(frame).copied()
    }
}

/// The distinct frames in use, in order, and a map from them to locations that are still to be entered.
fn distinct_frames(window: &Window) -> (Vec<&Frame>, HashMap<&Frame, LocationIndex>) {
    let (mut frames, mut locations) = (Vec::new(), HashMap::new());
    let mut seen = vec![false; window.stacks.len()];
    for sample in window.samples.iter().filter(|sample| sample.weight > 0) {
        let number = sample.stack.0 as usize;
        if let (Some(stack), Some(seen @ false)) = (window.stacks.get(number), seen.get_mut(number)) {
            *seen = true;
            let new = stack
                .frames
                .iter()
                .filter(|frame| locations.insert(*frame, LocationIndex::default()).is_none());
            frames.extend(new);
        }
    }
    (frames, locations)
}

/// The module that a frame's address lies in. Address 0, a jump through a null pointer, lies in none.
fn module_of(frame: &Frame) -> Option<&Arc<Module>> {
    frame.module.as_ref().filter(|_| frame.address != 0)
}

/// What the lookups of one module's frames have told.
#[derive(Default)]
struct Told {
    nameless: bool,
    detail: SymbolDetail,
}

/// Enters the mapping of each module that `frames` lie in.
///
/// They are entered in order of address, so that equal windows give equal profiles.
fn enter_mappings(
    dictionary: &mut Dictionary,
    frames: &[&Frame],
    symbolizer: &mut dyn Symbolizer,
) -> HashMap<ModuleId, MappingIndex> {
    let mut told: HashMap<ModuleId, (&Arc<Module>, Told)> = HashMap::new();
    for frame in frames {
        let Some(module) = module_of(frame) else { continue };
        let (_, told) = told.entry(module.id).or_insert((module, Told::default()));
        let source = symbolizer.symbolize(module, frame.address);
        told.nameless |= source.is_empty();
        told.detail.files |= source.iter().any(|source| source.file.is_some());
        told.detail.lines |= source.iter().any(|source| source.line > 0);
    }
    let mut told: Vec<(&Arc<Module>, Told)> = told.into_values().collect();
    told.sort_unstable_by_key(|(module, _)| (module.text.start, module.id));
    let enter = |(module, told): (&Arc<Module>, Told)| {
        let inlines = symbolizer.source(module) == SymbolSource::Dwarf;
        let detail = SymbolDetail { functions: !told.nameless, inlines, ..told.detail };
        (module.id, enter_mapping(dictionary, module, detail))
    };
    told.into_iter().map(enter).collect()
}

/// Enters a mapping; 0 if the module cannot be identified.
///
/// OpenTelemetry demands a build id of each mapping. A module without a GNU build id whose file is gone has none,
/// and an invented one could make a backend apply the symbols of another file. Such a module (seen only when a
/// library was built without build id *and* deleted while in use) has no mapping then: its frames keep their
/// addresses, and their functions where they are known.
fn enter_mapping(dictionary: &mut Dictionary, module: &Module, detail: SymbolDetail) -> MappingIndex {
    let (id_key, id) = match &module.build_id {
        Some(id) if !id.0.is_empty() => (key::BUILD_ID_GNU, id.to_string()),
        _ => match htlhash(module) {
            Some(hash) => (key::BUILD_ID_HTLHASH, hash),
            None => return MappingIndex::default(),
        },
    };
    let build_id = dictionary.attribute(id_key, AttributeValue::Text(id.into()));
    let file = dictionary.string(&module.path);
    let known = module.text.start < module.text.end;
    let (start, limit) = if known { (module.text.start, module.text.end) } else { (0, 0) };
    let file_offset = module.text_file_offset;
    dictionary.mapping(Mapping { start, limit, file_offset, file, build_id }, detail)
}

/// Enters the location of an address and the functions that `source` names for it.
fn enter_location(
    dictionary: &mut Dictionary,
    mapping: MappingIndex,
    address: u64,
    source: &[SourceFrame],
) -> LocationIndex {
    if address == 0 {
        // Without a name the frame could not be seen.
        return dictionary.named_location("[address 0]");
    }
    let rust = source.iter().any(|source| source.system_name.as_deref().is_some_and(is_rust));
    let frame_type = AttributeValue::Text(if rust { "rust" } else { "native" }.into());
    let frame_type = dictionary.attribute(key::FRAME_TYPE, frame_type);
    let lines = source.iter().map(|source| enter_line(dictionary, source)).collect();
    dictionary.locations.intern(Location { mapping, address, lines, frame_type })
}

fn enter_line(dictionary: &mut Dictionary, source: &SourceFrame) -> Line {
    let mut string = |text: Option<&Arc<str>>| {
        let text = text.filter(|text| !text.is_empty());
        text.map_or_else(Default::default, |text| dictionary.strings.intern(Arc::clone(text)))
    };
    let system_name = string(source.system_name.as_ref());
    let function = Function {
        // Not empty by the symbolizer's contract; were it, the function would still need a name.
        name: if source.function.is_empty() { system_name } else { string(Some(&source.function)) },
        system_name,
        file: string(source.file.as_ref()),
        start_line: source.start_line,
    };
    let function = dictionary.functions.intern(function);
    Line { function, line: source.line, column: source.column }
}

/// Whether a linkage name is one of Rust's manglings: v0, or the older one, which ends in a hash of 16 hex digits.
/// Source: <https://doc.rust-lang.org/rustc/symbol-mangling/index.html>
fn is_rust(name: &str) -> bool {
    let v0 = name.strip_prefix("_R").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
    // A compiler or linker may append a suffix such as `.llvm.1234`.
    let legacy = name.starts_with("_ZN")
        && name.rsplit_once("17h").and_then(|(_, tail)| tail.as_bytes().split_at_checked(16)).is_some_and(
            |(hash, rest)| {
                hash.iter().all(u8::is_ascii_hexdigit) && matches!(rest, [b'E'] | [b'E', b'.', ..])
            },
        );
    v0 || legacy
}

#[cfg(test)]
mod tests {
    use super::is_rust;

    #[test]
    fn rust_names_are_told_from_others() {
        let rust = [
            "_ZN4core9panicking9panic_fmt17h5c2b3a1d0e9f8a7bE",
            "_ZN5alloc3vec12Vec$LT$T$GT$4push17h0123456789abcdefE.llvm.1234567890123456789",
            "_ZN4shop5x17h917h0123456789abcdefE", // the mark twice
            "_RNvCs4fqI2P2rA04_4shop4main",
            "_RINvNtC3std3mem8align_ofNtCs1_4shop1XECs1_4shop",
        ];
        let other = [
            "main",
            "malloc",
            "_ZNSt6vectorIiSaIiEE9push_backERKi", // C++
            "_ZN3foo17hashEv",
            "_ZN3foo17h0123456789abcdefEv", // C++ again, with a parameter list
            "_ZN3foo17h0123456789abcdE",
            "_R",
            "_Run",
            "",
        ];
        assert_eq!(rust.map(is_rust), [true; 5]);
        assert_eq!(other.map(is_rust), [false; 9]);
    }
}
