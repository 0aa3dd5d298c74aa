//! See `proto::fuzz_targets::quorum_packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::fuzz_targets::quorum_packet(data));
