//! From raw samples to a closed window: drain, aggregate, and hand over.

mod window;

pub use window::{
    ContextIndex, Frame, Loss, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
};
