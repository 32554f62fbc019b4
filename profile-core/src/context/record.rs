//! The record of one open span, as the sampler reads it.
//!
//! A record starts with the 28 bytes of OTEP 4947 (trace id, span id, valid, flags, attributes' size), so that an
//! outside profiler can be pointed at the same bytes, and goes on with what only our own sampler needs. Source:
//! opentelemetry-specification, `oteps/profiles/4947-thread-ctx.md`.
//!
//! Records live in chunks that are never freed and are named by number. A thread publishes the number of its current
//! span's record, one store; the signal handler on that thread reads the record behind it. A record cannot be recycled
//! while it is published: a span is closed only after its last exit. Even a caller that breaks this rule gets a wrong
//! label, never a bad read: every field is an atomic in memory that stays mapped.

use super::{SpanContext, SpanId, SpanPath, TraceFlags, TraceId};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The number of a record; 0 is "no span".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordIndex(u32);

/// What a span says about itself to the sampler.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Record {
    // OTEP 4947. Ids in W3C byte order, whatever the machine's.
    trace_id: [AtomicU64; 2],
    span_id: AtomicU64,
    /// Bytes: valid, trace flags, size of the attributes (2).
    status: AtomicU32,
    /// The local root's path.
    root_path: AtomicU32,
    /// The local root's id, W3C byte order.
    root_id: AtomicU64,
    path: AtomicU32,
    /// While open: the record of the enclosing span. While free: the next free record.
    link: AtomicU32,
    /// When the span opened, on the monotonic clock, in nanoseconds.
    opened: AtomicU64,
}

/// What the ids of a record are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ids {
    /// Not known yet: they are asked for at the first enter.
    Unknown = 0,
    /// Final.
    Known = 1,
    /// Final: the span has none.
    None = 2,
    /// Not known yet, but the trace and its flags are: those of a remote parent.
    Remote = 3,
}

const CHUNK: usize = 1024;
/// The most spans that can be open at once: 1 Mi.
const CHUNKS: usize = 1024;

static CHUNK_TABLE: [OnceLock<Box<[Record]>>; CHUNKS] = [const { OnceLock::new() }; CHUNKS];
/// Numbers handed out so far; the first is 1.
static NEXT: AtomicU32 = AtomicU32::new(1);
/// The free list's head: the record's number in the low half, a change counter against ABA in the high half.
static FREE: AtomicU64 = AtomicU64::new(0);

impl RecordIndex {
    /// No span.
    pub(crate) const NONE: Self = Self(0);

    /// The record's number, for storage in an atomic.
    pub(crate) const fn to_u32(self) -> u32 {
        self.0
    }

    /// The record numbered `number`.
    pub(crate) const fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// Takes a free record; `None` when [`CHUNKS`] × [`CHUNK`] spans are open. Lock-free but for the first use of a chunk.
    pub(crate) fn take() -> Option<Self> {
        let mut head = FREE.load(Ordering::Acquire);
        while let Some(record) = Self(head as u32).get() {
            let next = u64::from(record.link.load(Ordering::Relaxed)) | bump(head);
            match FREE.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(Self(head as u32)),
                Err(now) => head = now,
            }
        }
        if NEXT.load(Ordering::Relaxed) as usize >= CHUNK * CHUNKS {
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let chunk = CHUNK_TABLE.get(number as usize / CHUNK)?;
        if chunk.get().is_none() {
            // Made first and then set, so that a thread is inside the cell for a moment only: a fork meanwhile would leave
            // it closed in the child for good.
            let _another_thread_was_faster = chunk.set((0..CHUNK).map(|_| Record::new()).collect());
        }
        Some(Self(number))
    }

    /// Gives the record back. Its span is closed: no thread publishes it any more.
    pub(crate) fn give_back(self) {
        let Some(record) = self.get() else { return };
        let mut head = FREE.load(Ordering::Relaxed);
        loop {
            record.link.store(head as u32, Ordering::Relaxed);
            let next = u64::from(self.0) | bump(head);
            match FREE.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// The record, if the number names one. Safe in a signal handler: two loads, no lock, no allocation.
    #[inline]
    pub(crate) fn get(self) -> Option<&'static Record> {
        if self.0 == 0 {
            return None;
        }
        CHUNK_TABLE.get(self.0 as usize / CHUNK)?.get()?.get(self.0 as usize % CHUNK)
    }
}

impl Record {
    const fn new() -> Self {
        Self {
            trace_id: [const { AtomicU64::new(0) }; 2],
            span_id: AtomicU64::new(0),
            status: AtomicU32::new(0),
            root_path: AtomicU32::new(0),
            root_id: AtomicU64::new(0),
            path: AtomicU32::new(0),
            link: AtomicU32::new(0),
            opened: AtomicU64::new(0),
        }
    }

    /// Starts a span of `path` inside the span of `parent`, now at `nanos`; its ids are not known yet.
    pub(crate) fn open(&self, path: SpanPath, parent: RecordIndex, nanos: u64) {
        self.opened.store(nanos, Ordering::Relaxed);
        self.link.store(parent.to_u32(), Ordering::Relaxed);
        self.path.store(path.to_u32(), Ordering::Relaxed);
        self.root_path.store(0, Ordering::Relaxed);
        self.root_id.store(0, Ordering::Relaxed);
        self.status.store(status(Ids::Unknown, TraceFlags::default()), Ordering::Release);
    }

    /// Settles the ids. Two threads may do so at once for one span; they store the same values.
    pub(crate) fn set_ids(&self, ids: SpanContext, root: (SpanId, SpanPath)) {
        self.set_trace_id(ids.trace_id);
        self.span_id.store(u64::from_ne_bytes(ids.span_id.to_bytes()), Ordering::Relaxed);
        self.root_id.store(u64::from_ne_bytes(root.0.to_bytes()), Ordering::Relaxed);
        self.root_path.store(root.1.to_u32(), Ordering::Relaxed);
        let known = if ids.is_valid() { Ids::Known } else { Ids::None };
        self.status.store(status(known, ids.flags), Ordering::Release);
    }

    /// Whether the ids still have to be asked for.
    #[inline]
    pub(crate) fn ids_unknown(&self) -> bool {
        let [ids, ..] = self.status.load(Ordering::Acquire).to_ne_bytes();
        ids == Ids::Unknown as u8 || ids == Ids::Remote as u8
    }

    /// Notes the trace of a remote parent, for when the ids are settled.
    pub(crate) fn set_remote(&self, parent: SpanContext) {
        self.set_trace_id(parent.trace_id);
        self.status.store(status(Ids::Remote, parent.flags), Ordering::Release);
    }

    /// The trace of the remote parent, and its flags, while the ids are not settled.
    pub(crate) fn remote(&self) -> Option<(TraceId, TraceFlags)> {
        let [ids, flags, ..] = self.status.load(Ordering::Acquire).to_ne_bytes();
        (ids == Ids::Remote as u8).then(|| (self.trace_id(), TraceFlags::from_u8(flags)))
    }

    /// The record of the enclosing span. It stays open as long as this one is.
    pub(crate) fn parent(&self) -> RecordIndex {
        RecordIndex::from_u32(self.link.load(Ordering::Relaxed))
    }

    /// When the span opened, on the monotonic clock, in nanoseconds.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// The span's path.
    #[inline]
    pub(crate) fn path(&self) -> SpanPath {
        SpanPath::from_u32(self.path.load(Ordering::Relaxed))
    }

    /// The span's ids; invalid while unknown or when it has none.
    pub(crate) fn ids(&self) -> SpanContext {
        let [valid, flags, ..] = self.status.load(Ordering::Acquire).to_ne_bytes();
        if valid != Ids::Known as u8 {
            return SpanContext::default();
        }
        SpanContext {
            trace_id: self.trace_id(),
            span_id: SpanId::from_bytes(self.span_id.load(Ordering::Relaxed).to_ne_bytes()),
            flags: TraceFlags::from_u8(flags),
        }
    }

    fn set_trace_id(&self, id: TraceId) {
        let id = id.to_bytes();
        let (high, low) = id.split_at(8);
        for (field, half) in self.trace_id.iter().zip([high, low]) {
            field.store(u64::from_ne_bytes(half.try_into().unwrap_or_default()), Ordering::Relaxed);
        }
    }

    fn trace_id(&self) -> TraceId {
        let mut id = [0; 16];
        for (bytes, field) in id.chunks_exact_mut(8).zip(&self.trace_id) {
            bytes.copy_from_slice(&field.load(Ordering::Relaxed).to_ne_bytes());
        }
        TraceId::from_bytes(id)
    }

    /// The local root's id and path.
    pub(crate) fn root(&self) -> (SpanId, SpanPath) {
        let id = SpanId::from_bytes(self.root_id.load(Ordering::Relaxed).to_ne_bytes());
        (id, SpanPath::from_u32(self.root_path.load(Ordering::Relaxed)))
    }

    /// The record as the words of a sample. Safe in a signal handler: loads of atomics only.
    #[inline]
    pub(crate) fn words(&self) -> [u64; RECORD_WORDS] {
        let status = self.status.load(Ordering::Acquire);
        let paths = u64::from(self.path.load(Ordering::Relaxed))
            | u64::from(self.root_path.load(Ordering::Relaxed)) << 32;
        [
            self.trace_id[0].load(Ordering::Relaxed),
            self.trace_id[1].load(Ordering::Relaxed),
            self.span_id.load(Ordering::Relaxed),
            self.root_id.load(Ordering::Relaxed),
            paths,
            u64::from(status),
        ]
    }
}

/// How many words a record takes in a sample.
pub(crate) const RECORD_WORDS: usize = 6;

/// The span context that [`Record::words`] stored in a sample.
pub(crate) fn context_of_words(words: &[u64; RECORD_WORDS]) -> super::SampleContext {
    let [high, low, span, root, paths, status] = *words;
    let [known, flags, ..] = (status as u32).to_ne_bytes();
    let mut context = super::SampleContext { span: SpanPath::from_u32(paths as u32), ..Default::default() };
    context.root = SpanPath::from_u32((paths >> 32) as u32);
    if known == Ids::Known as u8 {
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&high.to_ne_bytes());
        trace_id[8..].copy_from_slice(&low.to_ne_bytes());
        context.trace_id = TraceId::from_bytes(trace_id);
        context.span_id = SpanId::from_bytes(span.to_ne_bytes());
        context.root_id = SpanId::from_bytes(root.to_ne_bytes());
        context.flags = TraceFlags::from_u8(flags);
    }
    context
}

fn status(ids: Ids, flags: TraceFlags) -> u32 {
    u32::from_ne_bytes([ids as u8, flags.to_u8(), 0, 0])
}

/// The change counter of a free-list head, counted up.
const fn bump(head: u64) -> u64 {
    (head >> 32).wrapping_add(1) << 32
}
