//! From raw samples to a closed window: drain, aggregate, compare with the clocks, hand over.

mod account;
mod aggregate;
mod health;
mod hold;
mod modules;
mod raw;
mod scan;
mod window;
mod worker;

pub(crate) use hold::Policy;
pub use window::{
    ContextIndex, Frame, Loss, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
};
pub(crate) use worker::{Closed, Command, Worker};
