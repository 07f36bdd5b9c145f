//! Fuzz target: see `fuzz_entries::qdisk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::qdisk(data));
