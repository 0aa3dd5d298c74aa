//! Whether the test runs under AddressSanitizer: there a part has to do, since it looks for wrong accesses in a build without
//! optimisation, and the whole is done without it.

/// See the module.
pub(crate) fn is_on() -> bool {
    std::env::var_os("ASAN_OPTIONS").is_some()
}
