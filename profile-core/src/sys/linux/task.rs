//! The threads of this process, as the kernel lists them.

use std::fs;
use std::io;

/// The kernel's id of the calling thread.
pub(crate) fn current() -> i32 {
    // SAFETY: no arguments, always succeeds.
    unsafe { libc::gettid() }
}

/// The ids of all threads of the process.
pub(crate) fn list() -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc/self/task")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// When the thread started, in clock ticks since boot: with the id it names one thread for good, since ids are reused.
/// Source: `proc_pid_stat(5)`, field 22.
pub(crate) fn start_time(tid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/self/task/{tid}/stat")).ok()?;
    // The second field, the name, is in parentheses and may hold anything, so count from the last one.
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}
