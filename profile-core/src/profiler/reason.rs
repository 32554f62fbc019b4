//! An answer to "why has my span no profile?".

use std::fmt;
use std::time::Duration;

/// What is known about the profile of a span, or of all spans of one name, and why there is none.
///
/// `Display` says it in a sentence or two.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The name or id that was asked for.
    pub span: String,
    /// How many spans it is about: those that opened since the process started.
    pub spans: u64,
    /// CPU time of samples in these spans, those inside them included, in the windows that are finished.
    pub cpu: Duration,
    /// Why it is not more, most important first. Empty if nothing is missing.
    pub reasons: Vec<Reason>,
}

/// A reason why a span has no profile, or none of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing is being sampled; why.
    EngineOff(String),
    /// No such span has come to the layer: no span of this name was created, a filter in front of the layer disabled it, or
    /// the span is open or closed too long ago. Only the latest 4096 spans that closed are remembered by id.
    NotSeen,
    /// The layer does not follow these spans; how many.
    LeftOut(u64),
    /// The layer stands before that of OpenTelemetry, so that spans do not get OpenTelemetry's ids.
    WrongLayerOrder,
    /// The spans belong to traces that are not sampled; how many. Their samples have no link.
    NotSampled(u64),
    /// The spans have no ids; how many. OpenTelemetry gave ids to others and none to these.
    NoIds(u64),
    /// The spans were too short for the rate of sampling.
    TooShort {
        /// How long they were open, all together.
        open: Duration,
        /// A sample is taken each time a thread has used so much CPU time.
        period: Duration,
    },
    /// The spans were open for long enough, but used no CPU time, or next to none: they waited.
    Waited {
        /// How long they were open, all together.
        open: Duration,
    },
    /// None of the spans took as long as the profiler was told to keep samples for.
    Fast {
        /// The longest.
        longest: Duration,
        /// What was asked for.
        least: Duration,
    },
    /// Samples were lost, perhaps those of these spans; how much CPU time they stand for.
    Lost(Duration),
    /// Spans were too many to follow, perhaps these.
    TooMany(u64),
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { span, spans, cpu, reasons } = self;
        write!(f, "{span}: {spans} spans, {:.3} s of CPU time in samples", cpu.as_secs_f64())?;
        reasons.iter().try_for_each(|reason| write!(f, "; {reason}"))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EngineOff(why) => write!(f, "nothing is sampled: {why}"),
            Self::NotSeen => f.write_str(
                "no such span came to the layer: it was not created, is disabled by a filter, or is not among those that \
                 closed lately",
            ),
            Self::LeftOut(spans) => write!(f, "the layer was told not to follow {spans} spans of this name"),
            Self::WrongLayerOrder => f.write_str(
                "the profile layer stands before that of OpenTelemetry and cannot see its ids: add it after that one",
            ),
            Self::NotSampled(spans) => write!(f, "{spans} spans are of traces that are not sampled: no link leads to their samples"),
            Self::NoIds(spans) => write!(f, "{spans} spans have no ids from OpenTelemetry, which other spans have"),
            Self::TooShort { open, period } => write!(
                f,
                "too short for the rate: open for {open:.1?} in all, with a sample for each {period:.1?} of CPU time"
            ),
            Self::Waited { open } => write!(f, "open for {open:.1?} in all, but on no CPU: it waited"),
            Self::Fast { longest, least } => {
                write!(f, "faster than the samples that are kept: at most {longest:.1?}, not {least:.1?}")
            }
            Self::Lost(cpu) => write!(f, "samples of {cpu:.1?} of CPU time were lost, perhaps from here"),
            Self::TooMany(spans) => write!(f, "{spans} spans were too many to follow, perhaps these"),
        }
    }
}
