//! Taking samples: who is sampled, when, and what goes into the ring.

mod capture;
pub(crate) mod cpu;
mod run;

pub(crate) use capture::{Kind, SampleHead};
pub(crate) use run::tables;
