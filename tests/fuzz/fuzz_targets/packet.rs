//! Fuzz target: see `fuzz_entries::packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::packet(data));
