//! See `proto::fuzz_targets::path_validate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::fuzz_targets::path_validate(data));
