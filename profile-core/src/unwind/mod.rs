//! Complete stacks from inside a signal handler, with the default flags of a release build.
//!
//! Compilers describe how to unwind every instruction in `.eh_frame`, but in a form that is far too slow and far too
//! fragile to interpret in a signal handler, in memory that `dlclose` may pull away. So a background thread *compiles*
//! it once per module into a compact table of our own, and the handler only looks rules up:
//!
//! ```text
//!  background thread                                  signal handler
//!  modules ──► eh_frame ──► compile ──► table ┐       context ──► walk ──► frames
//!             (a copy)     (rules,    (rows,  ├─► set ──► slot ──┘ ▲
//!                           ids)      pages)  ┘     (epoch swap)   └── cache (address → rule)
//! ```
//!
//! * `rule`: what one instruction needs to find its caller; an 8 MB program has some 650 distinct ones.
//! * `compile`: `.eh_frame` bytes to sorted rows (offset, rule id). Safe code over a slice; fuzzed.
//! * `table`: those rows packed into 4 bytes each behind an index of 256-byte pages.
//! * `set`: all tables of one generation of the module list, with the rules they share and a cache.
//! * `slot`: hands the current set to handlers and frees an old one when no handler can be using it.
//! * `walk`: the walk itself: safe code over a register set, both bounds of the stack and a door that reads a word.
//! * `arch`: what differs between architectures, as constants and pure functions, compiled and tested everywhere.

mod arch;
mod cache;
mod compile;
mod context;
mod eh_frame;
#[doc(hidden)]
pub mod fuzzing;
mod rule;
mod set;
mod slot;
mod table;
mod translate;
mod walk;

#[doc(hidden)]
pub use arch::Registers;
#[doc(hidden)]
pub use set::{TableStats, UnwindTables};
#[doc(hidden)]
pub use slot::{Guard, Slot, TableSlot};
#[doc(hidden)]
pub use walk::StackBounds;

/// The loader's counts now: as long as they stand still, so does [`loaded_modules`]. About 1 µs.
#[doc(hidden)]
#[cfg(target_os = "linux")]
#[must_use]
pub fn loader_counts() -> crate::modules::LoaderCounts {
    crate::sys::modules::changes()
}

/// The modules loaded now; those that were in `previous` keep their identity.
#[doc(hidden)]
#[cfg(target_os = "linux")]
#[must_use]
pub fn loaded_modules(previous: &crate::modules::ModuleList) -> crate::modules::ModuleList {
    crate::sys::modules::snapshot(previous)
}
