//! The allocator's settings.
//!
//! The server's allocator is jemalloc (`main.rs`): what an image takes the place of is freed by another thread than the one that allocated it, and
//! glibc keeps such memory for good (measured: 182 MB of 182 stay after an image, with jemalloc 33 of 157). Libraries and tests keep the
//! system's, so that sanitizers see them.
#![expect(unsafe_code, reason = "a symbol of the name that jemalloc looks for")]

/// What jemalloc reads at its start: threads of its own give unused pages back, within a second or so, and nobody who allocates waits for that.
// SAFETY: jemalloc declares it `const char *`; this is a pointer to bytes that end in 0, never changed, and no other symbol has the name.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static SETTINGS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";
