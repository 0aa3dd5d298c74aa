//! A small ZooKeeper client over `proto`: for the load generator, the tools and the end-to-end tests.
//!
//! Two layers. [`Connection`] is one TCP connection, blocking, with a deadline on every read and write: it pipelines, checks
//! the order of the replies strictly, and gives raw access to frames both ways. [`Session`] is a session that outlives its
//! connections: a thread reads, pings, reconnects to a list of servers and restores watches. Both have the typed operations of
//! [`Operations`].
//!
//! It owns no protocol bytes (they are `proto`'s) and must never contain server code, nor wait without a bound. It fails with
//! [`ClientError`]. `tests/misbehaving_servers.rs` holds it against scripted servers that break the protocol, and
//! `tests/session_survives_its_connections.rs` against servers that go away.
#![forbid(unsafe_code)]

mod admin;
mod codec;
mod connection;
mod error;
mod incoming;
mod lists;
mod operations;
mod session;
mod watches;

pub use admin::four_letter_word;
pub use codec::{FRAME_BYTES_MAX_DEFAULT, FrameBuffer, FrameError, encode_request};
pub use connection::{ConnectOptions, Connection};
pub use error::{ClientError, Result};
pub use incoming::{Event, Incoming, ReplyFrame};
pub use lists::{AclList, PathList};
pub use operations::{MultiResult, Operations};
pub use session::{PendingReply, Session, SessionEvent, SessionOptions};
