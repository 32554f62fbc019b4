//! Taking samples: who is sampled, when, and what goes into the ring.

mod capture;
pub(crate) mod cpu;

pub(crate) use capture::{Kind, SampleHead, tables};
