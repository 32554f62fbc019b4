//! Code that switches stacks under the profiler: fibers, of which neither the C library nor the profiler knows.
#![allow(unsafe_code)] // the switching

use crate::harness::{Watched, length, pass};
use crate::work::spin;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const STACK: usize = 64 << 10;
static OVER: AtomicBool = AtomicBool::new(false);
static SWITCHES: AtomicU64 = AtomicU64::new(0);

/// A thread's own context and that of its fiber.
struct Pair {
    home: UnsafeCell<MaybeUninit<libc::ucontext_t>>,
    fiber: UnsafeCell<MaybeUninit<libc::ucontext_t>>,
}

pub(crate) fn switching() {
    let watched = Watched::start();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let _span = tracing::info_span!("fibers").entered();
                one_thread();
            });
        }
        pass(length());
        OVER.store(true, Ordering::Relaxed);
    });
    let figures = watched.finish();
    println!("{} switches", SWITCHES.load(Ordering::Relaxed));
    figures.check(0.9);
    // Of the two threads' time: on a crowded machine much of the rest is the profiler's own.
    let all = figures.of(|row| row.span == "fibers");
    let at_home = figures.of(|row| row.mentions("storms::fibers::at_home"));
    assert!(at_home > all / 10, "{at_home:?} of {all:?} on the threads' own stacks");
    // On a fiber the leaf is known, the callers are not: one place in the program, however many functions are inlined there.
    let leaves =
        |row: &crate::harness::Row| row.span == "fibers" && !row.mentions("storms::fibers::one_thread");
    let on_fibers = figures.of(|row| leaves(row) && row.mentions("storms::work::spin"));
    assert!(on_fibers > all / 10, "{on_fibers:?} of {all:?} on fibers");
    let whole = figures.of(|row| row.mentions("storms::fibers::on_fiber") && row.mentions("one_thread"));
    assert_eq!(whole, std::time::Duration::ZERO, "a fiber's stack does not lead to its thread's");
    assert!(figures.stats.broken_stacks > 0);
}

fn one_thread() {
    let pair =
        Pair { home: UnsafeCell::new(MaybeUninit::zeroed()), fiber: UnsafeCell::new(MaybeUninit::zeroed()) };
    // Leaked: it is a few of them, and unmapping under a fiber would be another test.
    let stack = Box::leak(vec![0u8; STACK].into_boxed_slice());
    let (home, fiber) = (pair.home.get().cast(), pair.fiber.get().cast::<libc::ucontext_t>());
    let address = (&raw const pair).expose_provenance();
    // SAFETY: getcontext fills the context that makecontext then changes; the stack is not used for anything else and lives
    // for ever; the entry takes two ints, the halves of the pair's address, and the pair outlives the fiber, which never
    // returns but is left for good at the end.
    unsafe {
        assert_eq!(libc::getcontext(fiber), 0);
        (*fiber).uc_stack.ss_sp = stack.as_mut_ptr().cast();
        (*fiber).uc_stack.ss_size = STACK;
        (*fiber).uc_link = ptr::null_mut();
        let entry = std::mem::transmute::<extern "C" fn(u32, u32), extern "C" fn()>(on_fiber);
        libc::makecontext(fiber, entry, 2, address as u32, (address >> 32) as u32);
    }
    while !OVER.load(Ordering::Relaxed) {
        at_home();
        // SAFETY: both contexts were filled, and only this thread uses them.
        assert_eq!(unsafe { libc::swapcontext(home, fiber) }, 0);
        SWITCHES.fetch_add(1, Ordering::Relaxed);
    }
}

#[inline(never)]
fn at_home() {
    spin(8_000);
    SWITCHES.fetch_add(0, Ordering::Relaxed);
}

extern "C" fn on_fiber(low: u32, high: u32) {
    let address = low as usize | (high as usize) << 32;
    // SAFETY: the address of the pair of the thread that runs this fiber, which waits in swapcontext with the pair alive.
    let pair = unsafe { &*ptr::with_exposed_provenance::<Pair>(address) };
    loop {
        spin(8_000);
        // SAFETY: as in `one_thread`.
        assert_eq!(unsafe { libc::swapcontext(pair.fiber.get().cast(), pair.home.get().cast()) }, 0);
    }
}
