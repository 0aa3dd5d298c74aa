//! Empty containers and TTL znodes whose time has come: they are looked for now and then, and removed one by one.
//!
//! Owns the pace. It must never remove one that has a child: prep looks again. `engine/tests/sessions.rs` would catch a mistake.

use super::{Now, Replica, Waiter};
use crate::prep::Origin;
use crate::tree::Tree;
use proto::{SessionId, Xid};
use std::collections::VecDeque;
use std::sync::Arc;

impl Replica {
    pub(super) fn look_for_containers(&mut self, now: Now, tree: &Tree) {
        if now.mono_ms >= self.next_container_check_ms {
            self.next_container_check_ms = now.mono_ms + self.options.container_check_ms;
            self.containers = self.container_candidates(now, tree);
            self.next_container_ms = now.mono_ms;
        }
        let pause_ms = 60_000 / self.options.containers_per_minute_max.max(1);
        while now.mono_ms >= self.next_container_ms {
            let Some(path) = self.containers.pop_front() else { return };
            self.next_container_ms += pause_ms.max(1);
            let Some(zxid) = self.peer.next_zxid() else { return };
            let origin =
                Origin { session: SessionId(0), xid: Xid(0), zxid, time_ms: now.wall_ms, ids: &[], is_local: false };
            // It may have got a child, or gone, since it was found.
            if self.prep.delete_container(tree, &origin, &path, self.current.bytes_mut()).is_ok() {
                self.enter(now, zxid, Waiter::Nobody);
            }
        }
    }

    fn container_candidates(&self, now: Now, tree: &Tree) -> VecDeque<Arc<str>> {
        let never_used_ms_max = self.options.container_never_used_ms_max;
        let containers = tree.empty_containers().filter(|node| {
            let stat = node.persisted();
            let never_used = never_used_ms_max != 0 && now.wall_ms - stat.mtime > never_used_ms_max;
            stat.cversion > 0 || never_used
        });
        let expired = tree.ttls_due(now.wall_ms).filter(|node| node.child_count() == 0);
        containers.chain(expired).map(|node| node.shared_path()).collect()
    }
}
