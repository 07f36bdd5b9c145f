//! Fuzz target: see `fuzz_entries::order`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::order(data));
