//! The deterministic cluster simulator: comes with the ensemble issue. Nothing of it is here yet.
#![forbid(unsafe_code)]
