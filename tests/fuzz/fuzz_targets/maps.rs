#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    profile_core::unwind::fuzzing::proc_files(bytes);
    profile_core::profile::fuzzing::maps(bytes);
});
