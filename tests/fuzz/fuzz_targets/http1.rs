//! See `spanlet_fuzz::http1`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| spanlet_fuzz::http1::run(input));
