//! ZooKeeper's Jute records: the client protocol, the protocols between servers, txn records and path rules.
//!
//! Owns every byte that travels between a client and a server or between two servers, and every txn record that is logged or proposed. Decoding
//! borrows from the frame and is bounded by it: no length read from outside is allocated before the bytes behind it are
//! seen. It must never do I/O, know the tree, or panic on input. It fails with [`jute::DecodeError`]; the golden vectors in
//! `proto/vectors` (captured from the real server), the property tests and the fuzz targets would catch a mistake here.
//! Mirrors `zookeeper.jute` of ZooKeeper 3.9.
#![forbid(unsafe_code)]

pub mod acl;
pub mod connect;
pub mod election;
pub mod error_code;
mod extent;
#[doc(hidden)]
pub mod fuzz_targets;
pub mod ids;
pub mod jute;
mod multi;
pub mod opcode;
pub mod path;
pub mod quorum;
pub mod reply;
pub mod request;
pub mod stat;
mod text;
pub mod txn;
pub mod watch;

pub use acl::{Acl, AclRef, AclVec, Perms};
pub use error_code::ErrorCode;
pub use extent::Received;
pub use ids::{ConfigVersion, Epoch, LastZxid, ServerId, SessionId, Xid, Zxid};
pub use jute::{DecodeError, Reader, Writer};
pub use opcode::OpCode;
pub use stat::{Stat, StatPersisted};
pub use text::java_text;
