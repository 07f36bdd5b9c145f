//! Fuzz target: see `fuzz_entries::cib`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::cib(data));
