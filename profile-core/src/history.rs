//! The spans that closed lately, by id: what a question about one span is answered from.
//!
//! A ring of fixed size. Writers never wait, and a reader that comes in between finds nothing, or at worst what is known of
//! a span that closed at the same moment: it is asked by people, about spans of some time ago.

use crate::context::{SpanContext, SpanId, TraceFlags};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many spans are remembered.
const SPANS: usize = 4096;

/// What is remembered of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) flags: TraceFlags,
    pub(crate) lasted: Duration,
}

struct Slot {
    /// 0 while the slot is being written.
    id: AtomicU64,
    /// Nanoseconds above the eight bits of the flags.
    what: AtomicU64,
}

static SLOTS: [Slot; SPANS] = [const { Slot { id: AtomicU64::new(0), what: AtomicU64::new(0) } }; SPANS];
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Remembers a span that was open for `nanos` nanoseconds.
pub(crate) fn remember(span: SpanContext, nanos: u64) {
    let slot = &SLOTS[NEXT.fetch_add(1, Ordering::Relaxed) as usize % SPANS];
    slot.id.store(0, Ordering::Release);
    slot.what.store(nanos << 8 | u64::from(span.flags.to_u8()), Ordering::Release);
    slot.id.store(span.span_id.to_u64(), Ordering::Release);
}

/// The span of this id, if it is remembered.
pub(crate) fn recent(id: SpanId) -> Option<Closed> {
    let slot = SLOTS.iter().find(|slot| slot.id.load(Ordering::Acquire) == id.to_u64())?;
    let what = slot.what.load(Ordering::Acquire);
    let closed = Closed { flags: TraceFlags::from_u8(what as u8), lasted: Duration::from_nanos(what >> 8) };
    (id.is_valid() && slot.id.load(Ordering::Acquire) == id.to_u64()).then_some(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_oldest_forgotten() {
        let span = |id| SpanContext {
            span_id: SpanId::from_u64(id),
            flags: TraceFlags::SAMPLED,
            ..Default::default()
        };
        let first = 0xfeed_0000_0000;
        remember(span(first), 77);
        let known = Closed { flags: TraceFlags::SAMPLED, lasted: Duration::from_nanos(77) };
        assert_eq!(recent(SpanId::from_u64(first)), Some(known));
        for id in 1..=SPANS as u64 {
            remember(span(first + id), 0);
        }
        assert_eq!(recent(SpanId::from_u64(first)), None);
        assert_eq!(recent(SpanId::from_u64(0)), None);
    }
}
