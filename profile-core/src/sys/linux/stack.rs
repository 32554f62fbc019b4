//! Where a thread's stack lies. The unwinder reads only between these bounds.
//!
//! A thread that registers itself asks the C library. A thread found by the scan cannot be asked, and by the time a
//! signal runs on it, it is too late to call anything: but glibc keeps the answer in the thread's own control block, which
//! the thread pointer leads to. Where in it is not part of its interface, so the place is found once, by looking for known
//! values in the control blocks of threads whose bounds the library told (see [`Probe::calibrate`]).

use std::ops::Range;

/// The stack of the calling thread. Allocates: not for signal handlers.
pub(crate) fn of_this_thread() -> Option<Range<u64>> {
    attributes().map(|(stack, _)| stack)
}

/// The stack of the main thread, which grows on demand up to its limit.
pub(crate) fn of_main_thread() -> Option<Range<u64>> {
    // Bytes: the names of mapped files need not be text.
    let high = main_stack_end(&std::fs::read("/proc/self/maps").ok()?)?;
    // The kernel keeps everything from the stack pointer up mapped; the limit only bounds how far down that can be.
    Some(high.saturating_sub(growth_limit())..high)
}

/// Where the main thread's stack ends, of what `/proc/self/maps` says. Source: `proc_pid_maps(5)`.
pub(crate) fn main_stack_end(maps: &[u8]) -> Option<u64> {
    let line = maps.split(|byte| *byte == b'\n').find(|line| line.ends_with(b" [stack]"))?;
    let range = line.split(|byte| *byte == b' ').next()?;
    let (_, end) = std::str::from_utf8(range).ok()?.split_once('-')?;
    u64::from_str_radix(end, 16).ok()
}

fn growth_limit() -> u64 {
    const UNLIMITED: u64 = 1 << 30;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit to write to.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    if result == 0 { limit.rlim_cur.min(UNLIMITED) } else { UNLIMITED }
}

/// The calling thread's stack and the size of the guard below it.
fn attributes() -> Option<(Range<u64>, u64)> {
    // SAFETY: an all-zero pthread_attr_t is plain storage for pthread_getattr_np to initialise.
    let mut attr: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: the thread is the calling one, `attr` is storage for the result.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), &raw mut attr) } != 0 {
        return None;
    }
    let (mut low, mut size, mut guard) = (std::ptr::null_mut(), 0usize, 0usize);
    // SAFETY: `attr` was initialised above; the outputs are live locals. Destroyed once, after the last use.
    let ok = unsafe {
        let stack = libc::pthread_attr_getstack(&raw const attr, &raw mut low, &raw mut size);
        let guarded = libc::pthread_attr_getguardsize(&raw const attr, &raw mut guard);
        libc::pthread_attr_destroy(&raw mut attr);
        stack == 0 && guarded == 0
    };
    let low = low as u64;
    ok.then(|| (low..low.saturating_add(size as u64), guard as u64))
}

/// How to read a thread's stack bounds from its control block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Byte offset of the block's lowest address; its size is the next word.
    offset: u32,
}

/// How much of a control block is searched: less than glibc's `struct pthread` (2,304 bytes in glibc 2.36).
const SEARCHED: usize = 1800;

impl Probe {
    /// Finds the place by looking for the calling thread's known bounds. Only for a thread made by `pthread_create`;
    /// `None` on a C library that keeps them elsewhere. Allocates: not for signal handlers.
    pub(crate) fn calibrate() -> Option<Self> {
        let (stack, guard) = attributes()?;
        let block = thread_pointer()?;
        let place = (0..SEARCHED / 8 - 1).find(|i| {
            // SAFETY: `block` is the calling thread's own control block, which glibc makes larger than SEARCHED.
            let (low, size) = unsafe { (*block.add(*i), *block.add(*i + 1)) };
            // glibc counts the guard as part of the block; newer versions report the stack without it.
            let starts = low == stack.start || low == stack.start.wrapping_sub(guard);
            starts && size != 0 && low.wrapping_add(size) == stack.end
        })?;
        Some(Self { offset: u32::try_from(place * 8).ok()? })
    }

    /// The calling thread's stack. For signal handlers: reads three words of the thread's own control block.
    #[inline]
    pub(crate) fn read(self) -> Option<Range<u64>> {
        let block = thread_pointer()?;
        let place = self.offset as usize / 8;
        // SAFETY: the offset was found inside a control block, and every thread's block has the same layout.
        let (low, size) = unsafe { (*block.add(place), *block.add(place + 1)) };
        let high = low.checked_add(size)?;
        // The control block itself lies at the top of the stack it describes; anything else is not a stack we know.
        (low < block as u64 && (block as u64) < high).then_some(low..high)
    }

    /// The probe as a number that is not 0, for an atomic.
    pub(crate) const fn to_u32(self) -> u32 {
        self.offset + 1
    }

    /// The probe stored as `number`.
    pub(crate) const fn from_u32(number: u32) -> Option<Self> {
        match number.checked_sub(1) {
            Some(offset) => Some(Self { offset }),
            None => None,
        }
    }
}

/// The calling thread's control block, whose first word points to itself with glibc. No lazy thread-local storage is
/// touched.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn thread_pointer() -> Option<*const u64> {
    let pointer: *const u64;
    // SAFETY: %fs:0 is always readable on x86_64: the ABI stores the thread pointer there (psABI, 3.4.6).
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly)) };
    Some(pointer)
}

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
fn thread_pointer() -> Option<*const u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_finds_the_bounds_of_other_threads() {
        let probe = std::thread::spawn(Probe::calibrate).join().unwrap();
        if !cfg!(all(target_env = "gnu", target_arch = "x86_64")) {
            return assert_eq!(probe, None);
        }
        let probe = probe.unwrap();
        for size in [16 << 10, 64 << 10, 3 << 20] {
            let thread = std::thread::Builder::new().stack_size(size);
            let check = move || {
                let (told, found) = (of_this_thread().unwrap(), probe.read().unwrap());
                let local = &raw const size as u64;
                assert!(found.contains(&local) && found.end == told.end && found.start <= told.start);
            };
            thread.spawn(check).unwrap().join().unwrap();
        }
    }

    #[test]
    fn the_main_stack_is_found_in_the_maps() {
        let stack = of_main_thread().unwrap();
        assert!(stack.end > stack.start);
        let odd = b"1-2 r-xp 0 0:0 5 /a\xff\n7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0    [stack]\n";
        assert_eq!(main_stack_end(odd), Some(0x7ffc_0002_1000));
        for bad in [&b""[..], b" [stack]", b"- [stack]", b"1-zz [stack]", b"\xff-1 [stack]", b"12 [stack]"] {
            assert_eq!(main_stack_end(bad), None, "{bad:?}");
        }
    }
}
