//! The turn loop of the consensus core, for production and simulation (`docs/decisions/005`).
//!
//! | module | what it is |
//! |---|---|
//! | [`Core`] | the loop |
//! | [`Host`] | what it needs of the world |
//! | [`LinkTable`] | the connections on the quorum port, as bytes |
//! | [`wire`] | the peer's messages, as packets |
//! | [`LogItem`], [`LogDone`] | what goes to the log, and what comes back |

mod core;
mod host;
mod links;
mod log;
pub mod sync;
pub mod wire;

pub use core::{Core, Note};
pub use host::{ElectionEvent, Host, Planted, Shown, SyncProgress, Taken, TreeLock};
pub use links::{LinkEvent, LinkLimits, LinkLoss, LinkTable, Unread};
pub use log::{LogDone, LogItem};
