//! See `proto::fuzz_targets::watcher_event`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::fuzz_targets::watcher_event(data));
