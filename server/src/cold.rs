//! Reads in what requests need of the image and is not in memory, so that no shard waits for the disk.
//!
//! Owns a few threads that do nothing else, and the way back to the shards. At most one part is asked for by a connection, and one list of sessions whose
//! ends come near by the core, so the queue is bounded by their number. A disk that cannot read stops the server, with the file's name; a reader that touched the page would have died of it.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crossbeam::channel::{Receiver, Sender, unbounded};
use engine::stream::ConnId;
use engine::tree::Cold;
use proto::SessionId;
use proto::request::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Reads at the same time: enough to keep a disk busy, few beside the shards.
const THREADS: usize = 4;

/// Where shards ask for parts of the image.
#[derive(Clone, Debug)]
pub struct ColdReads {
    asked: Sender<Asked>,
    /// A list of sessions waits or is worked on.
    ends_under_way: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Asked {
    /// What this connection's next request needs.
    ForRequest { shard: usize, conn: ConnId, cold: Cold },
    /// What the ends of these sessions need. Nobody waits for it.
    ForEnds(Vec<SessionId>),
}

/// How often it is looked what the end of a session needs: its ephemerals' paths come first, then they themselves.
const LOOKS_MAX: usize = 3;

impl ColdReads {
    /// A handle for the shards, and what each of the threads runs. They end when the core and the last shard have let go of their handles.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> (ColdReads, [ColdReader; THREADS]) {
        let (asked, receiver) = unbounded();
        let ends_under_way = Arc::<AtomicBool>::default();
        let under_way = || Arc::clone(&ends_under_way);
        let reader = || ColdReader { hub: Arc::clone(hub), asked: receiver.clone(), ends_under_way: under_way() };
        (ColdReads { asked, ends_under_way: under_way() }, [reader(), reader(), reader(), reader()])
    }

    /// Asks for what a connection's next request needs. The shard hears by [`crate::hub::ShardLink::take_brought_in`].
    pub fn ask(&self, shard: usize, conn: ConnId, cold: Cold) {
        let sent = self.asked.send(Asked::ForRequest { shard, conn, cold });
        assert!(sent.is_ok(), "the threads live as long as this");
    }

    /// Asks for what the ends of the next sessions will touch, unless others are still worked on: requests go first, and the next sessions stay the
    /// next. Nobody hears of it. The core alone calls this.
    pub fn ask_for_ends(&self, next: impl FnOnce() -> Vec<SessionId>) {
        if self.ends_under_way.load(Ordering::Acquire) {
            return;
        }
        let sessions = next();
        if sessions.is_empty() {
            return;
        }
        self.ends_under_way.store(true, Ordering::Release);
        let sent = self.asked.send(Asked::ForEnds(sessions));
        assert!(sent.is_ok(), "the threads live as long as this");
    }
}

/// What one of the threads runs.
#[derive(Debug)]
pub struct ColdReader {
    hub: Arc<Hub>,
    asked: Receiver<Asked>,
    ends_under_way: Arc<AtomicBool>,
}

impl ColdReader {
    /// Reads what is asked for, until nobody can ask any more.
    pub fn run(self) {
        for asked in &self.asked {
            let done = match &asked {
                Asked::ForRequest { cold, .. } => cold.bring_in(),
                Asked::ForEnds(sessions) => {
                    let done = sessions.iter().try_for_each(|session| self.bring_in_for_end(*session));
                    self.ends_under_way.store(false, Ordering::Release);
                    done
                }
            };
            if let Err(error) = done {
                // The server ends, but not before others have asked for more.
                self.hub.fail_image(&error);
                continue;
            }
            if let Asked::ForRequest { shard, conn, .. } = asked
                && let Some(link) = self.hub.shards.get(shard)
            {
                link.put_brought_in(conn);
                link.ring();
            }
        }
    }

    fn bring_in_for_end(&self, session: SessionId) -> Result<(), snapshot::Error> {
        for _ in 0..LOOKS_MAX {
            let cold = self.hub.read_tree().cold_for(session, &Request::CloseSession);
            let Some(cold) = cold else { break };
            cold.bring_in()?;
        }
        Ok(())
    }
}
