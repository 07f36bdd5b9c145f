//! Fuzz target: see `fuzz_entries::ipc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::ipc(data));
