//! Fuzz target: see `fuzz_entries::validate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::validate(data));
