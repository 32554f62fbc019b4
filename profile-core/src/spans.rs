//! The spans of one subscriber: what a `tracing` layer calls when spans open, are entered, left and closed.
//!
//! A span's ids are settled at its first enter, not when it opens: OpenTelemetry fixes them only then (a remote parent may
//! still be set before). The local root is a property of each span, handed down from parent to child; it is never inferred
//! from the trace id, because two requests of one trace do meet on one thread.

use crate::closing::{ClosedRoot, Closings};
use crate::context::{Record, RecordIndex, SpanContext, SpanId, SpanPath, SpanTable, TraceFlags, TraceId};
use crate::history;
use crate::own;
use crate::random;
use crate::sys::clock;
use crate::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Follows the spans of one subscriber. All calls are lock-free and never panic; a span that does not fit into the table is
/// not known here, counted, and its code counts for the span around it.
#[derive(Debug)]
pub struct SpanTracker {
    table: SpanTable,
    /// Tells this subscriber's span ids from another's on the threads' span stacks.
    salt: u64,
    /// Whether ids ever came from outside. From then on none are invented: they would name traces that do not exist.
    foreign_ids: AtomicBool,
    /// Whether new spans are followed: not after the profiler's shutdown.
    active: Arc<AtomicBool>,
    /// Who wants to know how long local roots were open.
    closings: Option<Closings>,
    /// The span that is asked for ids from outside as it is left, and how many more will be.
    asked: AtomicU64,
    questions: AtomicU32,
}

/// What an [enter](SpanTracker::enter) settled, the first time a span was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entered {
    /// Nothing new, or a span that is not known.
    Again,
    /// The span is its request's outermost span in this process: samples of the request link to `0`.
    LocalRoot(SpanContext),
    /// The span belongs to a local root that was entered before, or has no ids.
    Inner,
}

/// Spans that did not fit into the tables, since the process started.
static UNTRACKED: AtomicU64 = AtomicU64::new(0);

/// How many spans were too many to follow, since the process started. Their code counts for the spans around them.
#[must_use]
pub fn untracked() -> u64 {
    UNTRACKED.load(Ordering::Relaxed)
}

/// Whether spans ever had no ids from outside at their enter, and had some at their exit.
static IS_ORDER_WRONG: AtomicBool = AtomicBool::new(false);
pub(crate) const WRONG_ORDER: &str = "the profile layer stands before the OpenTelemetry layer and cannot see its ids: add it after \
     that one";
/// How many spans are asked for ids as they are left.
const QUESTIONS: u32 = 64;

/// Whether the layer was seen to stand before that of OpenTelemetry.
pub(crate) fn is_order_wrong() -> bool {
    IS_ORDER_WRONG.load(Ordering::Relaxed)
}

#[cold]
fn count_untracked() {
    UNTRACKED.fetch_add(1, Ordering::Relaxed);
}

/// How far up a chain of spans that were never entered ids are settled.
const MAX_UNSETTLED: usize = 64;

impl SpanTracker {
    /// A tracker without spans, which follows new ones while `active` is set.
    #[must_use]
    pub(crate) fn new(active: Arc<AtomicBool>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let salt =
            NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) & (u64::MAX << 40);
        Self {
            table: SpanTable::new(),
            salt,
            foreign_ids: AtomicBool::new(false),
            active,
            closings: None,
            asked: AtomicU64::new(0),
            questions: AtomicU32::new(QUESTIONS),
        }
    }

    /// The same, telling how long local roots were open.
    #[must_use]
    pub(crate) fn telling(self, closings: Option<Closings>) -> Self {
        Self { closings, ..self }
    }

    /// Whether new spans are followed: not after the profiler's shutdown, and not on threads of the profiler's own.
    #[inline]
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) && !own::is_own_thread()
    }

    /// A span called `name` opens inside `parent`. Keys are the subscriber's span ids: unique among its open spans.
    pub fn open(&self, key: u64, parent: Option<u64>, name: &'static str) {
        let parent =
            parent.and_then(|parent| self.table.get(parent)).map_or(RecordIndex::NONE, |(record, _)| record);
        let path = parent.get().map_or(SpanPath::NONE, |record| record.path()).child(name);
        if let Some(counts) = path.counts() {
            counts.opened.add(1);
        }
        let Some(index) = RecordIndex::take() else { return count_untracked() };
        if let Some(record) = index.get() {
            record.open(path, parent, self.now());
        }
        if !self.table.insert(key, index) {
            index.give_back();
            count_untracked();
        }
    }

    /// Says where the request of the span `key` comes from: it becomes a local root in the trace of `parent`, once it is
    /// entered, unless a tracing system gives it ids then. `false` if the span is not known, or was entered before.
    pub fn set_remote_parent(&self, key: u64, parent: SpanContext) -> bool {
        let record = self.table.get(key).filter(|(_, settled)| !settled).and_then(|(record, _)| record.get());
        let Some(record) = record.filter(|record| record.ids_unknown() && parent.is_valid()) else {
            return false;
        };
        record.set_remote(parent);
        true
    }

    /// Whether the span `key` is known.
    #[must_use]
    pub fn knows(&self, key: u64) -> bool {
        self.table.get(key).is_some()
    }

    /// The calling thread enters the span, if it was entered before and is found at once, as nearly always. `false`: nothing
    /// was done, and [`enter`](Self::enter) is to be called.
    #[inline]
    pub fn enter_again(&self, key: u64) -> bool {
        let Some(record) = self.table.get_settled(key) else { return false };
        thread::enter(key ^ self.salt, record);
        true
    }

    /// The calling thread enters the span. `outside` is asked, at the span's first enter only, for the ids that a tracing
    /// system gave it; without any, W3C ids of our own are made.
    pub fn enter(&self, key: u64, outside: impl FnOnce() -> Option<SpanContext>) -> Entered {
        let Some((record, settled)) = self.table.get(key) else { return Entered::Again };
        let entered = if settled { Entered::Again } else { self.settle(key, record, outside()) };
        thread::enter(key ^ self.salt, record);
        entered
    }

    /// The calling thread leaves the span.
    #[inline]
    pub fn exit(&self, key: u64) {
        thread::exit(key ^ self.salt);
    }

    /// The span is closed: no thread is in it any more, nor will be.
    pub fn close(&self, key: u64) {
        let Some(index) = self.table.remove(key) else { return };
        if let Some(record) = index.get() {
            self.tell(record);
        }
        index.give_back();
    }

    /// The monotonic clock: exact if somebody wants to know how long a root was open.
    fn now(&self) -> u64 {
        clock::monotonic_nanos(self.closings.is_some())
    }

    fn tell(&self, record: &Record) {
        let nanos = self.now().saturating_sub(record.opened());
        if let Some(counts) = record.path().counts() {
            counts.closed.add(1);
            counts.open_nanos.add(nanos);
            counts.longest_nanos.raise(nanos);
        }
        let ids = record.ids();
        if !ids.is_valid() {
            return;
        }
        history::remember(ids, nanos);
        if let (Some(closings), true) = (&self.closings, record.root().0 == ids.span_id) {
            closings.tell(ClosedRoot { id: ids.span_id, lasted: Duration::from_nanos(nanos) });
        }
    }

    /// Notes that a span called `name` opened and is not followed.
    pub fn leave_out(&self, name: &'static str) {
        if let Some(counts) = SpanPath::NONE.child(name).counts() {
            counts.left_out.add(1);
        }
    }

    /// Whether it is to be [told](Self::ids_at_exit), as the span is left, if a tracing system has ids for it.
    #[inline]
    #[must_use]
    pub fn asks_at_exit(&self, key: u64) -> bool {
        self.asked.load(Ordering::Relaxed) == key
    }

    /// A span that had no ids from outside when it was entered has some as it is left: then the tracing system is told of
    /// an enter later than we are.
    #[cold]
    pub fn ids_at_exit(&self, has_ids: bool) {
        // A few spans tell; a program without any tracing system is not asked for ever.
        let left = self.questions.load(Ordering::Relaxed);
        self.questions.store(left.saturating_sub(1), Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
        if has_ids {
            IS_ORDER_WRONG.store(true, Ordering::Relaxed); // the collector says so
        }
    }

    fn settle(&self, key: u64, index: RecordIndex, outside: Option<SpanContext>) -> Entered {
        let Some(record) = index.get() else { return Entered::Again };
        if !record.ids_unknown() {
            // A span below this one was entered first, and settled its ancestors.
            self.table.settle(key);
            return Entered::Again;
        }
        let entered = match outside.filter(SpanContext::is_valid) {
            Some(ids) => {
                self.foreign_ids.store(true, Ordering::Relaxed);
                settle_as(index, ids)
            }
            None => {
                if self.questions.load(Ordering::Relaxed) > 0 {
                    self.asked.store(key, Ordering::Relaxed);
                }
                match self.foreign_ids.load(Ordering::Relaxed) {
                    true => settle_as(index, SpanContext::default()),
                    false => settle_own(index, MAX_UNSETTLED),
                }
            }
        };
        count_ids(record);
        debug_assert!(!record.ids_unknown());
        self.table.settle(key);
        entered
    }
}

/// Counts what the settled ids are worth.
fn count_ids(record: &Record) {
    let Some(counts) = record.path().counts() else { return };
    let ids = record.ids();
    if !ids.is_valid() {
        counts.without_ids.add(1);
    } else if !ids.flags.is_sampled() {
        counts.unsampled.add(1);
    }
}

/// The span that the calling thread is in, if it is in one that has ids.
#[must_use]
pub fn current() -> Option<SpanContext> {
    thread::innermost().get().map(|record| record.ids()).filter(SpanContext::is_valid)
}

/// Gives the span these ids. It belongs to its parent's local root if it belongs to its parent's trace; a span of another
/// trace than its parent (a remote parent was set) is a local root itself.
fn settle_as(index: RecordIndex, ids: SpanContext) -> Entered {
    let Some(record) = index.get() else { return Entered::Again };
    let own = (ids.span_id, record.path());
    let parent = record.parent().get().filter(|parent| !parent.ids_unknown());
    let inherited = parent.filter(|parent| !ids.is_valid() || parent.ids().trace_id == ids.trace_id);
    let root = inherited.map_or(own, |parent| parent.root());
    record.set_ids(ids, root);
    if ids.is_valid() && root.0 == ids.span_id { Entered::LocalRoot(ids) } else { Entered::Inner }
}

/// Gives the span new ids of our own, and its ancestors too if they were never entered.
fn settle_own(index: RecordIndex, depth: usize) -> Entered {
    let Some(record) = index.get() else { return Entered::Again };
    let span_id = SpanId::from_u64(random::word() | 1);
    if let Some((trace_id, flags)) = record.remote() {
        let ids = SpanContext { trace_id, span_id, flags };
        record.set_ids(ids, (span_id, record.path()));
        return Entered::LocalRoot(ids);
    }
    if depth > 0 && record.parent().get().is_some_and(Record::ids_unknown) {
        settle_own(record.parent(), depth - 1);
    }
    let above = record.parent().get().map(|parent| parent.ids()).filter(SpanContext::is_valid);
    let flags = TraceFlags::from_u8(TraceFlags::SAMPLED.to_u8() | TraceFlags::RANDOM.to_u8());
    let new_trace = || TraceId::from_bytes(random::bytes());
    let ids = SpanContext {
        trace_id: above.map_or_else(new_trace, |above| above.trace_id),
        span_id,
        flags: above.map_or(flags, |above| above.flags),
    };
    settle_as(index, ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(trace: u8, span: u64) -> Option<SpanContext> {
        let flags = TraceFlags::SAMPLED;
        Some(SpanContext {
            trace_id: TraceId::from_bytes([trace; 16]),
            span_id: SpanId::from_u64(span),
            flags,
        })
    }

    fn root_now() -> (SpanId, SpanPath) {
        thread::innermost().get().unwrap().root()
    }

    #[test]
    fn two_requests_of_one_trace_on_one_thread_keep_their_own_roots() {
        let spans = SpanTracker::new(Arc::new(AtomicBool::new(true)));
        for request in [10, 20] {
            spans.open(request, None, "request");
            spans.open(request + 1, Some(request), "step");
        }
        assert_eq!(spans.enter(10, || outside(1, 100)), Entered::LocalRoot(outside(1, 100).unwrap()));
        spans.exit(10);
        assert_eq!(spans.enter(20, || outside(1, 200)), Entered::LocalRoot(outside(1, 200).unwrap()));
        assert_eq!(spans.enter(21, || outside(1, 201)), Entered::Inner);
        assert_eq!(root_now().0, SpanId::from_u64(200));
        spans.exit(21);
        spans.exit(20);
        assert_eq!(spans.enter(11, || outside(1, 101)), Entered::Inner);
        assert_eq!((root_now().0, current()), (SpanId::from_u64(100), outside(1, 101)));
        spans.exit(11);
        assert_eq!(current(), None);
    }

    #[test]
    fn own_ids_make_one_trace_of_a_request() {
        let spans = SpanTracker::new(Arc::new(AtomicBool::new(true)));
        spans.open(1, None, "root");
        spans.open(2, Some(1), "child");
        // The child runs before its parent ever does.
        spans.enter(2, || None);
        let child = current().unwrap();
        let (root, path) = root_now();
        spans.exit(2);
        spans.enter(1, || None);
        let parent = current().unwrap();
        assert_eq!((child.trace_id, root, path.name()), (parent.trace_id, parent.span_id, "root"));
        assert!(parent.flags.is_sampled() && parent.span_id != child.span_id);
        spans.exit(1);
    }

    #[test]
    fn no_ids_are_invented_beside_foreign_ones_and_a_remote_parent_makes_a_root() {
        let spans = SpanTracker::new(Arc::new(AtomicBool::new(true)));
        spans.open(1, None, "a");
        spans.open(2, Some(1), "b");
        spans.open(3, None, "c");
        spans.enter(1, || outside(1, 5));
        assert_eq!(spans.enter(2, || outside(2, 6)), Entered::LocalRoot(outside(2, 6).unwrap()));
        spans.exit(2);
        spans.exit(1);
        assert_eq!(spans.enter(3, || None), Entered::Inner);
        assert_eq!(current(), None);
        spans.exit(3);
    }

    #[test]
    fn a_remote_parent_makes_a_local_root_of_its_trace_until_the_first_enter() {
        let spans = SpanTracker::new(Arc::new(AtomicBool::new(true)));
        let caller = SpanContext { flags: TraceFlags::default(), ..outside(9, 77).unwrap() };
        for request in [1, 2] {
            spans.open(request, None, "request");
            assert!(spans.set_remote_parent(request, caller));
            spans.open(request + 10, Some(request), "step");
        }
        // A child runs first: its parent's remote parent counts for it too.
        spans.enter(11, || None);
        let (step, root) = (current().unwrap(), root_now().0);
        spans.exit(11);
        assert!(matches!(spans.enter(1, || None), Entered::Again), "settled along with its child");
        let first = current().unwrap();
        assert_eq!((step.trace_id, first.trace_id, root), (caller.trace_id, caller.trace_id, first.span_id));
        assert!(!step.flags.is_sampled() && !first.flags.is_sampled() && first.span_id != caller.span_id);
        assert!(!spans.set_remote_parent(1, caller), "it was entered");
        // The second request of the trace, in the first: a root of its own.
        let Entered::LocalRoot(second) = spans.enter(2, || None) else { panic!("a local root") };
        assert_ne!(second.span_id, first.span_id);
        assert_eq!(root_now().0, second.span_id);
        spans.exit(2);
        spans.exit(1);
        assert!(!spans.set_remote_parent(99, caller));
        spans.open(3, None, "beside OpenTelemetry");
        assert!(spans.set_remote_parent(3, caller));
        spans.enter(3, || outside(2, 6));
        assert_eq!(current(), outside(2, 6), "ids that come from outside win");
        spans.exit(3);
    }

    #[test]
    fn closed_spans_are_forgotten() {
        let spans = SpanTracker::new(Arc::new(AtomicBool::new(true)));
        for key in 1..10_000 {
            spans.open(key, None, "short");
            spans.close(key);
            assert!(!spans.knows(key));
        }
    }
}
