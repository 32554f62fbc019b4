//! What the collector hands on: the samples of one window of time, aggregated, not yet symbolised.

pub use crate::context::SampleContext;
use crate::modules::Module;
use std::sync::Arc;
use std::time::Duration;

/// The aggregated samples of one window of time.
#[derive(Clone, Debug)]
pub struct Window {
    /// When the window began, in nanoseconds since the Unix epoch: its one reading of the wall clock.
    pub start_unix_nanos: u64,
    /// How long it lasted, by the monotonic clock.
    pub duration: Duration,
    /// What one unit of weight stands for, in nanoseconds of CPU time.
    pub period_nanos: u64,
    /// The distinct stacks; leaf first.
    pub stacks: Vec<Stack>,
    /// The distinct span contexts. Index 0 is "outside every span".
    pub contexts: Vec<SampleContext>,
    /// One entry for each distinct pair of stack and context.
    pub samples: Vec<WindowSample>,
    /// What was not sampled or not kept, with its reason.
    pub losses: Vec<(Loss, u64)>,
}

/// An index into [`Window::stacks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackIndex(pub u32);

/// An index into [`Window::contexts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextIndex(pub u32);

/// One distinct stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    /// The frames, leaf first.
    pub frames: Box<[Frame]>,
    /// Why the stack ends where it does.
    pub end: StackEnd,
}

/// One frame: the module instance it lies in and the address to look up. The address of a caller is its return
/// address minus one, so that it lies inside the call instruction.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The module whose text holds the address, if any.
    pub module: Option<Arc<Module>>,
    /// The address in this process.
    pub address: u64,
}

/// Why a stack ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum StackEnd {
    /// The outermost frame was reached.
    Complete = 0,
    /// The stack is deeper than the sampler records.
    Truncated = 1,
    /// A frame lies outside the thread's own stack (a fiber, or a wrong unwind rule).
    LeftStack = 2,
    /// There is no unwind rule for a frame's code.
    NoRule = 3,
    /// The unwind tables were not ready yet.
    NotReady = 4,
}

/// One distinct pair of stack and context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSample {
    /// Which stack.
    pub stack: StackIndex,
    /// In which context.
    pub context: ContextIndex,
    /// How many periods it stands for.
    pub weight: u64,
}

/// Why periods of CPU time have no stack. Each shows up in the exported profile as a frame of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Loss {
    /// The thread's ring was full.
    RingFull,
    /// The window's tables were full.
    TablesFull,
    /// A whole window that was not symbolised in time.
    WindowDropped,
    /// CPU time that the thread clocks saw and no timer did, reason not known.
    Unsampled,
    /// CPU time of threads that lived too short for a timer, or before the scan found them.
    ShortLivedThreads,
    /// CPU time while the thread blocked SIGPROF.
    SignalBlocked,
    /// CPU time of threads for which no timer could be had.
    NoTimer,
    /// CPU time in the kernel, which the engine may not see.
    KernelTime,
}

impl Frame {
    /// The identity of the frame's place in the program.
    fn key(&self) -> (Option<crate::modules::ModuleId>, u64) {
        (self.module.as_ref().map(|module| module.id), self.address)
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Frame {}

impl std::hash::Hash for Frame {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl StackEnd {
    /// The reason stored as `byte` in a sample; an unknown byte reads as "no rule".
    pub(crate) const fn from_u8(byte: u8) -> Self {
        match byte {
            0 => Self::Complete,
            1 => Self::Truncated,
            2 => Self::LeftStack,
            4 => Self::NotReady,
            _ => Self::NoRule,
        }
    }
}

impl Loss {
    /// The name of the frame that stands for this loss in an exported profile.
    #[must_use]
    pub const fn frame_name(self) -> &'static str {
        match self {
            Self::RingFull => "[lost: sample ring full]",
            Self::TablesFull => "[lost: profile tables full]",
            Self::WindowDropped => "[lost: symbolising too slow]",
            Self::Unsampled => "[unsampled]",
            Self::ShortLivedThreads => "[unsampled: new or short-lived threads]",
            Self::SignalBlocked => "[unsampled: SIGPROF blocked]",
            Self::NoTimer => "[unsampled: no timer]",
            Self::KernelTime => "[unsampled: kernel time not permitted]",
        }
    }
}
