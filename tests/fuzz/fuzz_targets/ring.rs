//! Fuzz target: see `fuzz_entries::ring`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::ring(data));
