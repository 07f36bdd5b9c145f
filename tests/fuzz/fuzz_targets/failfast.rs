//! Fuzz target: see `fuzz_entries::failfast`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::failfast(data));
