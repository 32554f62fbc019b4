//! From (module instance, address) to functions, files and lines: a pass over a finished window.

use crate::modules::Module;
use std::sync::Arc;

/// One source-level frame of an address. An address in inlined code has several, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceFrame {
    /// The demangled function name; never empty.
    pub function: Arc<str>,
    /// The function's linkage name, where there is one.
    pub system_name: Option<Arc<str>>,
    /// The source file.
    pub file: Option<Arc<str>>,
    /// The line, from 1; 0 is unknown.
    pub line: u32,
    /// The column, from 1; 0 is unknown.
    pub column: u32,
    /// The first line of the function; 0 is unknown.
    pub start_line: u32,
}

/// How much of an address could be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SymbolSource {
    /// Nothing but the address: no file, another build id, or no symbol there.
    AddressOnly,
    /// The symbol table: functions, without lines and inlined frames.
    SymbolTable,
    /// DWARF: functions, inlined frames, files and lines.
    Dwarf,
}

/// Turns addresses into source frames.
pub trait Symbolizer {
    /// The frames of `address` (of this process) in `module`, innermost first; empty if nothing is known. The slice
    /// comes from a cache: asking twice costs one lookup.
    fn symbolize(&mut self, module: &Arc<Module>, address: u64) -> &[SourceFrame];

    /// The best source available for `module` so far, to say in the profile what it can and cannot show.
    fn source(&self, module: &Module) -> SymbolSource;
}
