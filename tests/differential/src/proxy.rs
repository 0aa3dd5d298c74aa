//! Plants differences.
