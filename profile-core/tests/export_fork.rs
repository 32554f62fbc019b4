//! A forked child has the processor but not its threads. The only test of its process, since it forks.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.
#![allow(unsafe_code)] // fork, waitpid, alarm and _exit

mod export_support;

use export_support::{PATIENCE, account, processor, profile};
use profile_core::error::ErrorKind;
use profile_core::export::{FileExporter, ProfileProcessor};
use profile_core::stats::Stats;

#[test]
fn a_forked_child_neither_waits_nor_delivers() {
    let temporary = tempfile::tempdir().unwrap();
    let exporter = FileExporter::builder().with_directory(temporary.path()).build().unwrap();
    let stats = Stats::new();
    let processor = processor(&stats)
        .with_batch_size(2)
        .with_batch_timeout(PATIENCE * 10)
        .with_exporter(exporter)
        .build()
        .unwrap();
    processor.on_profile(profile(0));
    // SAFETY: the child only does what is under test, which is to work in a forked child, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no arguments that could be wrong. It ends a child that hangs, with a status that is not 0.
        unsafe { libc::alarm(3) };
        processor.on_profile(profile(1));
        let flushed = processor.force_flush(PATIENCE).is_err_and(|error| error.kind() == ErrorKind::Stopped);
        let down = processor.shutdown(PATIENCE).is_ok();
        drop(processor);
        // SAFETY: it never returns, and so runs nothing of the test's.
        unsafe { libc::_exit(if flushed && down { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `status` lives through the call, which writes nothing else.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child's status");

    // The parent goes on as if nothing had happened.
    processor.on_profile(profile(2));
    processor.shutdown(PATIENCE).unwrap();
    assert_eq!(account(&stats, 0).exported, 2);
}
