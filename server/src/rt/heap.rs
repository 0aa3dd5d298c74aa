//! Gives memory that the allocator holds and nobody uses back to the kernel.
#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "a function of the allocator's"))]

/// Asks the allocator to give back whatever whole pages it can. Others that allocate wait meanwhile, some milliseconds a GiB: only for when
/// memory is short.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: glibc's function may be called at any time from any thread; it takes the allocator's own locks, and touches no memory that
        // is in use.
        let _given_back = unsafe { libc::malloc_trim(0) };
    }
}
