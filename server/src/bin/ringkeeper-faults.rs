//! The server with faults of the disk, gates on demand and epochs that end soon (feature `fault-injection`), under a name of its own so that it never
//! passes for the server: for `tests/tests/durability/eio.rs` and `long.rs`, and `tests/tests/ensemble/mixed/rollover.rs` alone.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[path = "../main.rs"]
mod ringkeeper;

fn main() -> ExitCode {
    ringkeeper::main()
}
