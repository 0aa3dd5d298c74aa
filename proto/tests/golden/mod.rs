//! The golden vectors of `proto/vectors`: reading the files, and saying what we decoded in the words of their `# =` lines.
//!
//! Those lines were decoded by `tests/reference/zkwire.py`, which shares no code with this crate: they tell two swapped fields, which
//! encoding back to the same bytes would not.
#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod between;

use std::fs;
use std::path::{Path, PathBuf};

use ringkeeper_proto::connect::ConnectResponse;
use ringkeeper_proto::jute::StrVec;
use ringkeeper_proto::reply::{OpResult, Reply, ReplyHeader};
use ringkeeper_proto::txn::{Txn, TxnRecord};
use ringkeeper_proto::watch::WatcherEvent;
use ringkeeper_proto::{AclVec, OpCode, Stat};
use serde_json::{Map, Value, json};

/// One line of a file: `kind name op hex`, with the fields of the `# =` comment before it.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) file: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) op: i32,
    pub(crate) data: Vec<u8>,
    pub(crate) fields: Option<Value>,
}

/// Where the files are.
pub(crate) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Every vector of every `.txt` file, in order of the files' names.
pub(crate) fn load() -> Vec<Vector> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir()).expect("proto/vectors").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files.iter().flat_map(|path| parse(path)).collect()
}

fn parse(path: &Path) -> Vec<Vector> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = path.file_name().expect("a file").to_string_lossy().into_owned();
    let mut vectors = Vec::new();
    let mut fields = None;
    for line in text.lines() {
        if let Some(json) = line.strip_prefix("# = ") {
            fields = Some(serde_json::from_str(json).unwrap_or_else(|error| panic!("{file}: {json}: {error}")));
        } else if !line.is_empty() && !line.starts_with('#') {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, name, op, hex] = words[..] else { panic!("{file}: not `kind name op hex`: {line}") };
            let op = op.parse().unwrap_or_else(|_| panic!("{file}: {name}: {op} is no number"));
            let (kind, name) = (kind.to_owned(), name.to_owned());
            vectors.push(Vector { file: file.clone(), kind, name, op, data: unhex(hex), fields: fields.take() });
        }
    }
    vectors
}

fn unhex(hex: &str) -> Vec<u8> {
    if hex == "-" {
        return Vec::new();
    }
    assert!(hex.len().is_multiple_of(2), "odd count of digits: {hex}");
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_else(|| panic!("no hex: {hex}"));
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::try_from(pair.iter().fold(0, |sum, byte| sum * 16 + digit(byte))).expect("a byte")).collect()
}

/// Bytes as the `# =` lines show them: text where all of it is printable.
fn bytes(data: Option<&[u8]>) -> Value {
    match data {
        None => Value::Null,
        Some(data) if data.iter().all(|byte| (32..127).contains(byte)) => json!(String::from_utf8_lossy(data)),
        Some(data) => json!(data.iter().fold("hex:".to_owned(), |text, byte| format!("{text}{byte:02x}"))),
    }
}

fn strings(list: StrVec<'_>) -> Value {
    list.iter().collect()
}

fn acl(list: AclVec<'_>) -> Value {
    list.iter().map(|acl| json!([acl.perms.0, acl.scheme, acl.id])).collect()
}

fn stat(stat: &Stat) -> Value {
    json!({
        "czxid": stat.czxid.to_wire(), "mzxid": stat.mzxid.to_wire(), "ctime": stat.ctime, "mtime": stat.mtime,
        "version": stat.version, "cversion": stat.cversion, "aversion": stat.aversion,
        "ephemeralOwner": stat.ephemeral_owner.0, "dataLength": stat.data_length, "numChildren": stat.num_children,
        "pzxid": stat.pzxid.to_wire(),
    })
}

/// Both objects' fields in one.
fn merged(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            Value::Object(one.into_iter().chain(other).collect::<Map<_, _>>())
        }
        (one, _) => one,
    }
}

/// A reply as the `# =` lines show it.
pub(crate) fn show_reply(op: OpCode, header: &ReplyHeader, reply: Option<&Reply<'_>>) -> Value {
    let head = json!({ "xid": header.xid.0, "zxid": header.zxid.to_wire(), "err": header.err });
    let body = match reply {
        None | Some(Reply::Empty) => return head,
        Some(Reply::Multi(results)) => {
            let end = json!({ "type": -1, "done": true, "err": -1 });
            return merged(head, json!({ "results": results.iter().map(show_result).chain([end]).collect::<Value>() }));
        }
        Some(Reply::Identities(ids)) => return merged(head, json!({ "clientInfo": ids })),
        Some(Reply::Path(path)) => json!({ "path": path }),
        Some(Reply::PathStat(path, of)) => merged(json!({ "path": path }), stat(of)),
        Some(Reply::Stat(of)) => stat(of),
        Some(Reply::DataStat(data, of)) => merged(json!({ "data": bytes(*data) }), stat(of)),
        Some(Reply::AclStat(list, of)) => merged(json!({ "acl": acl(*list) }), stat(of)),
        Some(Reply::Strings(list)) if op == OpCode::GetEphemerals => json!({ "ephemerals": strings(*list) }),
        Some(Reply::Strings(list)) => json!({ "children": strings(*list) }),
        Some(Reply::StringsStat(list, of)) => merged(json!({ "children": strings(*list) }), stat(of)),
        Some(Reply::Int(value)) if op == OpCode::AddWatch => json!({ "err": value }),
        Some(Reply::Int(value)) => json!({ "totalNumber": value }),
        Some(Reply::Token(token)) => json!({ "token": bytes(*token) }),
    };
    merged(head, json!({ "body": body }))
}

fn show_result(result: &OpResult<'_>) -> Value {
    let (op, err, body) = match result {
        OpResult::Create(path) => (OpCode::Create, 0, json!({ "path": path })),
        OpResult::Create2(op, path, of) => (*op, 0, merged(json!({ "path": path }), stat(of))),
        OpResult::Delete => (OpCode::Delete, 0, json!({})),
        OpResult::SetData(of) => (OpCode::SetData, 0, stat(of)),
        OpResult::Check => (OpCode::Check, 0, json!({})),
        OpResult::GetData(data, of) => (OpCode::GetData, 0, merged(json!({ "data": bytes(*data) }), stat(of))),
        OpResult::GetChildren(list) => (OpCode::GetChildren, 0, json!({ "children": strings(*list) })),
        OpResult::Error(err) => (OpCode::Error, *err, json!({ "err": err })),
    };
    json!({ "type": op.to_wire(), "done": false, "err": err, "body": body })
}

/// A handshake's answer as the `# =` lines show it.
pub(crate) fn show_connect_response(response: &ConnectResponse) -> Value {
    let fields = json!({
        "protocolVersion": response.protocol_version, "timeOut": response.timeout_ms,
        "sessionId": response.session_id.0, "passwd": bytes(Some(&response.password)),
    });
    match response.read_only {
        None => fields,
        Some(read_only) => merged(fields, json!({ "readOnly": read_only })),
    }
}

/// A watch event's frame as the `# =` lines show it.
pub(crate) fn show_event(header: &ReplyHeader, event: &WatcherEvent<'_>) -> Value {
    let record = json!({ "type": event.ty, "state": event.state, "path": event.path });
    merged(show_reply(OpCode::Notification, header, None), record)
}

/// A txn as the `# =` lines show it.
pub(crate) fn show_txn(record: &TxnRecord<'_>) -> Value {
    let header = &record.header;
    let shown = json!({
        "hdr": {
            "clientId": header.session.0, "cxid": header.xid.0, "zxid": header.zxid.to_wire(), "time": header.time_ms,
            "type": header.op.to_wire(),
        },
        "txn": show_txn_body(&record.txn),
    });
    match record.digest {
        None => shown,
        Some((version, digest)) => {
            merged(shown, json!({ "digest": { "version": version, "treeDigest": digest.cast_signed() } }))
        }
    }
}

fn show_txn_body(txn: &Txn<'_>) -> Value {
    match txn {
        Txn::Create(create) => {
            let fields = json!({
                "path": create.path, "data": bytes(create.data), "acl": acl(create.acl),
                "parentCVersion": create.parent_cversion,
            });
            match create.op {
                OpCode::CreateTtl => merged(fields, json!({ "ttl": create.ttl_ms })),
                OpCode::CreateContainer => fields,
                _ => merged(fields, json!({ "ephemeral": create.ephemeral })),
            }
        }
        Txn::Delete { path, .. } => json!({ "path": path }),
        Txn::SetData { path, data, version, .. } => {
            json!({ "path": path, "data": bytes(*data), "version": version })
        }
        Txn::SetAcl { path, acl: list, version } => json!({ "path": path, "acl": acl(*list), "version": version }),
        Txn::Check { path, version } => json!({ "path": path, "version": version }),
        Txn::CreateSession { timeout_ms } => json!({ "timeOut": timeout_ms }),
        Txn::CloseSession(paths) => paths.map_or(Value::Null, |paths| json!({ "paths2Delete": strings(paths) })),
        Txn::Error(err) => json!({ "err": err }),
        Txn::Multi(txns) => {
            let shown = txns.iter().map(|txn| merged(json!({ "type": txn.op().to_wire() }), show_txn_body(txn)));
            json!({ "txns": shown.collect::<Value>() })
        }
    }
}
