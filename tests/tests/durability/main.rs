//! A reply follows the completion of a durable write that covers it. `kill -9` cannot show this: the page cache outlives the process.
//!
//! Seven parts, each with what it shows and what it does not, for both places where the core can live:
//! - [`calls`]: the system calls, by `strace`. Between a client's request and its reply the log was written, in this order.
//! - [`entries`]: the entries in the log's ring, read out of the running server's memory: each write was submitted as a durable one.
//! - [`eio`]: a log that fails ends the server, and nothing that it may have lost is acknowledged.
//! - [`full`]: a disk without room for the next segment loses nothing, and stops nobody from reading.
//! - [`image`]: neither does a disk without room for an image.
//! - [`held`]: a file system that holds a submitted write back also holds back its reply, and nothing else.
//! - [`long`]: a long listing is under way when the server stops, when its log fails, and when its session moves.
//!
//! That a device keeps its promise behind such a write is the kernel's affair and not tested.

mod calls;
mod eio;
mod entries;
mod full;
mod held;
mod image;
mod long;
