//! Reads in what requests need of the image and is not in memory, so that no shard waits for the disk.
//!
//! Owns a few threads that do nothing else, and the way back to the shards. At most one part is asked for by a connection, so the queues are bounded by
//! their number. A disk that cannot read stops the server, with the file's name; a reader that touched the page would have died of it.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crossbeam::channel::{Receiver, Sender, unbounded};
use engine::stream::ConnId;
use engine::tree::Cold;
use std::sync::Arc;

/// Reads at the same time: enough to keep a disk busy, few beside the shards.
const THREADS: usize = 4;

/// Where shards ask for parts of the image.
#[derive(Clone, Debug)]
pub struct ColdReads {
    asked: Sender<Asked>,
}

#[derive(Debug)]
struct Asked {
    shard: usize,
    conn: ConnId,
    cold: Cold,
}

impl ColdReads {
    /// A handle for the shards, and what each of the threads runs. They end when the last shard has let go of its handle.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> (ColdReads, [ColdReader; THREADS]) {
        let (asked, receiver) = unbounded();
        let reader = || ColdReader { hub: Arc::clone(hub), asked: receiver.clone() };
        (ColdReads { asked }, [reader(), reader(), reader(), reader()])
    }

    /// Asks for what a connection's next request needs. The shard hears by [`crate::hub::ShardLink::take_brought_in`].
    pub fn ask(&self, shard: usize, conn: ConnId, cold: Cold) {
        let sent = self.asked.send(Asked { shard, conn, cold });
        assert!(sent.is_ok(), "the threads live as long as this");
    }
}

/// What one of the threads runs.
#[derive(Debug)]
pub struct ColdReader {
    hub: Arc<Hub>,
    asked: Receiver<Asked>,
}

impl ColdReader {
    /// Reads what is asked for, until nobody can ask any more.
    pub fn run(self) {
        for Asked { shard, conn, cold } in self.asked {
            if let Err(error) = cold.bring_in() {
                self.hub.fail_image(&error);
                return;
            }
            if let Some(link) = self.hub.shards.get(shard) {
                link.put_brought_in(conn);
                link.ring();
            }
        }
    }
}
