//! What takes its time and is done beside the loop: a state that is taken, and what learners are sent that lack much.
//!
//! Owns when such work is given up: where nothing moves for initLimit. The host does the work; here are the links that it moves on.

use super::super::host::{Host, SyncProgress, Taken};
use super::super::log::LogItem;
use super::{Core, Syncing, Taking};
use crate::replica::Now;
use zab::{Input, LinkId};

impl Core {
    pub(super) fn work_beside<H: Host>(&mut self, host: &mut H, now: Now) -> bool {
        self.take_state(host, now) | self.send_what_is_lacking(host, now)
    }

    fn take_state<H: Host>(&mut self, host: &mut H, now: Now) -> bool {
        let Some(Taking { link, state: None, moved_ms, .. }) = self.taking else { return false };
        let Some(input) = self.links.raw_input(link) else { return false };
        let before = input.len();
        host.feed(input);
        let moved = input.len() != before;
        let waits = host.wants_more() && !moved;
        // The time counts in which nothing comes, and not that in which what came is worked off.
        if !waits && let Some(taking) = &mut self.taking {
            taking.moved_ms = now.mono_ms;
        }
        match host.taken() {
            None if waits && now.mono_ms - moved_ms >= self.replica.peer().init_ms() => {
                self.end_link(host, now, link);
                true
            }
            None => moved,
            Some(Err(())) => {
                self.end_link(host, now, link);
                true
            }
            Some(Ok(Taken { tree, image, rest })) => {
                if let Some(input) = self.links.raw_input(link) {
                    input.splice(0..0, rest);
                }
                if let Some(taking) = &mut self.taking {
                    taking.state = Some(tree);
                }
                self.has_begun = true;
                self.queue(LogItem::Begin(image));
                true
            }
        }
    }

    /// A link is of no more use here: as if it had ended.
    pub(super) fn end_link<H: Host>(&mut self, host: &mut H, now: Now, link: LinkId) {
        self.links.abort(link);
        self.forget_link(host, link);
        self.step(host, now, Input::Lost(link));
    }

    fn send_what_is_lacking<H: Host>(&mut self, host: &mut H, now: Now) -> bool {
        let mut progress = false;
        for at in 0..self.syncs.len() {
            let Some(Syncing { link, unsent, moved_ms }) = self.syncs.get(at).copied() else { break };
            let before = self.links.to_send(link).len();
            // The time counts in which the learner takes nothing, and not that in which there is nothing for it.
            let moved_ms = if before == 0 || before != unsent { now.mono_ms } else { moved_ms };
            let mut outcome = SyncProgress::Waits;
            while !self.links.is_full(link) {
                outcome = self.links.output(link).map_or(SyncProgress::Failed, |out| host.next_sync(link, out));
                progress |= outcome != SyncProgress::Waits;
                if outcome != SyncProgress::Appended {
                    break;
                }
            }
            if let Some(sync) = self.syncs.get_mut(at) {
                *sync = Syncing { link, unsent: self.links.to_send(link).len(), moved_ms };
            }
            match outcome {
                SyncProgress::Done(to) => {
                    self.syncs.retain(|sync| sync.link != link);
                    host.end_sync(link);
                    self.step(host, now, Input::Synced { link, to });
                    return true;
                }
                SyncProgress::Failed => {
                    self.end_link(host, now, link);
                    return true;
                }
                _ if now.mono_ms - moved_ms >= self.replica.peer().init_ms() => {
                    self.end_link(host, now, link);
                    return true;
                }
                SyncProgress::Waits | SyncProgress::Appended => {}
            }
        }
        progress
    }
}
