//! Requests and replies between a history's words and the client protocol's frames.
//!
//! Owns the translation alone. What a server sends and cannot be read is told by who reads it.

use crate::history::{Answer, Code, Op, PartAnswer, SessionId, Stat, Zxid};
use client::{AclList, PathList, encode_request};
use proto::reply::{OpResult, Reply, ReplyHeader};
use proto::request::{
    CreateMode, CreateRequest, MultiOp, MultiRequest, PathVersion, ReadRequest, Request, SetDataRequest,
    SetWatchesRequest,
};
use proto::{OpCode, Reader, jute};

/// The first whole frame, without its length.
pub(crate) fn whole_frame(input: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = input.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(i32::from_be_bytes(*prefix)).ok()?)
}

/// All whole frames, each with its length.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(frame) = whole_frame(bytes) {
        let (whole, rest) = bytes.split_at(4 + frame.len());
        all.push(whole.to_vec());
        bytes = rest;
    }
    all
}

/// The xid of a reply, given with its length. A handshake's answer has none.
pub(crate) fn xid_of(frame: &[u8]) -> Option<proto::Xid> {
    let header = ReplyHeader::read(&mut Reader::new(frame.get(4..)?)).ok()?;
    Some(header.xid).filter(|_| !is_greeting(frame))
}

/// Raises the zxid in a reply's header by one: a planted bug.
pub(crate) fn raise_header(frame: &mut [u8]) {
    let is_reply = xid_of(frame).is_some_and(|xid| xid.0 > 0);
    if let Some(last) = frame.get_mut(15).filter(|_| is_reply) {
        *last = last.wrapping_add(1);
    }
}

/// A handshake's answer: protocol version 0, and 37 bytes.
fn is_greeting(frame: &[u8]) -> bool {
    frame.len() == 41 && frame.get(4..8) == Some(&[0; 4])
}

pub(super) fn told_by(reply: &Reply<'_>) -> Answer {
    let text = |data: &Option<&[u8]>| String::from_utf8_lossy(data.unwrap_or_default()).into_owned();
    let names = |names: &jute::StrVec<'_>| Some(names.iter().map(str::to_owned).collect());
    let mut answer = Answer::default();
    match reply {
        Reply::Path(path) => answer.path = Some((*path).to_owned()),
        Reply::PathStat(path, stat) => (answer.path, answer.stat) = (Some((*path).to_owned()), Some(stat.into())),
        Reply::Stat(stat) => answer.stat = Some(stat.into()),
        Reply::DataStat(data, stat) => (answer.data, answer.stat) = (Some(text(data)), Some(stat.into())),
        Reply::Strings(all) => answer.names = names(all),
        Reply::StringsStat(all, stat) => (answer.names, answer.stat) = (names(all), Some(stat.into())),
        Reply::Multi(results) => answer.results = Some(results.iter().map(part_of).collect()),
        _ => {}
    }
    answer
}

fn part_of(result: &OpResult<'_>) -> PartAnswer {
    match result {
        OpResult::Create(path) => PartAnswer { path: Some((*path).to_owned()), ..PartAnswer::default() },
        OpResult::Create2(_, path, stat) => {
            PartAnswer { path: Some((*path).to_owned()), stat: Some(stat.into()), ..PartAnswer::default() }
        }
        OpResult::SetData(stat) => PartAnswer { stat: Some(stat.into()), ..PartAnswer::default() },
        OpResult::Error(err) => PartAnswer { err: Code(*err), ..PartAnswer::default() },
        _ => PartAnswer::default(),
    }
}

/// In a history's words.
impl From<&proto::Stat> for Stat {
    fn from(stat: &proto::Stat) -> Stat {
        Stat {
            czxid: Zxid(stat.czxid.0),
            mzxid: Zxid(stat.mzxid.0),
            pzxid: Zxid(stat.pzxid.0),
            version: stat.version,
            cversion: stat.cversion,
            owner: SessionId(stat.ephemeral_owner.0),
            children: stat.num_children,
        }
    }
}

/// The request as a frame, and the code by which its reply is read.
pub(super) fn encode(xid: i32, op: &Op) -> (OpCode, Vec<u8>) {
    let acl = AclList::open();
    let [data, exist, child] = match op {
        Op::SetWatches { data, exist, child, .. } => {
            [data, exist, child].map(|paths| PathList::new(paths.iter().map(String::as_str)))
        }
        _ => [const { Vec::new() }; 3].map(|none: Vec<&str>| PathList::new(none.into_iter())),
    };
    let request = match op {
        Op::Create { .. } => {
            let (code, create) = create_of(xid, op, &acl);
            Request::Create(code, create)
        }
        Op::Set { path, data, version } => {
            Request::SetData(SetDataRequest { path, data: Some(data.as_bytes()), version: *version })
        }
        Op::Delete { path, version } => Request::Delete(PathVersion { path, version: *version }),
        Op::Check { path, version } => Request::Check(PathVersion { path, version: *version }),
        Op::Multi { ops } => {
            Request::Multi(MultiRequest { ops: ops.iter().filter_map(|op| part(xid, op, &acl)).collect() })
        }
        Op::Get { path, watch } => Request::GetData(ReadRequest { path, watch: *watch }),
        Op::Exists { path, watch } => Request::Exists(ReadRequest { path, watch: *watch }),
        Op::Children { path, watch } => Request::GetChildren2(ReadRequest { path, watch: *watch }),
        Op::Sync { path } => Request::Sync(path),
        Op::SetWatches { relative, .. } => Request::SetWatches(SetWatchesRequest {
            relative_zxid: proto::Zxid(relative.0),
            data: data.as_vec(),
            exist: exist.as_vec(),
            child: child.as_vec(),
            persistent: jute::StrVec::EMPTY,
            persistent_recursive: jute::StrVec::EMPTY,
        }),
        Op::Close => Request::CloseSession,
    };
    let mut frame = Vec::new();
    encode_request(&mut frame, proto::Xid(xid), &request);
    (request.op(), frame)
}

fn create_of<'a>(xid: i32, op: &'a Op, acl: &'a AclList) -> (OpCode, CreateRequest<'a>) {
    let Op::Create { path, data, ephemeral, sequential } = op else { unreachable!("only creates are asked for") };
    let mode = match (ephemeral, sequential) {
        (false, false) => CreateMode::Persistent,
        (true, false) => CreateMode::Ephemeral,
        (false, true) => CreateMode::PersistentSequential,
        (true, true) => CreateMode::EphemeralSequential,
    };
    let code = if xid % 3 == 0 { OpCode::Create } else { OpCode::Create2 };
    (code, CreateRequest { path, data: Some(data.as_bytes()), acl: acl.as_vec(), flags: mode as i32, ttl_ms: None })
}

fn part<'a>(xid: i32, op: &'a Op, acl: &'a AclList) -> Option<MultiOp<'a>> {
    Some(match op {
        Op::Create { .. } => {
            let (code, create) = create_of(xid, op, acl);
            MultiOp::Create(code, create)
        }
        Op::Set { path, data, version } => {
            MultiOp::SetData(SetDataRequest { path, data: Some(data.as_bytes()), version: *version })
        }
        Op::Delete { path, version } => MultiOp::Delete(PathVersion { path, version: *version }),
        Op::Check { path, version } => MultiOp::Check(PathVersion { path, version: *version }),
        _ => return None,
    })
}
