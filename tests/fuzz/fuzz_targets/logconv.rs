//! Fuzz target: see `fuzz_entries::logconv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::logconv(data));
