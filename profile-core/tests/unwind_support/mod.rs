//! What the tests of the unwinder share: signal handlers, stack bounds, C libraries, and skips that are seen.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // test helpers; no file uses all of them

use profile_core::unwind::StackBounds;
use std::ffi::{CString, c_int, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::Command;
use std::{env, fs, ptr};

/// The type of a handler installed with `SA_SIGINFO`.
pub(crate) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

pub(crate) fn install(signal: c_int, handler: Handler, flags: c_int) {
    // SAFETY: a zeroed action is an empty one; the handler has the type that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
    }
}

/// The bounds of the calling thread's stack.
pub(crate) fn own_stack() -> StackBounds {
    // SAFETY: a zeroed attribute object is filled by the call and freed once.
    unsafe {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed().assume_init();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &mut attributes), 0);
        let (mut low, mut size) = (ptr::null_mut(), 0);
        assert_eq!(libc::pthread_attr_getstack(&attributes, &mut low, &mut size), 0);
        libc::pthread_attr_destroy(&mut attributes);
        StackBounds { low: low as u64, high: low as u64 + size as u64 }
    }
}

/// Compiles `source` to the shared library `lib<name>.so` in `directory`; an error says why that cannot be done here.
pub(crate) fn c_library(
    directory: &Path,
    name: &str,
    source: &str,
    flags: &[&str],
) -> Result<String, String> {
    if cfg!(target_feature = "crt-static") {
        return Err("a statically linked program cannot load libraries".to_owned());
    }
    let (file, library) = (directory.join(format!("{name}.c")), directory.join(format!("lib{name}.so")));
    fs::write(&file, source).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(&compiler);
    match command.args(["-O2", "-shared", "-fPIC", "-o"]).args([&library, &file]).args(flags).status() {
        Ok(status) if status.success() => Ok(library.to_string_lossy().into_owned()),
        Ok(status) => Err(format!("{compiler} answers {status}")),
        Err(error) => Err(format!("no C compiler: {compiler}: {error}")),
    }
}

pub(crate) fn open(library: &str) -> *mut c_void {
    let path = CString::new(library).unwrap();
    // SAFETY: the libraries of these tests have no constructors of their own.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "{library} cannot be loaded");
    handle
}

// By its path: the program of tests/unwind-oracle, which is built many times, shall build little.
#[path = "../../../tests/support/src/skip.rs"]
mod skip;
#[allow(unused_imports)] // not every test program skips
pub(crate) use skip::skip as skipped;
