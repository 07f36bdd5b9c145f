//! Fuzz target: see `fuzz_entries::conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::conf(data));
