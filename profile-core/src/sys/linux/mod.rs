//! Linux.

pub(crate) mod modules;
