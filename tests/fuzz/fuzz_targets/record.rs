//! See `spanlet_fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| spanlet_fuzz::record::run(input));
