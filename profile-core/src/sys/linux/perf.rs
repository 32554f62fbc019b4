//! CPU clock events of `perf_event_open(2)`: one for a thread, signalling that thread.
//!
//! Such an event is driven by a high-resolution timer while its thread runs, so it is not bound to the scheduler's tick. It
//! signals by `F_SETSIG`, with the number of its file in the signal's information, and takes no slot of the limit on
//! pending signals. Its files are closed on exec.
//!
//! Sources: `perf_event_open(2)`, Linux `include/uapi/linux/perf_event.h`, `fcntl(2)`.

use std::io;

/// `perf_event_attr` in its first version, `PERF_ATTR_SIZE_VER0`.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    bp_addr: u64,
}

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
const DISABLED: u64 = 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

// `_IO('$', 0)`, `_IO('$', 1)` and `_IOW('$', 4, u64)`.
const ENABLE: libc::Ioctl = 0x2400;
const DISABLE: libc::Ioctl = 0x2401;
const PERIOD: libc::Ioctl = 0x4008_2404;

const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

/// What is asked of `F_SETOWN_EX`.
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    id: libc::pid_t,
}

/// Makes an event that signals thread `tid` of this process with SIGPROF each time it has used `period_nanos` of CPU time,
/// in the kernel too if `with_kernel`. It is at rest until it is [enabled](enable). Returns its file.
///
/// # Errors
/// `EACCES` or `EPERM` when that is not permitted, `EMFILE` when there can be no more files, `ENOSYS` without `perf`.
pub(crate) fn open(tid: i32, period_nanos: u64, with_kernel: bool) -> io::Result<i32> {
    let attributes = Attributes {
        kind: PERF_TYPE_SOFTWARE,
        size: size_of::<Attributes>() as u32,
        config: PERF_COUNT_SW_CPU_CLOCK,
        sample_period: period_nanos.max(1),
        sample_type: 0,
        read_format: 0,
        flags: DISABLED | EXCLUDE_HYPERVISOR | if with_kernel { 0 } else { EXCLUDE_KERNEL },
        wakeup_events: 1,
        bp_type: 0,
        bp_addr: 0,
    };
    let (any_cpu, no_group): (libc::c_int, libc::c_int) = (-1, -1);
    // SAFETY: the kernel reads `size` bytes of a live local and keeps no pointer.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            tid,
            any_cpu,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    signal_to(fd, tid).inspect_err(|_| close(fd))?;
    Ok(fd)
}

/// Has the file `fd` signal thread `tid` with SIGPROF.
fn signal_to(fd: i32, tid: i32) -> io::Result<()> {
    let owner = Owner { kind: F_OWNER_TID, id: tid };
    // SAFETY: `fd` is a file of ours; `owner` is a live local of the type that F_SETOWN_EX reads.
    let results = unsafe {
        [
            libc::fcntl(fd, F_SETOWN_EX, &raw const owner),
            libc::fcntl(fd, F_SETSIG, libc::SIGPROF),
            libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC),
        ]
    };
    if results.contains(&-1) { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Starts an event.
pub(crate) fn enable(fd: i32) {
    // SAFETY: takes no pointer.
    unsafe { libc::ioctl(fd, ENABLE, 0) };
}

/// Lets the next signal come after `nanos` of CPU time from now. Safe in a signal handler: one system call, which takes no
/// lock of this process.
pub(crate) fn set_next(fd: i32, nanos: u64) {
    // SAFETY: the kernel reads the number and keeps no pointer.
    unsafe { libc::ioctl(fd, PERIOD, &raw const nanos) };
}

/// Ends an event. A signal already on its way may still arrive.
pub(crate) fn close(fd: i32) {
    // Forked children may hold the file as well, and keep the event; so it is stopped first.
    // SAFETY: takes no pointer.
    unsafe { libc::ioctl(fd, DISABLE, 0) };
    abandon(fd);
}

/// In a forked child: closes an inherited event's file, and leaves the event to the parent. Safe after a fork.
pub(crate) fn abandon(fd: i32) {
    // SAFETY: the caller owns the file and does not use it any more.
    unsafe { libc::close(fd) };
}

/// How many files this process may have open; the lower limit of the two.
pub(crate) fn file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to a live local.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result == 0 { limit.rlim_cur } else { 0 }
}

/// What the kernel's setting says about who may use `perf`, for a message.
pub(crate) fn paranoid() -> String {
    let setting = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    match setting.trim() {
        "" => "kernel.perf_event_paranoid cannot be read".to_owned(),
        level => format!("kernel.perf_event_paranoid is {level}"),
    }
}
