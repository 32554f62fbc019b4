//! Taking samples: who is sampled, when, and what goes into the ring.

mod capture;
pub(crate) mod cpu;
mod engine;
mod events;
mod run;
mod shared;

pub(crate) use capture::{Kind, SampleHead};
pub use engine::Engine;
pub(crate) use engine::InUse;
pub(crate) use run::tables;
