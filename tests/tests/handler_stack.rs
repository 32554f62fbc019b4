//! How much stack the signal handler needs. Threads have as little as 8 KiB for signals, of which the kernel's own frame
//! takes some 3.4 KiB on a processor with AVX-512.
#![allow(clippy::unwrap_used, clippy::print_stdout, unsafe_code)] // A test that installs a signal stack of its own.

use profile_layer::Profiler;
use profile_tests::clock::burn;
use std::time::Duration;

const SIZE: usize = 64 << 10;
const FILL: u8 = 0xA5;

/// Burns CPU on a thread whose signals run on `stack`, and returns how many bytes of it were used.
fn used_by_signals(stack: &mut [u8]) -> usize {
    stack.fill(FILL);
    let ours = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    let mut before = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: the memory outlives its use: the former stack is put back below, before this function returns.
    assert_eq!(unsafe { libc::sigaltstack(&raw const ours, &raw mut before) }, 0);
    burn(Duration::from_millis(700)).unwrap();
    // SAFETY: `before` is what the thread had until now.
    assert_eq!(unsafe { libc::sigaltstack(&raw const before, std::ptr::null_mut()) }, 0);
    stack.len() - stack.iter().take_while(|byte| **byte == FILL).count()
}

#[test]
fn the_handler_fits_a_small_signal_stack() {
    let profiler = Profiler::builder().with_frequency(997).build().unwrap();
    // The first samples may be taken before the unwind tables are ready, and need less.
    burn(Duration::from_millis(300)).unwrap();
    let used = std::thread::spawn(|| used_by_signals(&mut vec![0; SIZE])).join().unwrap();
    // SAFETY: no pointers are involved.
    let kernel = usize::try_from(unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) }).unwrap();
    println!("{used} bytes of the signal stack were used; the kernel's frame takes up to {kernel}");
    assert!(used > 0, "no signal arrived");
    assert!(used < 8192 - 1024, "{used} bytes of a stack that may have 8192");
    profiler.shutdown().unwrap();
}
