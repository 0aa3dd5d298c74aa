//! The clients' side: requests are taken from the shards, and what is committed is applied and shown to them.
//!
//! Owns fairness among the shards, and that another tree takes its place before anything that follows on it is applied. The tree's lock is never taken without room in
//! every shard's stream.

use super::super::host::{Host, Planted, Shown, TreeLock};
use super::{BATCHES_PER_SHARD, Core, Note};
use crate::replica::Now;
use crate::stream::{StreamBatch, StreamItem};
use proto::Zxid;
use std::sync::Arc;

impl Core {
    /// Takes at most so much from each shard, starting with another one each time; then looks at the clocks.
    pub(super) fn take_requests<H: Host>(
        &mut self,
        host: &mut H,
        tree: &impl TreeLock,
        now: Now,
        all_read: bool,
    ) -> bool {
        let (mut progress, mut requests) = (false, 0);
        let tree = tree.read();
        if self.next_tree.is_none() && self.replica.begin_part(now, &tree) {
            host.note(Note::Serves(self.replica.follows()));
            progress = true;
        }
        let count = host.shards();
        self.first_shard = (self.first_shard + 1) % count.max(1);
        for offset in 0..count {
            let number = (self.first_shard + offset) % count;
            let mut any = false;
            for _ in 0..BATCHES_PER_SHARD {
                if self.replica.is_full() || self.lags_behind_itself(host) {
                    break;
                }
                let Some(batch) = host.next_forwards(number) else { break };
                self.replica.receive(now, &tree, &batch);
                requests += batch.requests();
                any = true;
            }
            if any {
                host.took_forwards(number);
            }
            progress |= any;
        }
        if !self.is_alone {
            progress |= self.replica.work_off_forwarded(now, &tree);
        }
        if requests > 0 {
            host.took_requests(requests);
        }
        // Whoever was heard of must have been told of: what lies unread in a link may be just that.
        if now.mono_ms >= self.next_tick_ms && !host.is_stopping() && all_read {
            self.replica.tick(now, &tree);
            host.ticked(&tree, &mut self.replica, now);
            self.next_tick_ms = self.replica.next_tick_ms(now);
            if let Some(until_ms) = self.replica.waits_to_hear(now) {
                host.ask_whom_they_heard(until_ms);
            }
        }
        drop(tree);
        self.act(host, None);
        progress
    }

    /// May an image be made of the tree, which is at `shown`? All of it is a quorum's and durable here, and no other tree is about to take its place.
    pub fn may_freeze<H: Host>(&self, host: &H, shown: Zxid) -> bool {
        let is_last = self.next_tree.is_none() && self.turns == 0 && !self.has_begun;
        is_last && shown <= self.replica.committed() && shown <= host.log_durable()
    }

    pub(super) fn apply<H: Host>(&mut self, host: &mut H, tree: &impl TreeLock) -> bool {
        if !(self.next_tree.is_some() || self.replica.can_apply()) || !host.has_room_everywhere() {
            return false;
        }
        let mut batch = StreamBatch::default();
        let mut tree = tree.write();
        let former = self.next_tree.take().map(|mut next| {
            let (text, version) = self.wire.config();
            next.show_ensemble(text, version, host.now().wall_ms);
            // Nobody is served, and the shards go where the tree is.
            batch.items.push(StreamItem::Serving(false));
            std::mem::replace(&mut *tree, *next)
        });
        let applied = self.replica.apply(&mut tree, &mut batch, host.apply_max());
        if let Some(mismatch) = self.replica.take_mismatch() {
            host.note(Note::Digest(mismatch));
        }
        let shown = tree.last_zxid();
        if host.plants(Planted::ReplyBeforeEvent) {
            batch.items.sort_by_key(|item| !matches!(item, StreamItem::Reply { .. }));
        }
        if host.plants(Planted::PositionAhead) {
            batch.zxid = batch.zxid.max(self.replica.committed());
        }
        let batch = Arc::new(batch);
        let may_freeze = self.may_freeze(host, shown);
        host.show(&mut tree, &Shown { applied, batch: &batch, replica: &self.replica, may_freeze });
        drop(tree);
        host.shown(&batch);
        if let Some(former) = former {
            host.drop_tree(former);
        }
        true
    }
}
