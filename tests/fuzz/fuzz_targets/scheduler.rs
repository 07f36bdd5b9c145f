//! Fuzz target: see `fuzz_entries::scheduler`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::scheduler(data));
