//! The profile model: samples over one dictionary of typed, deduplicated tables, and nothing of any wire format.
//!
//! ```text
//!  Window + Symbolizer ──build──► Profile ──► ProfileBatch ──► encode
//!                                    │ ▲
//!                                    └─┘ merge, split
//! ```
//!
//! The tables are those that OTLP and pprof share (strings, functions, mappings, locations, stacks, links,
//! attributes), each with the zero value in row 0, each row once, and no row that nothing refers to. An encoder is a
//! walk over them. `build` is the only place that knows both the collector and the symbolizer; `merge` copies what is
//! needed of one profile's tables into another's.

mod batch;
mod build;
pub(crate) mod dictionary;
mod file_hash;
mod frames;
pub(crate) mod merge;
pub(crate) mod sample;
mod size;
pub(crate) mod table;
mod view;

/// What the fuzz targets call; not part of the API.
#[doc(hidden)]
pub mod fuzzing {
    /// Takes `bytes` for what `/proc/self/maps` says.
    pub fn maps(bytes: &[u8]) {
        for address in [0, 0x7f3c_0000_0000, u64::MAX] {
            let _ = super::file_hash::inode_at(bytes, address);
        }
    }
}

pub use batch::ProfileBatch;
pub use build::SpanScope;
pub use sample::Profile;
pub use view::{FrameView, SampleView};
