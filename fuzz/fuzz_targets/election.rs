//! See `proto::fuzz_targets::election`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::fuzz_targets::election(data));
