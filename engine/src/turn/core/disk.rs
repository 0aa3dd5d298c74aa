//! What goes to the log and comes back from it, and what waits for that.
//!
//! Owns the order: items are handed over in the order in which they were said, and what waits for one leaves behind it and behind all that waited before. While an
//! item is on its way that begins another log, how far the log is durable means nothing.

use super::super::host::{Host, Planted};
use super::super::log::{LogDone, LogItem};
use super::{BATCH_BYTES, Core, Note, On, TO_LOG_MAX, Taking, Waiting};
use crate::replica::{Now, PENDING_BYTES_MAX};
use zab::{Gate, Input};

impl Core {
    /// Queues for the log what was appended since the last call.
    pub(super) fn hand_over_appends(&mut self) {
        if let Some(batch) = self.replica.take_appends() {
            self.to_log_bytes += batch.byte_len() + BATCH_BYTES;
            self.to_log.push_back(LogItem::Txns(batch));
        }
    }

    /// Does so much wait for the log that nothing is to be taken that would make more?
    pub(super) fn lags_behind_itself<H: Host>(&self, host: &H) -> bool {
        if self.is_alone {
            return self.to_log.len() >= TO_LOG_MAX || !host.log_has_room();
        }
        self.to_log_bytes >= PENDING_BYTES_MAX
    }

    /// Queues an item behind what was appended.
    pub(super) fn queue(&mut self, item: LogItem) {
        self.hand_over_appends();
        self.turns += usize::from(item.turns());
        self.to_log.push_back(item);
    }

    pub(super) fn hand_to_log<H: Host>(&mut self, host: &mut H) -> bool {
        let mut progress = false;
        while host.log_has_room()
            && let Some(item) = self.to_log.pop_front()
        {
            if let LogItem::Txns(batch) = &item {
                self.to_log_bytes -= batch.byte_len() + BATCH_BYTES;
            }
            host.push_log(item);
            progress = true;
        }
        progress
    }

    pub(super) fn hear_from_log<H: Host>(&mut self, host: &mut H, now: Now) -> bool {
        let could_apply = self.replica.can_apply();
        let mut progress = false;
        while let Some(done) = host.next_log_done() {
            self.hear_done(host, now, done);
            progress = true;
        }
        if self.turns == 0 {
            let mut durable = host.log_durable();
            if host.plants(Planted::OwnAckEarly) {
                durable = durable.max(self.replica.window().last());
            }
            self.replica.durable(now, durable);
            self.act(host, None);
            let begins_after = host.log_begins_after();
            if !self.is_alone && begins_after > self.purged {
                self.purged = begins_after;
                self.step(host, now, Input::Purged(begins_after));
            }
        }
        self.replica.log_room(host.log_room());
        let is_full = self.replica.log_budget().refuses_writes();
        if !self.is_alone && self.replica.peer().is_log_full() != is_full {
            self.step(host, now, Input::Full(is_full));
        }
        self.let_go();
        progress || self.replica.can_apply() && !could_apply
    }

    fn hear_done<H: Host>(&mut self, host: &mut H, now: Now, done: LogDone) {
        match done {
            LogDone::Epochs(epochs) => {
                if self.epochs_are_done() {
                    self.has_begun = false;
                    self.replica.state_adopted();
                    if !host.plants(Planted::StateShownEarly) {
                        self.next_tree = self.taken_tree.take();
                        host.begin_era();
                    }
                }
                self.step(host, now, Input::EpochsDurable(epochs));
            }
            LogDone::Cut { last, tree } => {
                self.turns -= 1;
                let applied = tree.as_ref().map_or(self.replica.window().applied(), |tree| tree.last_zxid());
                self.replica.log_was_cut(last, applied);
                if tree.is_some() {
                    self.next_tree = tree;
                    host.begin_era();
                }
                self.hold_leader(false);
                self.step(host, now, Input::IsCut { last });
            }
            LogDone::CutImpossible => {
                self.turns -= 1;
                host.note(Note::HistoryLost);
                self.step(host, now, Input::HistoryLost);
            }
            LogDone::Begun => {
                self.turns -= 1;
                // It may not be wanted any more.
                if let Some(Taking { link, state: Some(tree), .. }) = self.taking.take_if(|it| it.state.is_some()) {
                    let zxid = tree.last_zxid();
                    self.replica.state_begins(zxid);
                    if host.plants(Planted::StateShownEarly) {
                        self.next_tree = Some(tree);
                        host.begin_era();
                    } else {
                        self.taken_tree = Some(tree);
                    }
                    self.links.hold(link, false);
                    self.step(host, now, Input::SnapTaken { link, zxid });
                }
            }
            LogDone::Discarded => self.turns -= 1,
        }
    }

    /// The oldest epochs on their way are durable: what waits for them may go. Does a state come into force with them?
    fn epochs_are_done(&mut self) -> bool {
        let mut on_their_way = self.waiting.iter_mut().filter_map(|waiting| match &mut waiting.on {
            On::Epochs { adopts, is_done } if !*is_done => Some((*adopts, is_done)),
            _ => None,
        });
        let (adopts, is_done) = on_their_way.next().expect("epochs that are durable were written");
        *is_done = true;
        adopts
    }

    /// Sends what waited for the disk, as far as that has come.
    fn let_go(&mut self) {
        let durable = self.replica.peer().positions().durable;
        while let Some(first) = self.waiting.front() {
            match first.on {
                On::Txn(zxid) if zxid <= durable => {}
                On::Epochs { is_done: true, .. } => {}
                _ => break,
            }
            if let Some(Waiting { gate: Some(Gate { link, message }), .. }) = self.waiting.pop_front() {
                self.send(link, message);
            }
        }
    }

    pub(super) fn hold_leader(&mut self, is_held: bool) {
        if let Some(link) = self.leader_link {
            self.links.hold(link, is_held);
        }
    }
}
