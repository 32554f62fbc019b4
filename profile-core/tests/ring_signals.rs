//! The sample ring with real signals: a thread writes records without a pause, two timers interrupt it wherever it is,
//! their handlers write into the same ring, and may interrupt each other; another thread reads.
//!
//! The ring lies in fresh mapped memory, as in the profiler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // the door of this test: a mapping, timers and a signal handler

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};
use std::thread;
use std::time::{Duration, Instant};

use profile_core::ring::{Record, Ring};

/// Small, so that it wraps and fills up all the time.
const WORDS: usize = 512;
const DEADLINE: Duration = Duration::from_millis(2_500);
/// Interrupted records after which it is enough.
const ENOUGH: u64 = 5_000;

/// Who writes: the thread itself and the two handlers. Also the tag of their records, and the kind of their drops.
const THREAD: usize = 0;
const PROF: usize = 1;
const ALARM: usize = 2;
const SOURCES: usize = 3;

/// All zero bytes are a valid value: it lies in a fresh mapping.
#[repr(C)]
struct Shared {
    ring: Ring<WORDS>,
    /// Records tried so far by each source: the next record's number.
    tried: [AtomicU64; SOURCES],
    /// How many producers are inside of a record.
    open: AtomicU64,
    /// Records by the number of those they interrupted.
    interrupted: [AtomicU64; SOURCES],
    done: AtomicBool,
}

#[test]
fn every_record_arrives_whole_in_order_or_is_counted() {
    let shared = Shared::mapped();
    let mut checks: [Check; SOURCES] = Default::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let timers =
                [Timer::start(libc::SIGPROF, 23_000, shared), Timer::start(libc::SIGALRM, 37_000, shared)];
            let start = Instant::now();
            while start.elapsed() < DEADLINE && shared.interrupted[1].load(Ordering::Relaxed) < ENOUGH {
                for _ in 0..100 {
                    if !shared.produce(THREAD) {
                        thread::yield_now(); // let the consumer make room
                    }
                }
            }
            drop(timers);
            shared.done.store(true, Ordering::Release);
        });
        loop {
            let last = shared.done.load(Ordering::Acquire);
            let mut consumer = shared.ring.consumer().expect("the only one");
            let drained = consumer.drain(|record| checks[record.tag() as usize].record(record));
            assert_eq!(drained.corrupt_words, 0);
            for (kind, check) in checks.iter_mut().enumerate() {
                let dropped = consumer.take_dropped(kind);
                check.dropped += dropped.records;
                check.dropped_numbers += dropped.weight;
            }
            if last {
                break;
            }
        }
    });
    for (check, tried) in checks.iter().zip(&shared.tried) {
        check.finish(tried.load(Ordering::Relaxed));
    }
    let [_, once, twice] = shared.interrupted.each_ref().map(|count| count.load(Ordering::Relaxed));
    println!("{checks:?}; inside of one other record: {once}, of two: {twice}");
    assert!(once >= 20, "only {once} signals came inside of a record: this tested nothing");
}

impl Shared {
    /// Never unmapped: a signal may be late.
    fn mapped() -> &'static Self {
        // SAFETY: a fresh private anonymous mapping has no other users; the result is checked before use.
        let memory = unsafe {
            let (access, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(ptr::null_mut(), size_of::<Self>(), access, kind, -1, 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        // SAFETY: the mapping is page-aligned, large enough, never unmapped, and zero; `Shared` and the ring are made
        // of atomics, for which zero bytes are a valid value.
        unsafe { &*memory.cast::<Self>() }
    }

    /// Writes the next record of a source, or counts its refusal and returns `false`. Runs in signal handlers: it uses atomics only, and of the ring what
    /// is made for handlers.
    fn produce(&self, source: usize) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        self.interrupted[open as usize % SOURCES].fetch_add(1, Ordering::Relaxed);
        self.open.store(open + 1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let number = self.tried[source].fetch_add(1, Ordering::Relaxed);
        let reserved = self.ring.reserve(24);
        let has_room = reserved.is_some();
        if let Some(mut record) = reserved {
            for word in payload(source as u32, number) {
                record.push(word);
            }
            record.commit(source as u32);
        } else {
            self.ring.count_dropped(source, number);
        }
        compiler_fence(Ordering::SeqCst);
        self.open.store(open, Ordering::Relaxed);
        has_room
    }
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid `info`. Only a timer's value is our pointer.
    let shared = unsafe {
        if (*info).si_code != libc::SI_TIMER {
            return;
        }
        // The value is the `&'static Shared` that `Timer::start` gave to the timer.
        &*(*info).si_value().sival_ptr.cast::<Shared>()
    };
    shared.produce(if signal == libc::SIGPROF { PROF } else { ALARM });
}

/// A timer that signals the thread that started it.
struct Timer(libc::timer_t);

impl Timer {
    fn start(signal: c_int, nanoseconds: i64, shared: &'static Shared) -> Self {
        let every = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
        let interval = libc::itimerspec { it_interval: every, it_value: every };
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: zero is a valid value of the two structs, whose relevant fields are then set; the handler has the
        // signature that SA_SIGINFO asks for; all pointers are valid during the calls.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            assert_eq!(libc::sigaction(signal, &raw const action, ptr::null_mut()), 0);
            let mut event: libc::sigevent = mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            event.sigev_value.sival_ptr = ptr::from_ref(shared).cast_mut().cast();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
            assert_eq!(libc::timer_settime(timer, 0, &raw const interval, ptr::null_mut()), 0);
        }
        Self(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer was created by `start` and is deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// The number itself, then up to 15 words that depend on it.
fn payload(source: u32, number: u64) -> impl Iterator<Item = u64> {
    let mix = move |i: u64| (number << 8 | u64::from(source) << 4 | i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    std::iter::once(number).chain((0..mix(0) >> 60).map(mix))
}

/// What has been seen of one source.
#[derive(Debug, Default)]
struct Check {
    received: u64,
    received_numbers: u64,
    dropped: u64,
    dropped_numbers: u64,
    next: u64,
}

impl Check {
    fn record(&mut self, record: Record<'_, WORDS>) {
        let number = record.get(0).unwrap_or(u64::MAX);
        assert!(number >= self.next, "{number} after {}", self.next);
        assert!(record.words().eq(payload(record.tag(), number)), "torn: {record:?}");
        self.next = number + 1;
        self.received += 1;
        self.received_numbers += number;
    }

    fn finish(&self, tried: u64) {
        assert_eq!(self.received + self.dropped, tried, "records");
        assert_eq!(self.received_numbers + self.dropped_numbers, tried * (tried - 1) / 2, "which ones");
        assert!(self.received > 0, "none of {tried} found room");
    }
}
