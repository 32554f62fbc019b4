//! Code of the kinds that unwinders trip over.

use super::unwind_support;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::panic::{catch_unwind, resume_unwind};
use std::time::{Instant, SystemTime};

pub(crate) fn text_and_maps() {
    let text = "the quick brown fox jumps over the lazy dog, and 12 times 12 is 144; ".repeat(8);
    let mut words: HashMap<String, usize> = HashMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *words.entry(word.to_uppercase()).or_default() += word.parse::<usize>().unwrap_or(1);
    }
    let mut sorted: Vec<_> = words.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    black_box(format!("{sorted:?} {:.3}", 1.0 / sorted.len() as f64));
}

#[inline(never)]
fn fibonacci(n: u32) -> u64 {
    if black_box(n) < 2 { 1 } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

#[inline(never)]
fn deep(n: u32) -> u64 {
    let local = [u64::from(n); 9];
    if n == 0 { fibonacci(12) } else { black_box(local)[4] + deep(n - 1) }
}

pub(crate) fn recursion() {
    black_box(fibonacci(18));
    black_box(deep(300));
}

extern "C" fn compare(a: *const c_void, b: *const c_void) -> c_int {
    // SAFETY: `qsort` passes pointers to two elements of the array.
    let (a, b) = unsafe { (*a.cast::<u64>(), *b.cast::<u64>()) };
    a.cmp(&b) as c_int
}

fn qsort(count: u64) {
    let mut numbers: Vec<u64> = (0..count).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    // SAFETY: an array of `count` elements of 8 bytes, and a comparison of two of them.
    unsafe { libc::qsort(numbers.as_mut_ptr().cast(), numbers.len(), 8, Some(compare)) };
    black_box(numbers);
}

pub(crate) fn qsort_with_callback() {
    qsort(2000);
}

pub(crate) fn qsort_of_few() {
    qsort(24);
}

fn format(rounds: i32) {
    let mut text = [0; 128];
    for round in 0..rounds {
        // SAFETY: the buffer has 128 bytes, and the arguments are those that the format names.
        unsafe {
            let f = 1.1 * f64::from(round);
            libc::snprintf(text.as_mut_ptr(), 128, c"%d %s %f".as_ptr(), round, c"abc".as_ptr(), f)
        };
    }
    black_box(text);
}

fn copy(length: usize) {
    let mut bytes = vec![b'x'; length];
    let other = bytes.clone();
    bytes[length - 1] = 0;
    // SAFETY: both are `length` bytes long, and the string ends with its last byte.
    unsafe {
        black_box(libc::strlen(bytes.as_ptr().cast()));
        black_box(libc::memcmp(bytes.as_ptr().cast(), other.as_ptr().cast(), length - 1));
        libc::memset(bytes.as_mut_ptr().cast(), 65, length);
    }
    black_box(bytes);
}

pub(crate) fn memory_and_format() {
    copy(60_000);
    format(30);
}

pub(crate) fn format_once() {
    copy(300);
    format(2);
}

pub(crate) fn allocation() {
    allocate(500);
}

pub(crate) fn allocate_once() {
    allocate(30);
}

fn allocate(rounds: usize) {
    let mut boxes: Vec<Box<[u8]>> = Vec::new();
    for round in 0..rounds {
        boxes.push(vec![0; (round * 37) % 3000 + 1].into_boxed_slice());
        if round % 3 == 0 {
            boxes.swap_remove(round % boxes.len());
        }
    }
    black_box(boxes);
}

pub(crate) fn clock() {
    for _ in 0..100 {
        clock_once();
    }
}

pub(crate) fn clock_once() {
    black_box((Instant::now(), SystemTime::now()));
}

pub(crate) fn system_calls() {
    for _ in 0..100 {
        system_call_once();
    }
}

pub(crate) fn system_call_once() {
    let mut bytes = [0_u8; 512];
    // SAFETY: a read into a buffer of 512 bytes, from a descriptor of our own.
    unsafe {
        let zero = libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        black_box(libc::read(zero, bytes.as_mut_ptr().cast(), bytes.len()));
        black_box(libc::getppid());
        libc::close(zero);
    }
    black_box(bytes);
}

struct Noisy(u64);

impl Drop for Noisy {
    fn drop(&mut self) {
        self.0 += 1;
        black_box(self.0);
    }
}

#[inline(never)]
fn panic_deep(n: u64) {
    let _guard = Noisy(n);
    if n == 0 {
        resume_unwind(Box::new(1)); // as `panic!`, without the message
    }
    panic_deep(n - 1);
    black_box(n);
}

pub(crate) fn panics() {
    for _ in 0..10 {
        panic_once();
    }
}

pub(crate) fn panic_once() {
    assert!(catch_unwind(|| panic_deep(5)).is_err());
}

/// A C library built without frame pointers, loaded with `dlopen` and never closed.
pub(crate) struct CLibrary {
    descend: Descend,
}

type Descend = extern "C" fn(c_int, extern "C" fn(i64) -> i64, i64) -> i64;

impl CLibrary {
    pub(crate) fn call_back(&self) {
        black_box((self.descend)(25, called_back, 3));
    }
}

extern "C" fn called_back(x: i64) -> i64 {
    (0..200).fold(x, |sum, i| black_box(sum.wrapping_mul(31) + i))
}

const C_SOURCE: &str = r"
#include <string.h>
typedef long (*callback)(long);
/* A variable-length array makes the compiler address the frame in another way. */
long descend(int depth, callback call, long x) {
    char text[16 + (depth & 7) * 16];
    memset(text, (int)x, sizeof text);
    if (depth == 0) return call(x) + text[3];
    return (depth & 1 ? descend(depth - 1, call, x + 1) : 1 + descend(depth - 1, call, x * 3)) + text[depth & 15];
}
";

pub(crate) fn c_library() -> Result<CLibrary, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let library =
        unwind_support::c_library(directory.path(), "descend", C_SOURCE, &["-fomit-frame-pointer"])?;
    let handle = unwind_support::open(&library);
    // SAFETY: the handle is open and stays so; the function has this type.
    unsafe {
        let symbol = libc::dlsym(handle, c"descend".as_ptr());
        assert!(!symbol.is_null(), "the library has the function");
        Ok(CLibrary { descend: std::mem::transmute::<*mut c_void, Descend>(symbol) })
    }
}
