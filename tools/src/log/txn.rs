//! How a txn is shown: a line for people, a JSON object with everything for programs.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::AclVec;
use proto::txn::{Txn, TxnRecord};
use serde_json::{Value, json};

use super::filter::{parts, paths};
use super::source::Found;
use crate::units::{show_time, type_name};

/// The head of the columns of [`line`].
pub(crate) fn line_head() -> String {
    format!(
        "{:<18} {:<24} {:<18} {:>10} {:<15} {:>8} {:>8} PATH",
        "ZXID", "TIME", "SESSION", "CXID", "TYPE", "BYTES", "DATA"
    )
}

/// One line: zxid, time, session, cxid, type, bytes of the record, bytes of data, path.
pub(crate) fn line(found: &Found<'_>, record: &TxnRecord<'_>) -> String {
    let header = &record.header;
    let data = parts(&record.txn).filter_map(data_of).map(<[u8]>::len).sum::<usize>();
    format!(
        "{:<18} {:<24} {:<18} {:>10} {:<15} {:>8} {:>8} {}",
        header.zxid.to_string(),
        show_time(header.time_ms),
        header.session.to_string(),
        header.xid.0,
        type_name(header.op),
        found.bytes.len(),
        data,
        what(&record.txn),
    )
    .trim_end()
    .to_owned()
}

/// What a txn is about: its path, or what it has in place of one.
fn what(txn: &Txn<'_>) -> String {
    let printable = |path: &str| path.escape_debug().to_string();
    match txn {
        Txn::CreateSession { timeout_ms } => format!("timeout {timeout_ms} ms"),
        Txn::Error(code) => format!("error {code}"),
        Txn::CloseSession(_) => {
            let count = paths(txn).count();
            if count == 0 { String::new() } else { format!("with {count} ephemerals") }
        }
        Txn::Multi(parts) => {
            let shown = parts.iter().map(|part| format!("{} {}", type_name(part.op()), what(part)));
            shown.collect::<Vec<_>>().join(", ")
        }
        single => paths(single).map(printable).collect(),
    }
}

/// The data that an operation carries.
pub(crate) fn data_of<'a>(txn: &Txn<'a>) -> Option<&'a [u8]> {
    match txn {
        Txn::Create(create) => create.data,
        Txn::SetData { data, .. } => *data,
        _ => None,
    }
}

/// Everything that is in a txn, and where it was found.
pub(crate) fn to_json(found: &Found<'_>, record: &TxnRecord<'_>) -> Value {
    let header = &record.header;
    let mut object = body(&record.txn);
    let common = json!({
        "zxid": header.zxid.to_string(),
        "time": show_time(header.time_ms),
        "time_ms": header.time_ms,
        "session": header.session.to_string(),
        "cxid": header.xid.0,
        "type": type_name(header.op),
        "digest": record.digest.map(|(_, digest)| format!("{digest:#x}")),
        "digest_version": record.digest.map(|(version, _)| version),
        "bytes": found.bytes.len(),
        "file": found.file,
        "group_offset": found.offset,
    });
    if let (Value::Object(all), Value::Object(common)) = (&mut object, common) {
        all.extend(common);
    }
    object
}

fn body(txn: &Txn<'_>) -> Value {
    let op = type_name(txn.op());
    match txn {
        Txn::Create(create) => json!({
            "type": op,
            "path": create.path,
            "data": data(create.data),
            "acl": acl(&create.acl),
            "ephemeral": create.ephemeral,
            "parent_cversion": create.parent_cversion,
            "ttl_ms": create.ttl_ms,
        }),
        Txn::Delete { path, .. } => json!({ "type": op, "path": path }),
        Txn::SetData { path, data: bytes, version, .. } => {
            json!({ "type": op, "path": path, "data": data(*bytes), "version": version })
        }
        Txn::SetAcl { path, acl: entries, version } => {
            json!({ "type": op, "path": path, "acl": acl(entries), "version": version })
        }
        Txn::Check { path, version } => json!({ "type": op, "path": path, "version": version }),
        Txn::CreateSession { timeout_ms } => json!({ "type": op, "timeout_ms": timeout_ms }),
        Txn::CloseSession(ended) => {
            json!({ "type": op, "ephemerals": ended.map(|ended| ended.iter().collect::<Vec<_>>()) })
        }
        Txn::Error(code) => json!({ "type": op, "error": code }),
        Txn::Multi(parts) => json!({ "type": op, "operations": parts.iter().map(body).collect::<Vec<_>>() }),
    }
}

/// `{"text": …}` where the bytes are text, else `{"base64": …}`; null where there is no data.
pub(crate) fn data(bytes: Option<&[u8]>) -> Value {
    let is_text = |text: &&str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes).ok().filter(is_text))) {
        None => Value::Null,
        Some((_, Some(text))) => json!({ "text": text }),
        Some((bytes, None)) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

fn acl(entries: &AclVec<'_>) -> Value {
    let entries = entries.iter().map(|entry| json!({ "perms": entry.perms.0, "scheme": entry.scheme, "id": entry.id }));
    entries.collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_text_or_base64() {
        assert_eq!(data(None), Value::Null);
        assert_eq!(data(Some(b"")), json!({ "text": "" }));
        assert_eq!(data(Some("größe\n".as_bytes())), json!({ "text": "größe\n" }));
        assert_eq!(data(Some(b"\x00")), json!({ "base64": "AA==" }));
        assert_eq!(data(Some(b"\xff\xfe")), json!({ "base64": "//4=" }));
    }
}
