//! Which request comes next, and whether its reply is right. Pure: no I/O.

use proto::reply::{Reply, ReplyHeader};
use proto::request::{CreateMode, CreateRequest, ReadRequest, Request, SetDataRequest};
use proto::{ErrorCode, OpCode, Reader, Xid};

use client::{AclList, encode_request};

use crate::filled::Filled;
use crate::random::Random;
use crate::spec::{LoadSpec, Workload};

/// What one connection asks for, and what it expects.
#[derive(Debug)]
pub(crate) struct Workbench {
    workload: Workload,
    read_percent: u32,
    /// What every znode holds: sets write the same bytes, so that every get can be compared.
    data: Vec<u8>,
    acl: AclList,
    keys: Keys,
    root: String,
    random: Random,
    path: String,
}

/// What get and set work on.
#[derive(Debug)]
enum Keys {
    /// Znodes of this run.
    Own(Vec<String>),
    /// Znodes that were there: too many to keep their paths.
    Filled(Filled),
}

/// A request in flight, as much of it as is needed to check the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// getData.
    Get,
    /// setData.
    Set,
    /// create of this connection's child with this number.
    Create {
        /// The connection, from 0.
        connection: usize,
        /// The child, from 0.
        child: u64,
    },
}

impl Workbench {
    /// The bench of a run whose znodes lie below `root`.
    pub(crate) fn new(spec: &LoadSpec, root: &str) -> Workbench {
        Workbench {
            workload: spec.workload,
            read_percent: spec.read_percent,
            data: payload(spec.data_bytes),
            acl: AclList::open(),
            keys: match spec.filled {
                Some(filled) => Keys::Filled(filled),
                None => Keys::Own((0..spec.keys).map(|key| key_path(root, key)).collect()),
            },
            root: root.to_owned(),
            random: Random::new(),
            path: String::new(),
        }
    }

    /// Appends the next request of a connection to `out`. `child` is the number of its next create.
    pub(crate) fn ask(&mut self, out: &mut Vec<u8>, xid: Xid, connection: usize, child: &mut u64) -> Asked {
        let read = match self.workload {
            Workload::Get | Workload::Idle => true,
            Workload::Set => false,
            Workload::Mixed => self.random.below(100) < u64::from(self.read_percent),
            Workload::Create => return self.ask_create(out, xid, connection, child),
        };
        let path = match &self.keys {
            Keys::Own(keys) => {
                let key = self.random.below(keys.len().max(1) as u64);
                usize::try_from(key).ok().and_then(|key| keys.get(key)).map_or("/", String::as_str)
            }
            Keys::Filled(filled) => {
                self.path.clear();
                filled.write_path(&mut self.path, self.random.below(filled.znodes.max(1)));
                &self.path
            }
        };
        if read {
            encode_request(out, xid, &Request::GetData(ReadRequest { path, watch: false }));
            Asked::Get
        } else {
            let set = SetDataRequest { path, data: Some(&self.data), version: -1 };
            encode_request(out, xid, &Request::SetData(set));
            Asked::Set
        }
    }

    /// What is wrong with a reply's record, if anything.
    pub(crate) fn check(&mut self, asked: Asked, header: ReplyHeader, body: &[u8]) -> Option<String> {
        if header.err != 0 {
            let name = ErrorCode::from_wire(header.err).map_or("an unknown code", ErrorCode::name);
            return Some(format!("error {name} ({})", header.err));
        }
        let mut r = Reader::new(body);
        let op = match asked {
            Asked::Get => OpCode::GetData,
            Asked::Set => OpCode::SetData,
            Asked::Create { .. } => OpCode::Create,
        };
        let Ok(reply) = Reply::read(op, &mut r) else { return Some(format!("unreadable {op:?} reply")) };
        let fits = r.is_empty()
            && match (asked, reply) {
                (Asked::Get, Reply::DataStat(Some(data), stat)) => {
                    data == self.data && usize::try_from(stat.data_length).is_ok_and(|len| len == data.len())
                }
                (Asked::Set, Reply::Stat(stat)) => {
                    usize::try_from(stat.data_length).is_ok_and(|len| len == self.data.len()) && stat.version > 0
                }
                (Asked::Create { connection, child }, Reply::Path(path)) => {
                    self.path.clear();
                    write_child_path(&mut self.path, &self.root, connection, child);
                    path == self.path
                }
                _ => false,
            };
        if fits { None } else { Some(format!("wrong {op:?} reply: not the path or data expected")) }
    }

    fn ask_create(&mut self, out: &mut Vec<u8>, xid: Xid, connection: usize, child: &mut u64) -> Asked {
        let asked = Asked::Create { connection, child: *child };
        self.path.clear();
        write_child_path(&mut self.path, &self.root, connection, *child);
        *child += 1;
        let create = CreateRequest {
            path: &self.path,
            data: Some(&self.data),
            acl: self.acl.as_vec(),
            flags: CreateMode::Persistent as i32,
            ttl_ms: None,
        };
        encode_request(out, xid, &Request::Create(OpCode::Create, create));
        asked
    }
}

/// The data of every znode: bytes that differ from their neighbours, so that a shift would show.
pub(crate) fn payload(bytes: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(bytes).collect()
}

/// A key's path.
pub(crate) fn key_path(root: &str, key: usize) -> String {
    format!("{root}/k{key}")
}

/// The path under which a connection creates.
pub(crate) fn parent_path(root: &str, connection: usize) -> String {
    format!("{root}/c{connection}")
}

fn write_child_path(path: &mut String, root: &str, connection: usize, child: u64) {
    use std::fmt::Write;
    write!(path, "{root}/c{connection}/n{child}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::request::RequestHeader;
    use proto::{Stat, Writer, Zxid};

    use super::*;

    fn bench(workload: Workload) -> Workbench {
        let spec = LoadSpec {
            servers: Vec::new(),
            workload,
            read_percent: 50,
            data_bytes: 10,
            connections: 1,
            depth: 1,
            rate: None,
            keys: 4,
            warmup: Duration::ZERO,
            duration: Duration::ZERO,
            server_pids: Vec::new(),
            filled: None,
        };
        Workbench::new(&spec, "/r")
    }

    fn body(reply: &Reply<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        reply.write(&mut Writer::new(&mut bytes));
        bytes
    }

    const OK: ReplyHeader = ReplyHeader::ok(Xid(1), Zxid(1));

    #[test]
    fn a_reply_with_other_data_another_path_or_an_error_is_wrong() {
        let mut bench = bench(Workload::Get);
        let stat = Stat { data_length: 10, version: 1, ..Stat::default() };
        assert_eq!(bench.check(Asked::Get, OK, &body(&Reply::DataStat(Some(b"abcdefghij"), stat))), None);
        assert!(bench.check(Asked::Get, OK, &body(&Reply::DataStat(Some(b"bbcdefghij"), stat))).is_some());
        assert!(bench.check(Asked::Get, OK, &body(&Reply::DataStat(None, stat))).is_some());
        assert!(bench.check(Asked::Get, OK, b"").is_some());

        assert_eq!(bench.check(Asked::Set, OK, &body(&Reply::Stat(stat))), None);
        let short = Stat { data_length: 9, ..stat };
        assert!(bench.check(Asked::Set, OK, &body(&Reply::Stat(short))).is_some());
        let mut long = body(&Reply::Stat(stat));
        long.push(0);
        assert!(bench.check(Asked::Set, OK, &long).is_some());

        let asked = Asked::Create { connection: 3, child: 9 };
        assert_eq!(bench.check(asked, OK, &body(&Reply::Path("/r/c3/n9"))), None);
        assert!(bench.check(asked, OK, &body(&Reply::Path("/r/c3/n8"))).is_some());

        let error = ReplyHeader::error(Xid(1), Zxid(1), ErrorCode::NoNode);
        assert_eq!(bench.check(Asked::Get, error, b"").as_deref(), Some("error NoNode (-101)"));
    }

    #[test]
    fn mixed_asks_for_both_and_creates_never_repeat() {
        let mut mixed = bench(Workload::Mixed);
        let mut out = Vec::new();
        let gets = (0..1000).filter(|_| mixed.ask(&mut out, Xid(1), 0, &mut 0) == Asked::Get).count();
        assert!((400..600).contains(&gets), "{gets} of 1000");

        let mut creates = bench(Workload::Create);
        let mut child = 0;
        for expected in 0..3 {
            out.clear();
            assert_eq!(creates.ask(&mut out, Xid(5), 2, &mut child), Asked::Create { connection: 2, child: expected });
        }
        let mut r = Reader::new(&out[4..]);
        assert_eq!(RequestHeader::read(&mut r).unwrap(), RequestHeader { xid: Xid(5), op: 1 });
        let Some(Request::Create(_, create)) = Request::read(OpCode::Create, &mut r).unwrap() else { panic!() };
        assert_eq!(create.path, "/r/c2/n2");
    }
}
