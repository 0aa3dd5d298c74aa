//! See `proto::fuzz_targets::connect_response`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::fuzz_targets::connect_response(data));
