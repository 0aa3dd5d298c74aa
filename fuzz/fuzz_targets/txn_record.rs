//! See `proto::fuzz_targets::txn_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::fuzz_targets::txn_record(data));
