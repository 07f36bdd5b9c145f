//! Fuzz target: see `fuzz_entries::rings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::rings(data));
