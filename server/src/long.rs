//! Makes replies that take long, so that neither a shard nor the core waits for them: [`engine::shard::LongRead`].
//!
//! Owns two threads that do nothing else, and the way back to the shards. They are apart from the cold readers, since one long read may last as long
//! as thousands of those. First come, first served: each shard has at most two under way for a client's address, and keeps the others waiting itself
//! (`engine/src/shard/places.rs`). So the queue is bounded, and no more than two of another client's come from a shard before anybody's own. Those whose
//! connection has gone are passed over. They never take the tree's lock. A disk that cannot read stops the server, with the file's name.
//! `tests/tests/laws/long.rs` lists while another writes.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crate::rt::step_back;
use crossbeam::channel::{Receiver, Sender, unbounded};
use engine::shard::LongRead;
use engine::stream::ConnId;
use std::sync::Arc;

/// Replies made at the same time. More would take the processor from those that others wait for.
const THREADS: usize = 2;

/// Behind the shards and the core, which have something short to do.
const LONG_NICE: i32 = 5;

/// Where shards ask for long replies.
#[derive(Clone, Debug)]
pub struct LongReads {
    asked: Sender<Asked>,
}

#[derive(Debug)]
struct Asked {
    shard: usize,
    conn: ConnId,
    read: LongRead,
}

impl LongReads {
    /// A handle for the shards, and what each of the threads runs. They end when the last shard has let go of its handle.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> (LongReads, [LongReader; THREADS]) {
        let (asked, receiver) = unbounded();
        let reader = || LongReader { hub: Arc::clone(hub), asked: receiver.clone() };
        (LongReads { asked }, [reader(), reader()])
    }

    /// Asks for a connection's long reply. The shard hears by [`crate::hub::ShardLink::take_answered`].
    pub fn ask(&self, shard: usize, conn: ConnId, read: LongRead) {
        let sent = self.asked.send(Asked { shard, conn, read });
        assert!(sent.is_ok(), "the threads live as long as this");
    }
}

/// What one of the threads runs.
#[derive(Debug)]
pub struct LongReader {
    hub: Arc<Hub>,
    asked: Receiver<Asked>,
}

impl LongReader {
    /// Makes what is asked for, until nobody can ask any more.
    pub fn run(self) {
        step_back(LONG_NICE);
        for Asked { shard, conn, read } in self.asked {
            pass_gate();
            match read.answer() {
                Ok(reply) => {
                    if let Some(link) = self.hub.shards.get(shard) {
                        link.put_answered(conn, reply);
                        link.ring();
                    }
                }
                // The server ends, but not before others have asked for more.
                Err(error) => self.hub.fail_image(&error),
            }
        }
    }
}

/// Where tests hold up a reply (feature `fault-injection`, which no release has): at the FIFO that `RINGKEEPER_LONG_GATE` names. Who has opened it
/// for writing knows that a reply is to be made, and that it is not before he has closed it. `tests/tests/durability/long.rs` uses it.
#[cfg(feature = "fault-injection")]
fn pass_gate() {
    if let Some(gate) = std::env::var_os("RINGKEEPER_LONG_GATE") {
        // Where it has gone there is nothing to wait for.
        let _nobody_holds_it = std::fs::read(gate);
    }
}

#[cfg(not(feature = "fault-injection"))]
const fn pass_gate() {}
