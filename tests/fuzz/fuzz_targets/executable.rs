//! See `spanlet_fuzz::executable`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| spanlet_fuzz::executable::run(input));
