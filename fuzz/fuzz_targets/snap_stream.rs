//! See `proto::fuzz_targets::snap_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::fuzz_targets::snap_stream(data));
