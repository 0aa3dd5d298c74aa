//! What the property and allocation tests share: random fields, and every record type built out of them.
#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod between;

use proptest::collection::vec;
use proptest::prelude::*;
use proto::connect::{ConnectRequest, ConnectResponse};
use proto::jute::{StrVec, frame};
use proto::reply::{OpResult, Reply, ReplyHeader};
use proto::request::{
    AuthRequest, CreateRequest, MultiOp, MultiRequest, PathType, PathVersion, ReadRequest, ReconfigRequest, Request,
    RequestHeader, SetAclRequest, SetDataRequest, SetWatchesRequest,
};
use proto::stat::EphemeralOwner;
use proto::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use proto::watch::WatcherEvent;
use proto::{Acl, AclVec, OpCode, Perms, Reader, SessionId, Stat, StatPersisted, Writer, Xid, Zxid};
use ringkeeper_proto as proto;

/// Values for the fields of a record.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) path: String,
    pub(crate) text: Option<String>,
    pub(crate) data: Option<Vec<u8>>,
    /// A vector of ACL entries as it stands on the wire.
    pub(crate) acl: Vec<u8>,
    /// A vector of strings as it stands on the wire.
    pub(crate) names: Vec<u8>,
    /// A vector of paths as it stands on the wire. Never empty strings: two of them look like a digest to a closeSession.
    pub(crate) paths: Vec<u8>,
    pub(crate) int: i32,
    pub(crate) long: i64,
    pub(crate) flag: bool,
    pub(crate) password: [u8; 16],
    pub(crate) digest: Option<(i32, u64)>,
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn acl() -> impl Strategy<Value = Acl> {
    (any::<i32>(), text(), text()).prop_map(|(perms, scheme, id)| Acl {
        perms: Perms(perms),
        scheme: scheme.into(),
        id: id.into(),
    })
}

fn strings(values: &[String]) -> Vec<u8> {
    encoded(|w| w.strings(values.iter().map(String::as_str)))
}

fn str_vec(wire: &[u8]) -> StrVec<'_> {
    StrVec::read_or_null(&mut Reader::new(wire)).expect("written by `strings`").expect("not null")
}

/// Random fields; nulls among them.
pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let texts = (text(), proptest::option::of(text()), proptest::option::of(vec(any::<u8>(), 0..40)));
    let lists = (vec(acl(), 0..4), vec(text(), 0..5));
    let plain = (any::<i32>(), any::<i64>(), any::<bool>(), any::<[u8; 16]>(), any::<Option<(i32, u64)>>());
    (texts, lists, plain).prop_map(|((path, text, data), (acls, names), (int, long, flag, password, digest))| Parts {
        path,
        text,
        data,
        acl: encoded(|w| Acl::write_vec(&acls, w)),
        names: strings(&names),
        paths: strings(&names.iter().map(|name| format!("/{name}")).collect::<Vec<_>>()),
        int,
        long,
        flag,
        password,
        digest,
    })
}

/// What `write` writes.
pub(crate) fn encoded(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

impl Parts {
    fn data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }

    fn acl(&self) -> AclVec<'_> {
        AclVec::read(&mut Reader::new(&self.acl)).expect("written above")
    }

    fn names(&self) -> StrVec<'_> {
        str_vec(&self.names)
    }

    fn stat(&self) -> Stat {
        self.stat_persisted().to_stat(self.path.len(), self.acl.len())
    }

    /// A stored stat.
    pub(crate) fn stat_persisted(&self) -> StatPersisted {
        let zxid = Zxid::from_wire(self.long);
        StatPersisted { version: self.int, ..StatPersisted::created(zxid, self.long ^ 5, EphemeralOwner(self.long)) }
    }

    fn path_version(&self) -> PathVersion<'_> {
        PathVersion { path: &self.path, version: self.int }
    }

    fn read_request(&self) -> ReadRequest<'_> {
        ReadRequest { path: &self.path, watch: self.flag }
    }

    fn create(&self, op: OpCode, flags: i32) -> CreateRequest<'_> {
        let ttl_ms = (op == OpCode::CreateTtl).then_some(self.long);
        CreateRequest { path: &self.path, data: self.data(), acl: self.acl(), flags, ttl_ms }
    }

    fn set_data(&self) -> SetDataRequest<'_> {
        SetDataRequest { path: &self.path, data: self.data(), version: self.int }
    }

    fn set_watches(&self, second: bool) -> SetWatchesRequest<'_> {
        let list = self.names();
        SetWatchesRequest {
            relative_zxid: Zxid::from_wire(self.long),
            data: list,
            exist: StrVec::EMPTY,
            child: list,
            persistent: if second { list } else { StrVec::EMPTY },
            persistent_recursive: if second { list } else { StrVec::EMPTY },
        }
    }

    fn multi_writes(&self) -> MultiRequest<'_> {
        use OpCode::{Create, Create2, CreateContainer, CreateTtl};
        let mut ops: Vec<_> = [(Create, 0), (Create2, 3), (CreateContainer, 4), (CreateTtl, 6), (CreateContainer, 0)]
            .map(|(op, flags)| MultiOp::Create(op, self.create(op, flags)))
            .into();
        ops.push(MultiOp::Delete(self.path_version()));
        ops.push(MultiOp::SetData(self.set_data()));
        ops.push(MultiOp::Check(self.path_version()));
        MultiRequest { ops }
    }

    fn multi_reads(&self) -> MultiRequest<'_> {
        MultiRequest { ops: vec![MultiOp::GetData(self.read_request()), MultiOp::GetChildren(self.read_request())] }
    }

    /// The request of `op`; `None` for those that no client sends.
    pub(crate) fn request(&self, op: OpCode) -> Option<Request<'_>> {
        let path = self.path.as_str();
        let path_type = PathType { path, ty: self.int };
        let text = self.text.as_deref();
        Some(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Request::Create(op, self.create(op, self.int))
            }
            OpCode::Delete => Request::Delete(self.path_version()),
            OpCode::Exists => Request::Exists(self.read_request()),
            OpCode::GetData => Request::GetData(self.read_request()),
            OpCode::SetData => Request::SetData(self.set_data()),
            OpCode::GetAcl => Request::GetAcl(path),
            OpCode::SetAcl => Request::SetAcl(SetAclRequest { path, acl: self.acl(), version: self.int }),
            OpCode::GetChildren => Request::GetChildren(self.read_request()),
            OpCode::Sync => Request::Sync(path),
            OpCode::Ping => Request::Ping,
            OpCode::GetChildren2 => Request::GetChildren2(self.read_request()),
            OpCode::Check => Request::Check(self.path_version()),
            OpCode::Multi => Request::Multi(self.multi_writes()),
            OpCode::MultiRead => Request::MultiRead(self.multi_reads()),
            OpCode::Reconfig => Request::Reconfig(ReconfigRequest {
                joining: text,
                leaving: Some(path),
                new_members: None,
                current_config: self.long,
            }),
            OpCode::CheckWatches => Request::CheckWatches(path_type),
            OpCode::RemoveWatches => Request::RemoveWatches(path_type),
            OpCode::AddWatch => Request::AddWatch(path_type),
            OpCode::DeleteContainer => Request::DeleteContainer(path),
            OpCode::Auth => Request::Auth(AuthRequest { ty: self.int, scheme: text, auth: self.data() }),
            OpCode::SetWatches => Request::SetWatches(self.set_watches(false)),
            OpCode::SetWatches2 => Request::SetWatches2(self.set_watches(true)),
            OpCode::Sasl => Request::Sasl(self.data()),
            OpCode::GetEphemerals => Request::GetEphemerals(text),
            OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber(path),
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::CloseSession => Request::CloseSession,
            OpCode::Notification | OpCode::CreateSession | OpCode::Error => return None,
        })
    }

    fn results(&self) -> Vec<OpResult<'_>> {
        vec![
            OpResult::Error(self.int),
            OpResult::Create(&self.path),
            OpResult::Create2(OpCode::Create2, &self.path, self.stat()),
            OpResult::Delete,
            OpResult::SetData(self.stat()),
            OpResult::Check,
            OpResult::GetData(self.data(), self.stat()),
            OpResult::GetChildren(self.names()),
        ]
    }

    /// The reply to `op`; `None` for those that have none.
    pub(crate) fn reply(&self, op: OpCode) -> Option<Reply<'_>> {
        let path = self.path.as_str();
        Some(match op {
            OpCode::Create | OpCode::Sync => Reply::Path(path),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => Reply::PathStat(path, self.stat()),
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl | OpCode::Check => Reply::Stat(self.stat()),
            OpCode::GetData | OpCode::Reconfig => Reply::DataStat(self.data(), self.stat()),
            OpCode::GetAcl => Reply::AclStat(self.acl(), self.stat()),
            OpCode::GetChildren | OpCode::GetEphemerals => Reply::Strings(self.names()),
            OpCode::GetChildren2 => Reply::StringsStat(self.names(), self.stat()),
            OpCode::GetAllChildrenNumber | OpCode::AddWatch => Reply::Int(self.int),
            OpCode::Multi | OpCode::MultiRead => Reply::Multi(self.results()),
            OpCode::WhoAmI => Reply::Identities(vec![("digest", path), (path, "")]),
            OpCode::Sasl => Reply::Token(self.data()),
            OpCode::Notification | OpCode::CreateSession | OpCode::Error => return None,
            _ => Reply::Empty,
        })
    }

    fn create_txn(&self, op: OpCode) -> CreateTxn<'_> {
        CreateTxn {
            op,
            path: &self.path,
            data: self.data(),
            acl: self.acl(),
            ephemeral: self.flag && matches!(op, OpCode::Create | OpCode::Create2),
            parent_cversion: self.int,
            ttl_ms: if op == OpCode::CreateTtl { self.long } else { 0 },
        }
    }

    /// The record of a txn of type `op`; `None` for what is never logged by itself.
    pub(crate) fn txn(&self, op: OpCode) -> Option<Txn<'_>> {
        let path = self.path.as_str();
        Some(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Txn::Create(self.create_txn(op))
            }
            OpCode::Delete | OpCode::DeleteContainer => Txn::Delete { op, path },
            OpCode::SetData | OpCode::Reconfig => Txn::SetData { op, path, data: self.data(), version: self.int },
            OpCode::SetAcl => Txn::SetAcl { path, acl: self.acl(), version: self.int },
            OpCode::CreateSession => Txn::CreateSession { timeout_ms: self.int },
            OpCode::CloseSession => Txn::CloseSession(Some(str_vec(&self.paths))),
            OpCode::Error => Txn::Error(self.int),
            OpCode::Multi => Txn::Multi(vec![
                Txn::Create(self.create_txn(OpCode::Create)),
                Txn::Create(self.create_txn(OpCode::CreateTtl)),
                Txn::Delete { op: OpCode::Delete, path },
                Txn::SetData { op: OpCode::SetData, path, data: self.data(), version: self.int },
                Txn::Check { path, version: self.int },
                Txn::Error(self.int),
            ]),
            _ => return None,
        })
    }

    /// The whole txn of type `op`.
    pub(crate) fn txn_record(&self, op: OpCode) -> Option<TxnRecord<'_>> {
        let header = TxnHeader {
            session: SessionId(self.long),
            xid: Xid(self.int),
            zxid: Zxid::from_wire(self.long),
            time_ms: self.long,
            op,
        };
        Some(TxnRecord { header, txn: self.txn(op)?, digest: self.digest })
    }

    /// A handshake's first frame.
    pub(crate) fn connect_request(&self) -> ConnectRequest<'_> {
        ConnectRequest {
            protocol_version: self.int,
            last_zxid_seen: Zxid::from_wire(self.long),
            timeout_ms: self.int,
            session_id: SessionId(self.long),
            password: self.data().unwrap_or_default(),
            read_only: self.text.is_some().then_some(self.flag),
        }
    }

    /// A handshake's answer.
    pub(crate) fn connect_response(&self) -> ConnectResponse {
        ConnectResponse {
            protocol_version: self.int,
            timeout_ms: self.int,
            session_id: SessionId(self.long),
            password: self.password,
            read_only: self.text.is_some().then_some(self.flag),
        }
    }

    /// A watch event.
    pub(crate) fn event(&self) -> WatcherEvent<'_> {
        WatcherEvent { ty: self.int, state: 3, path: &self.path }
    }

    /// Input for every fuzz target: the target's name and bytes that it accepts.
    pub(crate) fn inputs(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut inputs = vec![
            ("connect_request", encoded(|w| self.connect_request().write(w))),
            ("connect_response", encoded(|w| self.connect_response().write(w))),
            ("watcher_event", encoded(|w| self.event().write(w))),
            ("path_validate", self.path.clone().into_bytes()),
        ];
        for &op in OpCode::ALL {
            if let Some(request) = self.request(op) {
                let header = RequestHeader { xid: Xid(self.int), op: op.to_wire() };
                inputs.push((
                    "request",
                    encoded(|w| {
                        header.write(w);
                        request.write(w);
                    }),
                ));
            }
            if let Some(reply) = self.reply(op) {
                inputs.push((
                    "reply",
                    encoded(|w| {
                        w.int(op.to_wire());
                        ReplyHeader::ok(Xid(self.int), Zxid(1)).write(w);
                        reply.write(w);
                    }),
                ));
            }
            if let Some(record) = self.txn_record(op) {
                let mut bytes = Vec::new();
                record.encode(&mut bytes);
                inputs.push(("txn_record", bytes));
            }
        }
        inputs.push(("multi", encoded(|w| Request::Multi(self.multi_writes()).write(w))));
        inputs.push(("multi", encoded(|w| Reply::Multi(self.results()).write(w))));
        inputs.extend(self.inputs_between());
        inputs
    }
}

/// Runs the fuzz target `name` on `data`; it panics if the decoder is wrong.
pub(crate) fn run_target(name: &str, data: &[u8]) {
    let target = proto::fuzz_targets::TARGETS.iter().find(|(target, _)| *target == name);
    let (_, run) = target.unwrap_or_else(|| panic!("no fuzz target {name}"));
    run(data);
}

/// A frame with its length in front, as `jute::frame` makes it.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, |w| w.raw(body));
    out
}
