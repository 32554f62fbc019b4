//! Interrupts a thread and compares the two unwinders in the handler.
#![allow(dead_code)] // each program that includes it uses a part

use super::unwind_support::{install, own_stack};
use framehop::{
    CacheNative, ExplicitModuleSectionInfo, MustNotAllocateDuringUnwind, Unwinder, UnwinderNative,
};
use profile_core::collector::StackEnd;
use profile_core::modules::{Module, ModuleList};
use profile_core::unwind::{Registers, StackBounds, UnwindTables, loaded_modules};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least shares that a workload must reach.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) complete: f64,
    pub(crate) same: f64,
}

pub(crate) const STRICT: Limits = Limits { complete: 0.995, same: 0.995 };
/// While the unwinder of the language runs, it rewrites the very stack that we walk.
pub(crate) const PANICS: Limits = Limits { complete: 0.97, same: 0.97 };

const MAX_FRAMES: usize = 512;
const SAMPLES: usize = 1000;
const STEPS: usize = 12_000;
/// Hard stop on a machine that is too busy. The least number of samples is asserted all the same.
const DEADLINE: Duration = Duration::from_secs(60);

type Framehop = UnwinderNative<&'static [u8], MustNotAllocateDuringUnwind>;
type FramehopCache = CacheNative<MustNotAllocateDuringUnwind>;

/// Interrupts `work` with a timer until enough samples are taken, on a thread of its own.
pub(crate) fn compare(name: &str, limits: Limits, work: impl Fn() + Sync) {
    on_a_thread(|| compare_here(name, limits, &work));
}

/// The same on the calling thread.
pub(crate) fn compare_here(name: &str, limits: Limits, work: impl Fn()) {
    in_session(name, limits, SAMPLES, |session| {
        install(libc::SIGPROF, on_timer, libc::SA_RESTART);
        let timer = Timer::start(libc::SIGPROF, Duration::from_micros(700));
        let begun = Instant::now();
        while session.samples.load(Ordering::Relaxed) < SAMPLES && begun.elapsed() < DEADLINE {
            work();
        }
        drop(timer);
    });
}

/// Interrupts threads that somebody else starts: `run` gets what each calls at its start and at its end, and a question
/// that answers whether there are samples enough. One thread at a time.
pub(crate) fn compare_others(name: &str, limits: Limits, run: impl FnOnce(fn(), fn(), &dyn Fn() -> bool)) {
    in_session(name, limits, SAMPLES, |session| {
        install(libc::SIGPROF, on_timer, libc::SA_RESTART);
        let begun = Instant::now();
        let is_over = || session.samples.load(Ordering::Relaxed) >= SAMPLES || begun.elapsed() >= DEADLINE;
        run(thread_starts, thread_ends, &is_over);
    });
}

thread_local! {
    static TIMER: Cell<Option<Timer>> = const { Cell::new(None) };
}

fn thread_starts() {
    // SAFETY: the session lives until `run` is over, and with it the thread.
    let session = unsafe { SESSION.load(Ordering::SeqCst).as_ref() };
    session.expect("a session").set_bounds(own_stack());
    TIMER.set(Some(Timer::start(libc::SIGPROF, Duration::from_micros(700))));
}

fn thread_ends() {
    TIMER.set(None);
}

/// Traps after every instruction of `work`, which is run again until enough are seen, or for 8 times.
pub(crate) fn compare_every_instruction(name: &str, limits: Limits, work: impl Fn() + Sync) {
    // The shortest of these (a clock read) has some 200 instructions.
    let name = format!("every instruction of {name}");
    on_a_thread(|| in_session(&name, limits, 1000, |session| step_through(session, &work)));
}

fn step_through(session: &Session, work: impl Fn()) {
    install(libc::SIGTRAP, on_trap, 0);
    // Once beforehand: the lazy binding of a C library's own calls goes through a resolver in the loader that addresses
    // its frame by rbx, which neither unwinder follows. It runs once for each function.
    work();
    let begun = Instant::now();
    for _ in 0..8 {
        STEPPING.store(true, Ordering::SeqCst);
        // SAFETY: raises SIGTRAP, whose handler sets the trap flag.
        unsafe { std::arch::asm!("int3") };
        work();
        STEPPING.store(false, Ordering::SeqCst); // the next trap clears the flag
        if session.samples.load(Ordering::Relaxed) >= STEPS || begun.elapsed() > DEADLINE {
            break;
        }
    }
}

fn on_a_thread(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(16 << 20).spawn_scoped(scope, run);
        thread.expect("a thread").join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// All that the handler uses, prepared before the first signal.
struct Session {
    tables: UnwindTables,
    framehop: Framehop,
    /// The handler's alone; one handler runs at a time.
    cache: *mut FramehopCache,
    ours: *mut [u64; MAX_FRAMES],
    theirs: *mut [u64; MAX_FRAMES],
    /// The lower and the upper bound of the sampled thread's stack.
    bounds: [AtomicU64; 2],
    samples: AtomicUsize,
    complete: AtomicUsize,
    framehop_complete: AtomicUsize,
    same: AtomicUsize,
    ends: [AtomicUsize; 5],
    /// The first difference: both stacks, written once, read after the last signal.
    first_difference: *mut Difference,
}

/// Arrays, because a handler must not allocate.
struct Difference {
    seen: bool,
    registers: Registers,
    end: StackEnd,
    ours: [u64; MAX_FRAMES],
    theirs: [u64; MAX_FRAMES],
}

static SESSION: AtomicPtr<Session> = AtomicPtr::new(ptr::null_mut());
static STEPPING: AtomicBool = AtomicBool::new(false);
/// One session at a time: signal handlers belong to the process.
static TURN: Mutex<()> = Mutex::new(());

fn in_session(name: &str, limits: Limits, least: usize, run: impl FnOnce(&Session)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let modules = loaded_modules(&ModuleList::default());
    let tables = UnwindTables::compile(&modules, None);
    let session = Box::into_raw(Box::new(Session::new(tables, framehop_of(&modules))));
    SESSION.store(session, Ordering::SeqCst);
    // SAFETY: only freed below, after the last signal.
    run(unsafe { &*session });
    SESSION.store(ptr::null_mut(), Ordering::SeqCst);
    // SAFETY: handlers run on this thread only, so none is in flight; the pointer is the box's.
    unsafe { Box::from_raw(session) }.report(name, limits, least, &modules);
}

impl Session {
    fn new(tables: UnwindTables, framehop: Framehop) -> Self {
        Self {
            tables,
            framehop,
            cache: Box::into_raw(Box::new(FramehopCache::default())),
            ours: Box::into_raw(Box::new([0; MAX_FRAMES])),
            theirs: Box::into_raw(Box::new([0; MAX_FRAMES])),
            bounds: [own_stack().low, own_stack().high].map(AtomicU64::new),
            samples: AtomicUsize::new(0),
            complete: AtomicUsize::new(0),
            framehop_complete: AtomicUsize::new(0),
            same: AtomicUsize::new(0),
            ends: Default::default(),
            first_difference: Box::into_raw(Box::new(Difference {
                seen: false,
                registers: Registers::default(),
                end: StackEnd::NotReady,
                ours: [0; MAX_FRAMES],
                theirs: [0; MAX_FRAMES],
            })),
        }
    }

    fn bounds(&self) -> StackBounds {
        let [low, high] = self.bounds.each_ref().map(|bound| bound.load(Ordering::SeqCst));
        StackBounds { low, high }
    }

    fn set_bounds(&self, StackBounds { low, high }: StackBounds) {
        self.bounds[0].store(low, Ordering::SeqCst);
        self.bounds[1].store(high, Ordering::SeqCst);
    }

    /// Takes one sample, in the signal handler.
    fn sample(&self, registers: Registers) {
        // SAFETY: allocated in `new`, used by the handler alone, which does not nest.
        let (ours, theirs) = unsafe { (&mut *self.ours, &mut *self.theirs) };
        let mut count = 0;
        // SAFETY: the registers are those of this thread, whose whole stack is mapped.
        let end = unsafe {
            self.tables.walk(registers, self.bounds(), MAX_FRAMES, &mut |address| {
                ours[count] = address;
                count += 1;
                true
            })
        };
        let (their_count, they_are_complete) = self.walk_with_framehop(registers, theirs);
        let (ours, theirs) = (&ours[..count], &theirs[..their_count]);
        let same = ours == theirs;
        let ends_alike = they_are_complete && ours.last() == theirs.last();
        self.samples.fetch_add(1, Ordering::Relaxed);
        self.ends[end as usize].fetch_add(1, Ordering::Relaxed);
        self.complete.fetch_add(usize::from(end == StackEnd::Complete && ends_alike), Ordering::Relaxed);
        self.framehop_complete.fetch_add(usize::from(they_are_complete), Ordering::Relaxed);
        self.same.fetch_add(usize::from(same), Ordering::Relaxed);
        // SAFETY: as above.
        let first = unsafe { &mut *self.first_difference };
        if !same && !first.seen {
            (first.seen, first.registers, first.end) = (true, registers, end);
            first.ours[..count].copy_from_slice(ours);
            first.theirs[..their_count].copy_from_slice(theirs);
        }
    }

    fn walk_with_framehop(&self, registers: Registers, frames: &mut [u64]) -> (usize, bool) {
        let Registers { pc, sp, fp, .. } = registers;
        let bounds = self.bounds();
        let mut read = |address: u64| {
            let inside = address >= sp - 128 && address < bounds.high && address.is_multiple_of(8);
            // SAFETY: inside this thread's stack.
            if inside { Ok(unsafe { read_word(address) }) } else { Err(()) }
        };
        // SAFETY: allocated in `new`, used by the handler alone.
        let cache = unsafe { &mut *self.cache };
        let start = framehop::x86_64::UnwindRegsX86_64::new(pc, sp, fp);
        let mut walk = self.framehop.iter_frames(pc, start, cache, &mut read);
        let mut count = 0;
        loop {
            match walk.next() {
                Ok(Some(frame)) if count < frames.len() => {
                    frames[count] = frame.address_for_lookup();
                    count += 1;
                }
                Ok(None) => return (count, true),
                _ => return (count, false),
            }
        }
    }

    fn report(&self, name: &str, limits: Limits, least: usize, modules: &ModuleList) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let samples = count(&self.samples);
        let share = |counter: &AtomicUsize| count(counter) as f64 / samples.max(1) as f64;
        let (complete, same) = (share(&self.complete), share(&self.same));
        eprintln!(
            "{name}: {samples} samples, complete {:.2} %, framehop {:.2} %, same frames {:.2} %, ends {:?}",
            100.0 * complete,
            100.0 * share(&self.framehop_complete),
            100.0 * same,
            self.ends.iter().map(count).collect::<Vec<_>>(),
        );
        // SAFETY: the last signal is over.
        let first = unsafe { &*self.first_difference };
        if first.seen {
            first.print(modules);
        }
        assert!(samples >= least, "{name}: only {samples} samples");
        assert!(complete >= limits.complete, "{name}: complete {complete}");
        assert!(same >= limits.same, "{name}: same frames {same}");
    }
}

impl Difference {
    fn print(&self, modules: &ModuleList) {
        let place = |address: &u64| match modules.find(*address) {
            Some(module) => format!("{}+{:#x}", module.path, address - module.bias),
            None => format!("{address:#x}"),
        };
        let from = self.ours.iter().zip(&self.theirs).take_while(|(a, b)| a == b).count().saturating_sub(2);
        let places = |frames: &[u64]| {
            frames
                .iter()
                .skip(from)
                .take(6)
                .take_while(|address| **address != 0)
                .map(place)
                .collect::<Vec<_>>()
        };
        eprintln!(
            "  first difference, from frame {from}: {:x?} ends {:?}\n  ours   {:?}\n  theirs {:?}",
            self.registers,
            self.end,
            places(&self.ours),
            places(&self.theirs)
        );
    }
}

extern "C" fn on_timer(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the session is alive while the timer is; the context is the kernel's.
    unsafe {
        let errno = *libc::__errno_location();
        if let Some(session) = SESSION.load(Ordering::SeqCst).as_ref() {
            session.sample(Registers::from_ucontext(context));
        }
        *libc::__errno_location() = errno;
    }
}

extern "C" fn on_trap(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    const TRAP_FLAG: i64 = 0x100;
    // SAFETY: the context is the kernel's; the session is alive while instructions are stepped through.
    unsafe {
        let flags = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_EFL as usize];
        if !STEPPING.load(Ordering::SeqCst) {
            *flags &= !TRAP_FLAG;
            return;
        }
        *flags |= TRAP_FLAG;
        let errno = *libc::__errno_location();
        if let Some(session) = SESSION.load(Ordering::SeqCst).as_ref() {
            // Once there are enough, the rest of a long piece of code runs through unseen.
            if session.samples.load(Ordering::Relaxed) < 4 * STEPS {
                session.sample(Registers::from_ucontext(context));
            }
        }
        *libc::__errno_location() = errno;
    }
}

/// Reads a word of this thread's stack; as an instruction, which an address sanitizer leaves alone.
///
/// # Safety
///
/// The word is mapped.
unsafe fn read_word(address: u64) -> u64 {
    let word;
    // SAFETY: the caller promises that the memory can be read.
    unsafe { std::arch::asm!("mov {word}, [{address}]", address = in(reg) address, word = out(reg) word) };
    word
}

/// A timer that signals the thread which made it.
struct Timer(libc::timer_t);

impl Timer {
    fn start(signal: c_int, period: Duration) -> Self {
        let period = libc::timespec { tv_sec: 0, tv_nsec: i64::from(period.subsec_nanos()) };
        let times = libc::itimerspec { it_interval: period, it_value: period };
        let mut timer = ptr::null_mut();
        // SAFETY: all pointers are to locals of the right types.
        unsafe {
            let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
            assert_eq!(libc::timer_settime(timer, 0, &times, ptr::null_mut()), 0);
        }
        Self(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours, and a signal that is still pending is handled before the call returns.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn framehop_of(modules: &ModuleList) -> Framehop {
    let mut unwinder = Framehop::new();
    for module in &modules.modules {
        if let Some(module) = framehop_module(module) {
            unwinder.add_module(module);
        }
    }
    unwinder
}

/// The module as framehop wants it: it reads the sections in place.
fn framehop_module(module: &Module) -> Option<framehop::Module<&'static [u8]>> {
    let bias = module.bias;
    let header = module.eh_frame_hdr.clone()?;
    // SAFETY: the header is mapped, and none of the modules of this test is ever unloaded.
    let bytes = |range: &std::ops::Range<u64>| unsafe {
        std::slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize)
    };
    let header_bytes = bytes(&header);
    assert_eq!(header_bytes[..2], [1, 0x1b], "{}: version 1, pcrel sdata4", module.path);
    let relative = i32::from_ne_bytes(header_bytes[4..8].try_into().unwrap());
    let start = header.start.wrapping_add(4).wrapping_add_signed(i64::from(relative));
    let segment = module.segments.iter().find(|segment| segment.range.contains(&start))?;
    let eh_frame = start..segment.range.end;
    let info = ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: Some(module.text.start - bias..module.text.end - bias),
        eh_frame_svma: Some(eh_frame.start - bias..eh_frame.end - bias),
        eh_frame: Some(bytes(&eh_frame)),
        eh_frame_hdr_svma: Some(header.start - bias..header.end - bias),
        eh_frame_hdr: Some(header_bytes),
        ..Default::default()
    };
    Some(framehop::Module::new(module.path.to_string(), module.text.clone(), bias, info))
}
