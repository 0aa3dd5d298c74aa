//! What a line of a history says.
//!
//! Owns the words and their form in JSON alone. It names nothing of the server's crates, so that a checker cannot share their mistakes, and a
//! program in any language can write it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A client: one session handle of one process. It has one connection at a time, and one session after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u32);

/// A server's id (`myid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerId(pub u64);

/// A session's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub i64);

/// A request's number. Used once in a session, but for setWatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Xid(pub i64);

/// A zxid: the epoch in the high 32 bits, the counter in the low ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zxid(pub u64);

impl Zxid {
    /// The epoch.
    #[must_use]
    pub const fn epoch(self) -> u64 {
        self.0 >> 32
    }

    /// The counter within the epoch.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.0 & 0xffff_ffff
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// ZooKeeper's error code, as it stands in a reply's header; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub i32);

impl Code {
    /// No error.
    pub const OK: Code = Code(0);
    /// In a failed multi: an operation after the failing one.
    pub const RUNTIME_INCONSISTENCY: Code = Code(-2);
    /// A path that no znode can have, or the root where it may not stand.
    pub const BAD_ARGUMENTS: Code = Code(-8);
    /// The znode is not there.
    pub const NO_NODE: Code = Code(-101);
    /// The znode has another version.
    pub const BAD_VERSION: Code = Code(-103);
    /// An ephemeral has no children.
    pub const NO_CHILDREN_FOR_EPHEMERALS: Code = Code(-108);
    /// The znode is there already.
    pub const NODE_EXISTS: Code = Code(-110);
    /// The znode has children.
    pub const NOT_EMPTY: Code = Code(-111);
    /// A session that its server alone knows has no ephemerals.
    pub const EPHEMERAL_ON_LOCAL_SESSION: Code = Code(-120);

    /// May a request with this error have been refused before it became a txn? Then its reply has no zxid of its own, and it has done nothing:
    /// SystemError (no space), MarshallingError, Unimplemented, SessionExpired, SessionMoved, ThrottledOp.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self.0, -1 | -5 | -6 | -112 | -118 | -127)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "no error",
            -1 => "SystemError",
            -2 => "RuntimeInconsistency",
            -5 => "MarshallingError",
            -6 => "Unimplemented",
            -8 => "BadArguments",
            -101 => "NoNode",
            -103 => "BadVersion",
            -108 => "NoChildrenForEphemerals",
            -110 => "NodeExists",
            -111 => "NotEmpty",
            -112 => "SessionExpired",
            -118 => "SessionMoved",
            -120 => "EphemeralOnLocalSession",
            -127 => "ThrottledOp",
            code => return write!(f, "error {code}"),
        };
        f.write_str(name)
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// create, create2.
    Create {
        /// The path, without the number of a sequential one.
        path: String,
        /// The data.
        #[serde(default)]
        data: String,
        /// Does it go with its session?
        #[serde(default)]
        ephemeral: bool,
        /// Does the server append a number?
        #[serde(default)]
        sequential: bool,
    },
    /// setData.
    Set {
        /// The path.
        path: String,
        /// The data.
        #[serde(default)]
        data: String,
        /// The version that it must have; -1: any.
        #[serde(default = "any_version")]
        version: i32,
    },
    /// delete.
    Delete {
        /// The path.
        path: String,
        /// The version that it must have; -1: any.
        #[serde(default = "any_version")]
        version: i32,
    },
    /// check, within a multi.
    Check {
        /// The path.
        path: String,
        /// The version that it must have; -1: any.
        #[serde(default = "any_version")]
        version: i32,
    },
    /// multi.
    Multi {
        /// create, set, delete and check.
        ops: Vec<Op>,
    },
    /// getData.
    Get {
        /// The path.
        path: String,
        /// Leave a watch.
        #[serde(default)]
        watch: bool,
    },
    /// exists.
    Exists {
        /// The path.
        path: String,
        /// Leave a watch.
        #[serde(default)]
        watch: bool,
    },
    /// getChildren, getChildren2.
    Children {
        /// The path.
        path: String,
        /// Leave a watch.
        #[serde(default)]
        watch: bool,
    },
    /// sync.
    Sync {
        /// The path.
        path: String,
    },
    /// setWatches: what the client renews on a new connection.
    SetWatches {
        /// The newest zxid that it has seen.
        relative: Zxid,
        /// Watches on znodes that were there.
        #[serde(default)]
        data: Vec<String>,
        /// Watches of exists on znodes that were not.
        #[serde(default)]
        exist: Vec<String>,
        /// Watches of getChildren.
        #[serde(default)]
        child: Vec<String>,
    },
    /// closeSession.
    Close,
}

const fn any_version() -> i32 {
    -1
}

impl Op {
    /// Does it become a txn?
    #[must_use]
    pub const fn is_write(&self) -> bool {
        matches!(self, Op::Create { .. } | Op::Set { .. } | Op::Delete { .. } | Op::Multi { .. } | Op::Close)
    }

    /// The path, of those that have one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Op::Create { path, .. }
            | Op::Set { path, .. }
            | Op::Delete { path, .. }
            | Op::Check { path, .. }
            | Op::Get { path, .. }
            | Op::Exists { path, .. }
            | Op::Children { path, .. }
            | Op::Sync { path } => Some(path),
            Op::Multi { .. } | Op::SetWatches { .. } | Op::Close => None,
        }
    }
}

/// A znode's Stat, as far as it does not depend on a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// The txn that created it.
    pub czxid: Zxid,
    /// The txn that last set its data.
    pub mzxid: Zxid,
    /// The txn that last created or deleted a child.
    pub pzxid: Zxid,
    /// How often its data was set.
    pub version: i32,
    /// How often a child was created or deleted.
    pub cversion: i32,
    /// The session that it goes with; 0: none.
    pub owner: SessionId,
    /// Count of children.
    pub children: i32,
}

/// What a reply says beside its header. What a client does not learn, or its library does not tell, is left out and not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// create: the path, with its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// getData.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The Stat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<Stat>,
    /// getChildren: the names, in any order. Without `zookeeper` of the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// multi: one for each operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<PartAnswer>>,
}

/// What a multi's reply says of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartAnswer {
    /// Of a failed multi: 0 before the operation that failed, its error, -2 after it.
    #[serde(default, skip_serializing_if = "is_ok")]
    pub err: Code,
    /// create: the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The Stat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<Stat>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_ok(code: &Code) -> bool {
    *code == Code::OK
}

/// What a watch event says has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// NodeCreated.
    Created,
    /// NodeDeleted.
    Deleted,
    /// NodeDataChanged.
    Changed,
    /// NodeChildrenChanged.
    Children,
}

/// What a txn is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxnKind {
    /// A session begins.
    Begin,
    /// A session ends, by its client or by expiry.
    End,
    /// A request that failed: it has taken a zxid and done nothing.
    Failed,
    /// Anything else.
    #[default]
    Change,
}

/// A znode of a final tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalNode {
    /// Its path.
    pub path: String,
    /// Its data.
    #[serde(default)]
    pub data: String,
    /// Its Stat.
    pub stat: Stat,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    // ---- what clients see
    /// A client has a connection in this session: its first, or a renewed one. What was unanswered on its connection before has no answer.
    Connected {
        /// Which client.
        client: ClientId,
        /// Its session.
        session: SessionId,
        /// With which server, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<ServerId>,
    },
    /// A client sends a request.
    Ask {
        /// Which client.
        client: ClientId,
        /// The request's number.
        xid: Xid,
        /// The request.
        #[serde(flatten)]
        op: Op,
    },
    /// A client has a reply.
    Reply {
        /// Which client.
        client: ClientId,
        /// The request's number.
        xid: Xid,
        /// The header's zxid.
        zxid: Zxid,
        /// The header's error. Of a multi that failed: that of the operation that failed, though the header of create in a multi says 0.
        #[serde(default, skip_serializing_if = "is_ok")]
        err: Code,
        /// The rest.
        #[serde(flatten)]
        answer: Answer,
    },
    /// A client has a watch event.
    Watch {
        /// Which client.
        client: ClientId,
        /// What.
        told: Told,
        /// Where.
        path: String,
        /// The header's zxid. None: the header says -1, or the library does not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zxid: Option<Zxid>,
    },
    /// A client has lost its connection: whether what it has asked and has no reply to took place is unknown.
    Lost {
        /// Which client.
        client: ClientId,
    },
    /// A server has told a client that its session is over.
    Expired {
        /// Which client.
        client: ClientId,
        /// Which server, where the library tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<ServerId>,
    },

    // ---- what servers are seen to do; none of it is needed, all of it is checked
    /// A server leads an epoch.
    Leads {
        /// Which server.
        server: ServerId,
        /// Which epoch.
        epoch: u64,
    },
    /// A server has started, with this state.
    Started {
        /// Which server.
        server: ServerId,
        /// The state's zxid.
        zxid: Zxid,
        /// The state's digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<u64>,
    },
    /// A server has taken over a state as a whole (SNAP).
    Took {
        /// Which server.
        server: ServerId,
        /// The state's zxid.
        zxid: Zxid,
        /// The state's digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<u64>,
    },
    /// A server has applied a txn.
    Applied {
        /// Which server.
        server: ServerId,
        /// The txn's zxid.
        zxid: Zxid,
        /// Whose request it was.
        session: SessionId,
        /// Which request; 0: none.
        xid: Xid,
        /// What it is.
        #[serde(default)]
        kind: TxnKind,
        /// A hash of the txn's bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<u64>,
        /// The state's digest after it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<u64>,
    },
    /// On all servers new sessions are known to their server alone (`localSessionsEnabled`): the first line of such a history.
    LocalSessions {
        /// Until they create an ephemeral (`localSessionsUpgradingEnabled`); else they can have none.
        upgraded: bool,
    },
    /// The state of a server at the end, without `/zookeeper`.
    Final {
        /// Which server.
        server: ServerId,
        /// The state's zxid.
        zxid: Zxid,
        /// All znodes but the root.
        nodes: Vec<FinalNode>,
        /// The sessions that live; none: not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sessions: Option<Vec<SessionId>>,
    },
    /// Anything that a reader of the history may want to know: faults, above all. Not checked.
    Note {
        /// What.
        text: String,
    },
}

impl Event {
    /// The client that it is about.
    #[must_use]
    pub const fn client(&self) -> Option<ClientId> {
        match self {
            Event::Connected { client, .. }
            | Event::Ask { client, .. }
            | Event::Reply { client, .. }
            | Event::Watch { client, .. }
            | Event::Lost { client }
            | Event::Expired { client, .. } => Some(*client),
            _ => None,
        }
    }

    /// The server whose state it shows.
    #[must_use]
    pub const fn server(&self) -> Option<ServerId> {
        match self {
            Event::Leads { server, .. }
            | Event::Started { server, .. }
            | Event::Took { server, .. }
            | Event::Applied { server, .. }
            | Event::Final { server, .. } => Some(*server),
            _ => None,
        }
    }
}
