//! Sequences: what is sent, as data that can be written to a file, read back, and cut down.
//!
//! A sequence owns no bytes of its own session ids, zxids or root: `~` in a path stands for the root that a run gives it, and zxids are named
//! by their place among those that the connection has seen. So the same sequence can be sent to any server, any number of times.
//! The file is JSON, one step a line.

use proto::{OpCode, Writer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is sent, step by step, over some connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The steps, one after the other.
    pub steps: Vec<Step>,
}

/// One step. After each, every open connection is brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// A new session; the connection's former socket, if open, is dropped.
    Open {
        /// The connection.
        conn: usize,
        /// Time-out asked for, in ms.
        timeout_ms: i32,
        /// Whether the read-only byte is sent, and what it says.
        read_only: Option<bool>,
    },
    /// The connection's session again, with its password; if the former socket is open, the server closes it.
    Reopen {
        /// The connection.
        conn: usize,
        /// The `lastZxidSeen` that is sent.
        last_zxid: ZxidRef,
    },
    /// The connection's session with a wrong password.
    WrongPassword {
        /// The connection.
        conn: usize,
    },
    /// A socket of its own: these bytes, then what comes back until the server closes it.
    Probe {
        /// What is sent, length included.
        bytes: Vec<u8>,
    },
    /// Bytes on an open connection, upon which the server closes it.
    Bytes {
        /// The connection.
        conn: usize,
        /// What is sent, length included.
        bytes: Vec<u8>,
    },
    /// The socket is closed without a word.
    Drop {
        /// The connection.
        conn: usize,
    },
    /// Operations on one connection, sent at once.
    Burst {
        /// The connection.
        conn: usize,
        /// The operations.
        ops: Vec<Op>,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Op {
    /// The opcode, which need not exist.
    pub op: i32,
    /// The xid; by default the connection's next one, or the operation's reserved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<i32>,
    /// The record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<Field>,
    /// Bytes cut off at the end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// A string; `~` stands for the root.
    Path(Option<String>),
    /// A buffer.
    Data(Option<String>),
    /// A buffer of that many bytes.
    Fill(usize),
    /// A 32-bit integer.
    Int(i32),
    /// A 64-bit integer.
    Long(i64),
    /// A boolean.
    Bool(bool),
    /// An ACL.
    Acl(Option<Vec<AclEntry>>),
    /// A list of paths.
    Paths(Option<Vec<Option<String>>>),
    /// A zxid.
    Zxid(ZxidRef),
    /// An operation of a multi.
    Sub(i32, Vec<Field>),
    /// The end of a multi.
    End,
    /// Bytes as they are.
    Raw(Vec<u8>),
}

/// An entry of an ACL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry(pub i32, pub Option<String>, pub Option<String>);

/// A zxid that both servers understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZxidRef {
    /// 0.
    Zero,
    /// The one in the connection's reply that many replies ago.
    Back(usize),
    /// Far ahead of every server.
    Ahead,
    /// -1.
    Minus,
}

/// Ahead of every server.
pub const ZXID_AHEAD: i64 = 1 << 50;

impl Sequence {
    /// How many operations it has: requests and handshakes.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Burst { ops, .. } = step { ops.len() } else { 1 }).sum()
    }

    /// How many connections it uses.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.steps.iter().filter_map(Step::conn).max().map_or(0, |last| last + 1)
    }

    /// The file's text.
    ///
    /// # Panics
    /// Never: a step can always be written.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.steps.iter().map(|step| serde_json::to_string(step).expect("a step can be written") + "\n").collect()
    }

    /// Reads a file's text; lines that begin with `#` are left out.
    ///
    /// # Errors
    /// The number of the line that is no step, and why.
    pub fn from_text(text: &str) -> Result<Sequence, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let step = |(number, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1));
        Ok(Sequence { steps: lines.map(step).collect::<Result<_, _>>()? })
    }
}

impl Step {
    /// The connection that it is about.
    #[must_use]
    pub const fn conn(&self) -> Option<usize> {
        match self {
            Step::Open { conn, .. }
            | Step::Reopen { conn, .. }
            | Step::WrongPassword { conn }
            | Step::Bytes { conn, .. }
            | Step::Drop { conn }
            | Step::Burst { conn, .. } => Some(*conn),
            Step::Probe { .. } => None,
        }
    }

    /// Does it close a session? Then ephemerals go in an order that ZooKeeper leaves open.
    #[must_use]
    pub fn closes_session(&self) -> bool {
        let close = OpCode::CloseSession.to_wire();
        matches!(self, Step::Burst { ops, .. } if ops.iter().any(|op| op.op == close))
    }
}

impl Op {
    /// An operation with that record.
    #[must_use]
    pub const fn new(op: OpCode, body: Vec<Field>) -> Op {
        Op { op: op.to_wire(), xid: None, body, cut: 0 }
    }

    /// The operation, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<OpCode> {
        OpCode::from_wire(self.op)
    }

    /// The first path of its record.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self.body.first() {
            Some(Field::Path(path)) => path.as_deref(),
            _ => None,
        }
    }

    /// Writes the record.
    pub fn write_body(&self, root: &str, zxid: &dyn Fn(ZxidRef) -> i64, out: &mut Vec<u8>) {
        let start = out.len();
        write_fields(&self.body, root, zxid, out);
        out.truncate(start.max(out.len().saturating_sub(self.cut)));
    }
}

/// A path with its root filled in.
#[must_use]
pub fn rooted(path: &str, root: &str) -> String {
    path.replace('~', root)
}

fn write_fields(fields: &[Field], root: &str, zxid: &dyn Fn(ZxidRef) -> i64, out: &mut Vec<u8>) {
    for field in fields {
        let mut w = Writer::new(out);
        match field {
            Field::Path(path) => w.string_or_null(path.as_ref().map(|path| rooted(path, root)).as_deref()),
            Field::Data(data) => w.buffer(data.as_ref().map(String::as_bytes)),
            Field::Fill(len) => w.buffer(Some(&vec![b'x'; *len])),
            Field::Int(value) => w.int(*value),
            Field::Long(value) => w.long(*value),
            Field::Bool(value) => w.bool(*value),
            Field::Acl(None) | Field::Paths(None) => w.int(-1),
            Field::Acl(Some(entries)) => {
                w.length(entries.len());
                for AclEntry(perms, scheme, id) in entries {
                    w.int(*perms);
                    w.string_or_null(scheme.as_deref());
                    w.string_or_null(id.as_deref());
                }
            }
            Field::Paths(Some(paths)) => {
                w.length(paths.len());
                for path in paths {
                    w.string_or_null(path.as_ref().map(|path| rooted(path, root)).as_deref());
                }
            }
            Field::Zxid(which) => w.long(zxid(*which)),
            Field::Sub(op, fields) => {
                w.int(*op);
                w.bool(false);
                w.int(-1);
                write_fields(fields, root, zxid, out);
            }
            Field::End => {
                w.int(-1);
                w.bool(true);
                w.int(-1);
            }
            Field::Raw(bytes) => w.raw(bytes),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Open { conn, timeout_ms, read_only } => {
                write!(f, "connection {conn}: new session, time-out {timeout_ms}, read-only {read_only:?}")
            }
            Step::Reopen { conn, last_zxid } => write!(f, "connection {conn}: reconnect, last zxid {last_zxid:?}"),
            Step::WrongPassword { conn } => write!(f, "connection {conn}: reconnect with a wrong password"),
            Step::Probe { bytes } => write!(f, "a socket of its own: {bytes:02x?}"),
            Step::Bytes { conn, bytes } => write!(f, "connection {conn}: {bytes:02x?}"),
            Step::Drop { conn } => write!(f, "connection {conn}: dropped"),
            Step::Burst { conn, ops } => {
                write!(f, "connection {conn}:")?;
                ops.iter().try_for_each(|op| write!(f, "\n    {op}"))
            }
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "{code:?}")?,
            None => write!(f, "opcode {}", self.op)?,
        }
        write_list(f, &self.body)?;
        if let Some(xid) = self.xid {
            write!(f, " xid {xid}")?;
        }
        if self.cut > 0 {
            write!(f, " without its last {} bytes", self.cut)?;
        }
        Ok(())
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, fields: &[Field]) -> fmt::Result {
    write!(f, "(")?;
    for (number, field) in fields.iter().enumerate() {
        write!(f, "{}{field}", if number == 0 { "" } else { ", " })?;
    }
    write!(f, ")")
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Path(None) | Field::Data(None) | Field::Acl(None) | Field::Paths(None) => write!(f, "null"),
            Field::Path(Some(path)) => write!(f, "{}", path.escape_debug()),
            Field::Data(Some(data)) => write!(f, "{data:?}"),
            Field::Fill(len) => write!(f, "{len} bytes"),
            Field::Int(value) => write!(f, "{value}"),
            Field::Long(value) => write!(f, "{value}"),
            Field::Bool(value) => write!(f, "{value}"),
            Field::Acl(Some(entries)) => {
                write!(f, "[")?;
                for AclEntry(perms, scheme, id) in entries {
                    write!(f, "{perms} {}:{} ", scheme.as_deref().unwrap_or("null"), id.as_deref().unwrap_or("null"))?;
                }
                write!(f, "]")
            }
            Field::Paths(Some(paths)) => write!(f, "{paths:?}"),
            Field::Zxid(which) => write!(f, "zxid {which:?}"),
            Field::Sub(op, fields) => {
                match OpCode::from_wire(*op) {
                    Some(code) => write!(f, "{code:?}")?,
                    None => write!(f, "opcode {op}")?,
                }
                write_list(f, fields)
            }
            Field::End => write!(f, "end"),
            Field::Raw(bytes) => write!(f, "raw {bytes:02x?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multi() -> Op {
        let delete = vec![Field::Path(Some("~/a".to_owned())), Field::Int(-1)];
        Op { cut: 2, ..Op::new(OpCode::Multi, vec![Field::Sub(2, delete), Field::End]) }
    }

    #[test]
    fn a_sequence_survives_its_file() {
        let sequence = Sequence {
            steps: vec![
                Step::Open { conn: 0, timeout_ms: 30_000, read_only: Some(false) },
                Step::Burst { conn: 0, ops: vec![multi()] },
                Step::Reopen { conn: 0, last_zxid: ZxidRef::Back(3) },
                Step::Probe { bytes: vec![0, 255] },
            ],
        };
        assert_eq!(Sequence::from_text(&format!("# seed 1\n{}", sequence.to_text())), Ok(sequence));
    }

    #[test]
    fn the_root_is_filled_in_and_the_end_cut_off() {
        let mut bytes = Vec::new();
        multi().write_body("/r", &|_| 0, &mut bytes);
        let mut expected = Vec::new();
        let mut w = Writer::new(&mut expected);
        w.int(2);
        w.bool(false);
        w.int(-1);
        w.string("/r/a");
        w.int(-1);
        w.raw(&[255, 255, 255, 255, 1, 255, 255]);
        assert_eq!(bytes, expected);
    }
}
