//! Histories written by hand.
#![allow(dead_code, reason = "not every test binary uses all of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::wrong_self_convention, reason = "tests")]

pub(crate) mod reference;

use ringkeeper_sim::check::{self, Violation};
use ringkeeper_sim::history::{
    Answer, ClientId, Code, Event, FinalNode, History, Op, PartAnswer, ServerId, SessionId, Stat, Told, TxnKind, Xid,
    Zxid,
};

/// A history that grows line by line. Zxids are counters of epoch 1.
#[derive(Default)]
pub(crate) struct Script(pub(crate) History);

pub(crate) const fn z(counter: u64) -> Zxid {
    Zxid((1 << 32) | counter)
}

impl Script {
    pub(crate) fn new() -> Script {
        Script::default()
    }

    pub(crate) fn event(mut self, event: Event) -> Script {
        self.0.push(0, event);
        self
    }

    pub(crate) fn connected(self, client: u32, session: i64) -> Script {
        self.event(Event::Connected { client: ClientId(client), session: SessionId(session), server: None })
    }

    pub(crate) fn connected_to(self, client: u32, session: i64, server: u64) -> Script {
        let server = Some(ServerId(server));
        self.event(Event::Connected { client: ClientId(client), session: SessionId(session), server })
    }

    pub(crate) fn ask(self, client: u32, xid: i64, op: Op) -> Script {
        self.event(Event::Ask { client: ClientId(client), xid: Xid(xid), op })
    }

    pub(crate) fn reply(self, client: u32, xid: i64, zxid: u64, err: i32, answer: Answer) -> Script {
        self.event(Event::Reply { client: ClientId(client), xid: Xid(xid), zxid: z(zxid), err: Code(err), answer })
    }

    /// A request and its reply, which says nothing but its zxid.
    pub(crate) fn call(self, client: u32, xid: i64, op: Op, zxid: u64) -> Script {
        self.ask(client, xid, op).reply(client, xid, zxid, 0, Answer::default())
    }

    /// A request that fails.
    pub(crate) fn fails(self, client: u32, xid: i64, op: Op, zxid: u64, err: i32) -> Script {
        self.ask(client, xid, op).reply(client, xid, zxid, err, Answer::default())
    }

    /// A read of data.
    pub(crate) fn reads(self, client: u32, xid: i64, path: &str, zxid: u64, data: &str) -> Script {
        self.ask(client, xid, get(path)).reply(client, xid, zxid, 0, says(data))
    }

    /// A getData that leaves a watch.
    pub(crate) fn watches(self, client: u32, xid: i64, path: &str, zxid: u64) -> Script {
        let op = Op::Get { path: path.to_owned(), watch: true };
        self.call(client, xid, op, zxid)
    }

    pub(crate) fn hears(self, client: u32, told: Told, path: &str, zxid: Option<u64>) -> Script {
        self.event(Event::Watch { client: ClientId(client), told, path: path.to_owned(), zxid: zxid.map(z) })
    }

    pub(crate) fn lost(self, client: u32) -> Script {
        self.event(Event::Lost { client: ClientId(client) })
    }

    pub(crate) fn expired(self, client: u32) -> Script {
        self.event(Event::Expired { client: ClientId(client), server: None })
    }

    pub(crate) fn leads(self, server: u64, epoch: u64) -> Script {
        self.event(Event::Leads { server: ServerId(server), epoch })
    }

    pub(crate) fn started(self, server: u64, zxid: u64, digest: u64) -> Script {
        self.event(Event::Started { server: ServerId(server), zxid: z(zxid), digest: Some(digest) })
    }

    pub(crate) fn applied(self, server: u64, zxid: u64, session: i64, xid: i64, kind: TxnKind, digest: u64) -> Script {
        self.applied_at(server, z(zxid), session, xid, kind, digest)
    }

    pub(crate) fn applied_at(
        self,
        server: u64,
        zxid: Zxid,
        session: i64,
        xid: i64,
        kind: TxnKind,
        digest: u64,
    ) -> Script {
        let (server, session, xid) = (ServerId(server), SessionId(session), Xid(xid));
        self.event(Event::Applied { server, zxid, session, xid, kind, hash: Some(zxid.0), digest: Some(digest) })
    }

    pub(crate) fn ends_with(self, server: u64, zxid: u64, nodes: Vec<FinalNode>, sessions: Option<&[i64]>) -> Script {
        let sessions = sessions.map(|all| all.iter().copied().map(SessionId).collect());
        self.event(Event::Final { server: ServerId(server), zxid: z(zxid), nodes, sessions })
    }

    /// All checkers are content.
    #[track_caller]
    pub(crate) fn is_right(self) {
        if let Some(violation) = check::check(&self.0).first() {
            panic!("a right history is refused: {}", violation.in_full(&self.0));
        }
    }

    /// This checker refuses it, with a message that has these words, and names these lines (from 1). No other checker is asked.
    #[track_caller]
    pub(crate) fn is_refused(self, checker: &str, words: &str, lines: &[usize]) {
        let (_, check) = check::ALL.iter().find(|(name, _)| *name == checker).expect("a checker of that name");
        let violation: Violation = check(&self.0).expect_err("a wrong history");
        assert_eq!(violation.checker, checker);
        let full = violation.in_full(&self.0);
        assert!(full.contains(words), "{full}");
        assert_eq!(violation.lines.iter().map(|at| at.0 + 1).collect::<Vec<_>>(), lines, "{full}");
    }
}

pub(crate) fn create(path: &str, data: &str) -> Op {
    Op::Create { path: path.to_owned(), data: data.to_owned(), ephemeral: false, sequential: false }
}

pub(crate) fn ephemeral(path: &str) -> Op {
    Op::Create { path: path.to_owned(), data: String::new(), ephemeral: true, sequential: false }
}

pub(crate) fn sequential(path: &str) -> Op {
    Op::Create { path: path.to_owned(), data: String::new(), ephemeral: false, sequential: true }
}

pub(crate) fn set(path: &str, data: &str) -> Op {
    Op::Set { path: path.to_owned(), data: data.to_owned(), version: -1 }
}

pub(crate) fn delete(path: &str) -> Op {
    Op::Delete { path: path.to_owned(), version: -1 }
}

pub(crate) fn get(path: &str) -> Op {
    Op::Get { path: path.to_owned(), watch: false }
}

pub(crate) fn exists(path: &str, watch: bool) -> Op {
    Op::Exists { path: path.to_owned(), watch }
}

pub(crate) fn children(path: &str, watch: bool) -> Op {
    Op::Children { path: path.to_owned(), watch }
}

pub(crate) fn sync() -> Op {
    Op::Sync { path: "/".to_owned() }
}

pub(crate) fn multi(ops: &[Op]) -> Op {
    Op::Multi { ops: ops.to_vec() }
}

pub(crate) fn says(data: &str) -> Answer {
    Answer { data: Some(data.to_owned()), ..Answer::default() }
}

pub(crate) fn lists(names: &[&str]) -> Answer {
    Answer { names: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..Answer::default() }
}

pub(crate) fn shows(stat: Stat) -> Answer {
    Answer { stat: Some(stat), ..Answer::default() }
}

pub(crate) fn named(path: &str) -> Answer {
    Answer { path: Some(path.to_owned()), ..Answer::default() }
}

pub(crate) fn results(codes: &[i32]) -> Answer {
    let part = |code: &i32| PartAnswer { err: Code(*code), path: None, stat: None };
    Answer { results: Some(codes.iter().map(part).collect()), ..Answer::default() }
}

/// The Stat of a znode without children that was created and last set by these.
pub(crate) fn stat(created: u64, set: u64, version: i32, owner: i64) -> Stat {
    let (czxid, mzxid, pzxid) = (z(created), z(set), z(created));
    Stat { czxid, mzxid, pzxid, version, cversion: 0, owner: SessionId(owner), children: 0 }
}

pub(crate) fn node(path: &str, data: &str, stat: Stat) -> FinalNode {
    FinalNode { path: path.to_owned(), data: data.to_owned(), stat }
}
