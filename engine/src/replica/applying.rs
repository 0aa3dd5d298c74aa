//! Applying: committed txns change the tree, and what was asked for them is said, both in one order.
//!
//! Owns that order: a reply stands right behind the txn that it answers, and whatever else is said behind the txn that was the last when it was ordered. It
//! must never apply what is not committed. The tree's digest, which is asserted after every txn, and `engine/tests/sessions.rs` would catch a mistake.

use super::{DIGEST_EVERY, DIGESTS_MAX, Handshake, Part, Replica, Say, Waiter};
use crate::apply;
use crate::session::Owner;
use crate::stream::{Detach, Refusal, StreamBatch, StreamItem};
use crate::tree::Tree;
use proto::txn::{PREDICTED_DIGEST_VERSION, Txn, TxnRecord};
use proto::{ErrorCode, Zxid};

impl Replica {
    /// Has [`Replica::apply`] anything to do?
    #[must_use]
    pub fn can_apply(&self) -> bool {
        let says = self.says.front().is_some_and(|(behind, _)| *behind <= self.window.applied());
        says || self.has_next()
    }

    /// Is the window's next txn one to apply? Not while the window is that of a state which is not in force: the tree shows another.
    fn has_next(&self) -> bool {
        let may_have = self.former_window.is_none() && self.window.applied() < self.committed;
        may_have && self.window.next().is_some_and(|next| next <= self.committed)
    }

    /// Applies committed txns, at most `count_max` items, and fills the stream. Returns how many txns were applied. The caller holds the tree's lock.
    ///
    /// # Panics
    /// If a txn does not fit the tree, see [`apply::apply`].
    pub fn apply(&mut self, tree: &mut Tree, out: &mut StreamBatch, count_max: usize) -> u64 {
        let (counted, mut applied_count) = (tree.subtrees_counted(), 0);
        for _ in 0..count_max {
            // A quota that begins counts its subtree: once under one hold of the lock.
            if tree.subtrees_counted() != counted {
                break;
            }
            let applied = self.window.applied();
            if let Some((_, say)) = self.says.pop_front_if(|(behind, _)| *behind <= applied) {
                self.say_now(tree, out, say);
            } else if self.has_next() {
                self.apply_next(tree, out);
                applied_count += 1;
            } else {
                break;
            }
        }
        out.zxid = tree.last_zxid();
        self.prep.applied(tree.last_zxid());
        applied_count
    }

    pub(super) fn say_now(&mut self, tree: &Tree, out: &mut StreamBatch, say: Say) {
        let (to, xid, err, path, close) = match say {
            Say::Item(item) => return out.items.push(*item),
            Say::Reply { to, xid, err, path, close } => (to, xid, err, path, close),
            Say::Synced(session, xid) => {
                let Some((to, xid, path)) = self.following.take_sync(session, xid) else { return };
                self.say_now(tree, out, Say::Reply { to, xid, err: None, path: Some(path), close: false });
                return self.close_local_now(tree, out, session);
            }
        };
        let start = out.bytes.len();
        if let Some(path) = &path {
            self.says_bytes = self.says_bytes.saturating_sub(path.len());
            proto::Writer::new(&mut out.bytes).string(path);
        }
        let err = err.map_or(0, ErrorCode::to_wire);
        let body = start..out.bytes.len();
        out.items.push(StreamItem::Reply { to, xid, zxid: tree.last_zxid(), err, body, close });
    }

    fn apply_next(&mut self, tree: &mut Tree, out: &mut StreamBatch) {
        let (zxid, batch, range) = self.window.apply_next();
        let bytes = batch.bytes_at(range);
        let record = TxnRecord::decode(bytes).expect("it was decoded, or written here, before it was appended");
        assert!(record.header.zxid == zxid, "txn {} stands where {zxid} was put", record.header.zxid);
        match self.part {
            Part::Following(_) => self.figures.commits_received += 1,
            Part::Leading => self.figures.commits += 1,
            Part::Looking | Part::Begins(..) => {}
        }
        if matches!(self.part, Part::Following(_)) {
            let (session, xid) = (record.header.session, record.header.xid);
            while let Some((to, xid, path)) = self.following.take_sync_before(session, xid) {
                self.say_now(tree, out, Say::Reply { to, xid, err: None, path: Some(path), close: false });
            }
        }
        let waiter = self.waiter_of(zxid, &record);
        let start = out.bytes.len();
        let asked = waiter.client();
        let err = waiter.told(apply::apply(tree, &record, &mut out.items, waiter.answer(&mut out.bytes)));
        if let Some((PREDICTED_DIGEST_VERSION, predicted)) = record.digest {
            let differs = self.predictions.compare(zxid, predicted, tree.digest());
            self.figures.digest_mismatches += u64::from(differs);
        }
        self.keep_digest(tree, zxid);
        let closes = matches!(record.txn, Txn::CloseSession(_));
        let session = record.header.session;
        let had_it = if closes {
            self.note_end(session);
            self.sessions.remove(session)
        } else {
            None
        };
        match waiter {
            Waiter::Client { to, .. } | Waiter::Refusal { to, .. } if err == ErrorCode::SessionMoved.to_wire() => {
                // The connection is an old one: nothing that is asked on it is answered (law 4).
                out.items.push(StreamItem::Detached { from: to, session, reason: Detach::SessionMoved });
            }
            Waiter::Client { to, xid, .. } | Waiter::Refusal { to, xid } => {
                let body = start..out.bytes.len();
                out.items.push(StreamItem::Reply { to, xid, zxid, err, body, close: closes });
            }
            Waiter::Connect(Handshake { to, .. }) if err != 0 => {
                // The leader had no room for it in its log.
                self.sessions.remove(session);
                out.items.push(StreamItem::Refused { to, reason: Refusal::Unavailable });
            }
            Waiter::Connect(shake) => {
                let response = shake.granted(session);
                out.items.push(StreamItem::Connected { to: shake.to, zxid, response });
            }
            Waiter::Upgrade => self.upgraded(session, err == 0),
            Waiter::Expiry => self.expiring -= 1,
            Waiter::Nobody => {}
        }
        if let Some(from) = had_it.and_then(Owner::here).filter(|from| asked != Some(*from)) {
            let reason = if asked.is_some() { Detach::Closed } else { Detach::Expired };
            out.items.push(StreamItem::Detached { from, session, reason });
        }
        self.close_local_now(tree, out, session);
    }

    /// Who waits for this txn here.
    fn waiter_of(&mut self, zxid: Zxid, record: &TxnRecord<'_>) -> Waiter {
        match self.part {
            Part::Following(_) => self.following.take_waiter(record),
            _ => self.waiters.pop_front_if(|(of, _)| *of == zxid).map_or(Waiter::Nobody, |(_, waiter)| waiter),
        }
    }

    fn keep_digest(&mut self, tree: &Tree, zxid: Zxid) {
        if zxid.0.is_multiple_of(DIGEST_EVERY) {
            if self.digests.len() == DIGESTS_MAX {
                self.digests.pop_front();
            }
            self.digests.push_back((zxid, tree.digest()));
        }
    }
}
