//! `rkbench storage`: what storage costs. How long a start takes and what a tree takes of memory, what an image costs those who
//! write meanwhile, how many bytes are written for a changed one, and what a read of the image costs beside one of memory.
//!
//! Each figure starts servers of its own (`server`) on a tree that is filled once (`ground`), and writes a page of Markdown (`page`).
//! These are figures, never tests: nothing here has a limit of time, except that nothing waits for ever. `rkbench storage … --znodes 10000` takes
//! seconds and is run by the `bench-smoke` stage.

mod amplification;
mod ground;
mod image_pause;
mod lookup;
pub(crate) mod page;
mod restart;
pub(crate) mod server;

use clap::Subcommand;

use crate::error::Result;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Figure {
    /// Time from exec to the first served read, and memory, beside Java
    Restart(restart::RestartArgs),
    /// Latency of writes at a fixed rate while images are written, beside the same without
    ImagePause(image_pause::ImagePauseArgs),
    /// Bytes written by an image for each byte that was changed
    Amplification(amplification::AmplificationArgs),
    /// Reads per second from the image beside reads from memory
    Lookup(lookup::LookupArgs),
}

/// Measures and prints.
///
/// # Errors
/// [`crate::error::BenchError`]: a figure whose servers did not do what they should has no result.
pub(crate) fn run(figure: &Figure) -> Result<()> {
    match figure {
        Figure::Restart(args) => restart::run(args),
        Figure::ImagePause(args) => image_pause::run(args),
        Figure::Amplification(args) => amplification::run(args),
        Figure::Lookup(args) => lookup::run(args),
    }
}
