//! From (module instance, address) to functions, files and lines: a pass over a finished window.
//!
//! ```text
//!   address ──► cache ──miss──► image ──────► symtab ────► demangle ─┐
//!                 │             (the file,    (function)             ├─► frames, innermost first
//!                 │              proven)  └─► dwarf ─────────────────┘
//!                 └─hit──────────────────────  (inlined frames, files, lines)
//! ```
//!
//! - `image` opens a module's file and uses it only if it is proven to be the mapped one: by the GNU build id, and
//!   without one by comparing the code itself. A deploy replaces files under running processes; the new file's names
//!   would be plausible and wrong. What cannot be proven stays an address, which a backend can still resolve from the
//!   mapping's build id.
//! - Files are read with positioned reads into owned, bounded buffers. They are not mapped: a file that is cut short
//!   under a mapping kills the process that reads it.
//! - `symtab` keeps 12 bytes a function; names stay in the file and are read and demangled when first asked for.
//! - `dwarf` gives inlined frames, files and lines, if its memory budget allows it. Everything it builds is dropped
//!   [after a batch](Symbolizer::end_batch).
//! - `cache` keeps the result of every (module instance, offset) as long as the module lives: nothing is looked up
//!   twice.
//!
//! Every table has a bound; whatever a bound cuts off is said by [`Symbolizer::notes`].

mod bytes;
mod cache;
mod demangle;
mod dwarf;
mod elf;
mod files;
mod fuzz;
mod image;
mod module;
mod native;
mod symtab;

pub use native::{NativeSymbolizer, SymbolizerStats};

use crate::modules::{Module, ModuleList};
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

    /// Ends a batch of lookups (the addresses of one window): closes files and frees debug information. What was
    /// looked up stays known.
    fn end_batch(&mut self) {}

    /// Drops everything about modules that are not in `live`.
    fn retain_modules(&mut self, live: &ModuleList) {
        let _ = live;
    }

    /// Sentences that say which modules could not be resolved as well as their kind allows, and why.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Entry points for fuzzing; not part of the API.
#[doc(hidden)]
pub mod __fuzz {
    pub use super::fuzz::{elf_dwarf, elf_symbols};
}
