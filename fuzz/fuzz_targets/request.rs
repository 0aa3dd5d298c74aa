//! See `proto::fuzz_targets::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::fuzz_targets::request(data));
