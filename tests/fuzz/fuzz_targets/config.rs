//! See `spanlet_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| spanlet_fuzz::config::run(input));
