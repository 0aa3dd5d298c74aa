//! The super user of a run: makes the sequence's root, at the end looks at every node below it and at its quotas, and removes them.
//!
//! What it sees is compared like any answer: so a difference that no operation happened to show is found all the same.

use crate::observe::{self, Item, Source, Value};
use crate::wire::{Incoming, Wire, connect_frame};
use proto::jute::frame;
use proto::request::RequestHeader;
use proto::{OpCode, SessionId, Writer, Xid};
use std::io;
use std::net::SocketAddr;

/// The super user that makes the root, looks at what is left below it, and removes it.
pub(crate) struct Overseer<'a> {
    wire: Wire,
    root: &'a str,
    items: Vec<Item>,
}

/// An ACL that allows everything to everybody, as a record.
const OPEN_ACL: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";

/// The nodes that are asked for at once.
const AUDIT_BATCH: usize = 100;

impl<'a> Overseer<'a> {
    /// Makes the root, which must not be there.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub(crate) fn enter(address: SocketAddr, root: &'a str) -> io::Result<Overseer<'a>> {
        let mut wire = Wire::connect(address)?;
        wire.send(&connect_frame(30_000, SessionId(0), &[0; 16], 0, Some(false)));
        let no = |what: &str| io::Error::other(format!("{address} {what} the super user"));
        let Incoming::Frame(_) = wire.receive() else { return Err(no("does not answer")) };
        let mut overseer = Overseer { wire, root, items: Vec::new() };
        overseer.send(OpCode::Auth, |w| {
            w.int(0);
            w.string("digest");
            w.buffer(Some(b"super:test"));
        });
        overseer.send(OpCode::Create, |w| {
            w.string(root);
            w.buffer(None);
            w.raw(OPEN_ACL);
            w.int(0);
        });
        for _ in 0..2 {
            match overseer.wire.receive() {
                Incoming::Frame(bytes) if bytes.get(12..16) == Some(&[0; 4]) => {}
                other => return Err(io::Error::other(format!("{address} refuses to make {root}: {other:?}"))),
            }
        }
        Ok(overseer)
    }

    fn send(&mut self, op: OpCode, body: impl FnOnce(&mut Writer<'_>)) {
        let mut bytes = Vec::new();
        frame(&mut bytes, |w| {
            RequestHeader { xid: Xid(1), op: op.to_wire() }.write(w);
            body(w);
        });
        self.wire.send(&bytes);
    }

    /// Looks at all nodes below the root and at the root's quotas, removes them, and leaves.
    pub(crate) fn audit_and_leave(&mut self) -> Vec<Item> {
        let quotas = format!("/zookeeper/quota{}", self.root);
        for top in [self.root.to_owned(), quotas] {
            let mut paths = self.walk(&top);
            paths.reverse();
            for batch in paths.chunks(AUDIT_BATCH) {
                for path in batch {
                    self.send(OpCode::Delete, |w| {
                        w.string(path);
                        w.int(-1);
                    });
                }
                for path in batch {
                    self.note(OpCode::Delete, path);
                }
            }
        }
        self.send(OpCode::CloseSession, |_| {});
        self.note(OpCode::CloseSession, "");
        std::mem::take(&mut self.items)
    }

    /// Every path from `top` on, parents first; what each node holds is noted.
    fn walk(&mut self, top: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut level = vec![top.to_owned()];
        while !level.is_empty() {
            let mut next = Vec::new();
            for batch in level.chunks(AUDIT_BATCH) {
                next.extend(self.look_at(batch, &mut found));
            }
            level = next;
        }
        found
    }

    fn look_at(&mut self, paths: &[String], found: &mut Vec<String>) -> Vec<String> {
        for path in paths {
            for op in [OpCode::GetData, OpCode::GetChildren2] {
                self.send(op, |w| {
                    w.string(path);
                    w.bool(false);
                });
            }
            self.send(OpCode::GetAcl, |w| w.string(path));
        }
        let mut children = Vec::new();
        for path in paths {
            self.note(OpCode::GetData, path);
            let before = self.items.len();
            self.note(OpCode::GetChildren2, path);
            self.note(OpCode::GetAcl, path);
            let Some(item) = self.items.get(before) else { continue };
            if item.value("err") != Some(&Value::Int(0)) {
                continue;
            }
            found.push(path.clone());
            children.extend(item.tokens.iter().filter_map(|token| match &token.value {
                Value::Text(Some(name)) if token.name == "child" => {
                    Some(format!("{path}/{}", String::from_utf8_lossy(name)))
                }
                _ => None,
            }));
        }
        children
    }

    fn note(&mut self, op: OpCode, path: &str) {
        let source = Source::Audit(format!("{op:?} {path}"));
        let item = match self.wire.receive() {
            Incoming::Frame(bytes) => observe::reply(op.to_wire(), source, &bytes),
            Incoming::Closed => Item::bare(Source::Closed),
            Incoming::Silence => Item::bare(Source::Silence),
        };
        self.items.push(item);
    }
}
