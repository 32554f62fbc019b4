#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| profile_core::unwind::fuzzing::elf(bytes));
