//! What one session has been told, and what it may therefore be told next: the check of laws 5 and 6 on every frame.

use client::{Event, Incoming, ReplyFrame};
use proto::reply::Reply;
use proto::request::{ReadRequest, Request, SetDataRequest};
use proto::watch::{EventType, NO_ZXID};
use proto::{OpCode, Xid, Zxid};
use std::collections::BTreeMap;
use std::collections::VecDeque;

/// What a request was, for when its reply comes.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// getData; with a watch or without.
    Get { path: String, watch: bool },
    /// setData.
    Set { path: String },
    /// Anything whose reply shows no state.
    Other,
}

/// The knowledge of one session about znodes that are never deleted, by their data version.
#[derive(Debug, Default)]
pub(crate) struct Eye {
    /// Data watches of which the client knows that they stand, with the version that their registration showed.
    pub(crate) armed: BTreeMap<String, i32>,
    /// Requests without a reply.
    pub(crate) sent: VecDeque<Sent>,
    /// The newest zxid of a reply's header on this connection.
    header: Zxid,
    /// The newest zxid of an event on this connection.
    event: Zxid,
    /// Events and replies seen.
    pub(crate) events: usize,
    pub(crate) replies: usize,
}

impl Eye {
    /// Another connection begins: what was in flight is unknown, what was learned stays.
    pub(crate) fn reconnected(&mut self, last_zxid: Zxid) {
        self.sent.clear();
        self.header = last_zxid;
        self.event = Zxid::ZERO;
    }

    /// The request to send for `sent`.
    pub(crate) fn request(sent: &Sent) -> Request<'_> {
        match sent {
            Sent::Get { path, watch } => Request::GetData(ReadRequest { path, watch: *watch }),
            Sent::Set { path } => Request::SetData(SetDataRequest { path, data: Some(b"x"), version: -1 }),
            Sent::Other => Request::Sync("/"),
        }
    }

    /// Checks whatever has come.
    pub(crate) fn see(&mut self, incoming: &Incoming) {
        match incoming {
            Incoming::Event(event) => self.see_event(event),
            Incoming::Reply(reply) => self.see_reply(reply),
        }
    }

    fn see_event(&mut self, event: &Event) {
        assert_eq!(event.kind(), Some(EventType::NodeDataChanged), "{event:?}");
        let before = self.armed.remove(&event.path);
        assert!(before.is_some(), "law 5: the event came before the reply that registered its watch: {event:?}");
        self.events += 1;
        if event.zxid == NO_ZXID {
            // Fired by setWatches itself.
            return;
        }
        assert!(event.zxid >= self.event, "law 5: events out of zxid order: {event:?} after {:?}", self.event);
        assert!(
            event.zxid > self.header,
            "law 6: a header said {:?} before the event of {:?} was sent: setWatches would lose it",
            self.header,
            event.zxid
        );
        self.event = event.zxid;
    }

    fn see_reply(&mut self, reply: &ReplyFrame) {
        if reply.header.xid == Xid::AUTH {
            return;
        }
        self.replies += 1;
        assert!(
            reply.header.zxid >= self.header,
            "law 6: a header's zxid fell from {:?} to {:?} ({:?})",
            self.header,
            reply.header.zxid,
            reply.op
        );
        self.header = reply.header.zxid;
        if reply.header.xid == Xid::PING {
            return;
        }
        let sent = self.sent.pop_front().expect("replies answer requests");
        let (path, stat, watch) = match (sent, reply.record().unwrap()) {
            (Sent::Get { path, watch }, Reply::DataStat(_, stat)) => (path, stat, watch),
            (Sent::Set { path }, Reply::Stat(stat)) => (path, stat, false),
            (Sent::Other, _) => return,
            (sent, _) => panic!("{:?} does not answer {sent:?}", reply.op),
        };
        assert!(stat.mzxid <= reply.header.zxid, "law 6: the header is smaller than the state shown: {reply:?}");
        if let Some(registered) = self.armed.get(&path) {
            assert_eq!(
                stat.version, *registered,
                "law 5: a reply ({:?}) shows a change of {path} whose event has not come",
                reply.op
            );
        }
        if watch {
            self.armed.insert(path, stat.version);
        }
    }
}

/// The opcode that a setWatches request has.
pub(crate) fn is_set_watches(reply: &ReplyFrame) -> bool {
    reply.op == OpCode::SetWatches
}
