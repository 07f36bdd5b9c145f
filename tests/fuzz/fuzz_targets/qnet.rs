//! Fuzz target: see `fuzz_entries::qnet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::qnet(data));
