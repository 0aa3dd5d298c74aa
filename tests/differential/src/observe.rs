//! Takes frames apart into named values, of which each says how it is compared.
//!
//! Written over `proto`'s reader, but field by field: what does not parse is kept as bytes and compared as such, so a broken reply is a
//! difference and never an error of the harness.

use proto::jute::Result;
use proto::{OpCode, Reader};
use std::fmt;

/// What was seen on a connection: a frame, or that it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub source: Source,
    /// Its values.
    pub tokens: Vec<Token>,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The reply to the operation of a burst with that number.
    Reply(usize),
    /// A watch event.
    Event,
    /// The answer to a handshake.
    Handshake,
    /// The reply to the `sync` behind each step.
    Barrier,
    /// A frame that nobody asked for.
    Unasked,
    /// The server has closed the connection.
    Closed,
    /// The server was silent for [`crate::wire::SILENCE`].
    Silence,
    /// What a look at the tree showed of a path after the last step.
    Audit(String),
}

/// A value and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What the field is called.
    pub name: &'static str,
    /// What it holds.
    pub value: Value,
}

/// A value, and so how it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Must be the same.
    Int(i64),
    /// Must be the same.
    Text(Option<Vec<u8>>),
    /// Must be the same: bytes that do not parse.
    Raw(Vec<u8>),
    /// Must correspond, one to one and in order.
    Zxid(i64),
    /// Must correspond, one to one.
    Session(i64),
    /// Must be one and the same for each zxid.
    Time {
        /// The txn that wrote it.
        zxid: i64,
        /// The time, in ms.
        ms: i64,
    },
}

impl Item {
    /// An item without values.
    #[must_use]
    pub const fn bare(source: Source) -> Item {
        Item { source, tokens: Vec::new() }
    }

    /// The value of that name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.tokens.iter().find(|token| token.name == name).map(|token| &token.value)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)?;
        self.tokens.iter().try_for_each(|token| write!(f, " {}={}", token.name, token.value))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(value) => write!(f, "{value}"),
            Value::Text(None) => write!(f, "null"),
            Value::Text(Some(text)) if text.len() > 200 => write!(f, "{} bytes", text.len()),
            Value::Text(Some(text)) => write!(f, "{:?}", String::from_utf8_lossy(text)),
            Value::Raw(bytes) => write!(f, "{bytes:02x?}"),
            Value::Zxid(zxid) => write!(f, "zxid:{zxid:x}"),
            Value::Session(id) => write!(f, "session:{id:x}"),
            Value::Time { ms, .. } => write!(f, "time:{ms}"),
        }
    }
}

/// The zxid in a reply's or event's header, and its xid; none where it has no header.
#[must_use]
pub fn header(frame: &[u8]) -> Option<(i32, i64)> {
    let mut r = Reader::new(frame);
    Some((r.int().ok()?, r.long().ok()?))
}

/// A watch event.
#[must_use]
pub fn event(frame: &[u8]) -> Item {
    let tokens = read_all(frame, |t, r| {
        t.header(r)?;
        t.int("type", r)?;
        t.int("state", r)?;
        t.text("path", r)
    });
    Item { source: Source::Event, tokens }
}

/// The answer to a handshake.
#[must_use]
pub fn handshake(frame: &[u8]) -> Item {
    let tokens = read_all(frame, |t, r| {
        t.int("protocol", r)?;
        t.int("timeout", r)?;
        let session = r.long()?;
        t.push("session", Value::Session(session));
        let password = r.buffer()?;
        t.push("password-length", Value::Int(password.map_or(-1, |bytes| to_int(bytes.len()))));
        // Random, but not all of it zeros, unless there is no session.
        t.push(
            "password-set",
            Value::Int(i64::from(password.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)))),
        );
        if !r.is_empty() {
            t.push("read-only", Value::Int(i64::from(r.byte()?)));
        }
        Ok(())
    });
    Item { source: Source::Handshake, tokens }
}

/// The reply to `op`.
#[must_use]
pub fn reply(op: i32, source: Source, frame: &[u8]) -> Item {
    let tokens = read_all(frame, |t, r| {
        let failed = t.header(r)? != 0;
        match OpCode::from_wire(op) {
            Some(code) if !failed => t.record(code, r),
            _ => Ok(()),
        }
    });
    Item { source, tokens }
}

fn to_int(len: usize) -> i64 {
    i64::try_from(len).expect("a length fits")
}

/// Reads a frame; what is left when `read` is done, or cannot go on, is kept as bytes.
fn read_all(frame: &[u8], read: impl FnOnce(&mut Tokens, &mut Reader<'_>) -> Result<()>) -> Vec<Token> {
    let mut tokens = Tokens(Vec::new());
    let mut reader = Reader::new(frame);
    let broken = read(&mut tokens, &mut reader).is_err();
    if broken || !reader.is_empty() {
        tokens.push("unread", Value::Raw(reader.rest().to_vec()));
    }
    tokens.0
}

struct Tokens(Vec<Token>);

impl Tokens {
    fn push(&mut self, name: &'static str, value: Value) {
        self.0.push(Token { name, value });
    }

    fn int(&mut self, name: &'static str, r: &mut Reader<'_>) -> Result<()> {
        self.push(name, Value::Int(i64::from(r.int()?)));
        Ok(())
    }

    fn text(&mut self, name: &'static str, r: &mut Reader<'_>) -> Result<()> {
        self.push(name, Value::Text(r.buffer()?.map(<[u8]>::to_vec)));
        Ok(())
    }

    /// Its error code.
    fn header(&mut self, r: &mut Reader<'_>) -> Result<i64> {
        self.int("xid", r)?;
        self.push("header-zxid", Value::Zxid(r.long()?));
        let err = i64::from(r.int()?);
        self.push("err", Value::Int(err));
        Ok(err)
    }

    fn stat(&mut self, r: &mut Reader<'_>) -> Result<()> {
        let (czxid, mzxid, ctime, mtime) = (r.long()?, r.long()?, r.long()?, r.long()?);
        self.push("czxid", Value::Zxid(czxid));
        self.push("mzxid", Value::Zxid(mzxid));
        self.push("ctime", Value::Time { zxid: czxid, ms: ctime });
        self.push("mtime", Value::Time { zxid: mzxid, ms: mtime });
        self.int("version", r)?;
        self.int("cversion", r)?;
        self.int("aversion", r)?;
        self.push("ephemeralOwner", Value::Session(r.long()?));
        self.int("dataLength", r)?;
        self.int("numChildren", r)?;
        self.push("pzxid", Value::Zxid(r.long()?));
        Ok(())
    }

    /// A list that ZooKeeper leaves unordered.
    fn unordered(&mut self, name: &'static str, r: &mut Reader<'_>) -> Result<()> {
        let count = r.int()?;
        let mut names = (0..count).map(|_| Ok(r.buffer()?.map(<[u8]>::to_vec))).collect::<Result<Vec<_>>>()?;
        names.sort_unstable();
        self.push("count", Value::Int(i64::from(count)));
        for text in names {
            self.push(name, Value::Text(text));
        }
        Ok(())
    }

    /// An ACL: entries beside each other with the same permissions may have changed places, where `auth` stood for several identities.
    fn acl(&mut self, r: &mut Reader<'_>) -> Result<()> {
        let count = r.int()?;
        let mut entries = (0..count)
            .map(|_| Ok((r.int()?, r.buffer()?.map(<[u8]>::to_vec), r.buffer()?.map(<[u8]>::to_vec))))
            .collect::<Result<Vec<_>>>()?;
        entries.chunk_by_mut(|a, b| a.0 == b.0).for_each(<[_]>::sort_unstable);
        self.push("count", Value::Int(i64::from(count)));
        for (perms, scheme, id) in entries {
            self.push("perms", Value::Int(i64::from(perms)));
            self.push("scheme", Value::Text(scheme));
            self.push("id", Value::Text(id));
        }
        Ok(())
    }

    fn identities(&mut self, r: &mut Reader<'_>) -> Result<()> {
        let count = r.int()?;
        let mut identities =
            (0..count).map(|_| Ok((r.buffer()?, r.buffer()?))).collect::<Result<Vec<(Option<&[u8]>, _)>>>()?;
        identities.sort_unstable();
        self.push("count", Value::Int(i64::from(count)));
        for (scheme, user) in identities {
            self.push("scheme", Value::Text(scheme.map(<[u8]>::to_vec)));
            self.push("user", Value::Text(user.map(<[u8]>::to_vec)));
        }
        Ok(())
    }

    fn results(&mut self, r: &mut Reader<'_>) -> Result<()> {
        loop {
            let (ty, done, err) = (r.int()?, r.bool()?, r.int()?);
            self.push("result-type", Value::Int(i64::from(ty)));
            self.push("result-err", Value::Int(i64::from(err)));
            if done {
                return Ok(());
            }
            match OpCode::from_wire(ty) {
                Some(OpCode::Error) => self.int("result-error", r)?,
                Some(OpCode::Check) => {}
                Some(code) => self.record(code, r)?,
                None => return Err(proto::DecodeError::InvalidMultiOp),
            }
        }
    }

    fn record(&mut self, code: OpCode, r: &mut Reader<'_>) -> Result<()> {
        match code {
            OpCode::Create | OpCode::Sync => self.text("path", r),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                self.text("path", r)?;
                self.stat(r)
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl | OpCode::Check => self.stat(r),
            OpCode::GetData | OpCode::Reconfig => {
                self.text("data", r)?;
                self.stat(r)
            }
            OpCode::GetAcl => {
                self.acl(r)?;
                self.stat(r)
            }
            OpCode::GetChildren => self.unordered("child", r),
            OpCode::GetEphemerals => self.unordered("ephemeral", r),
            OpCode::GetChildren2 => {
                self.unordered("child", r)?;
                self.stat(r)
            }
            OpCode::GetAllChildrenNumber => self.int("total", r),
            OpCode::AddWatch => self.int("added", r),
            OpCode::Multi | OpCode::MultiRead => self.results(r),
            OpCode::WhoAmI => self.identities(r),
            OpCode::Sasl => self.text("token", r),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Writer;

    fn children(names: &[&str]) -> Item {
        let mut frame = Vec::new();
        let mut w = Writer::new(&mut frame);
        w.int(1);
        w.long(2);
        w.int(0);
        w.strings(names.iter().copied());
        reply(OpCode::GetChildren.to_wire(), Source::Reply(0), &frame)
    }

    #[test]
    fn children_have_no_order() {
        assert_eq!(children(&["b", "a"]), children(&["a", "b"]));
        assert_ne!(children(&["b", "a"]), children(&["a"]));
    }

    #[test]
    fn what_does_not_parse_is_kept() {
        let item = reply(OpCode::GetChildren.to_wire(), Source::Reply(0), &[0, 0, 0, 1, 9]);
        assert_eq!(item.value("xid"), Some(&Value::Int(1)));
        assert_eq!(item.value("unread"), Some(&Value::Raw(vec![9])));
    }
}
