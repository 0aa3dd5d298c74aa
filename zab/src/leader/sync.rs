//! What each learner gets: what it lacks, then NEWLEADER, UPTODATE, and from then on the broadcast.
//!
//! Owns the cursors of the links. Between NEWLEADER and UPTODATE a learner gets PINGs alone. A Java leader sends it, from before NEWLEADER on, what is
//! proposed and committed meanwhile; that is where Java's learners have lost txns, and where those of 3.8 die of a COMMIT (ZOOKEEPER-3911, 4394, 4646,
//! 4785). Nothing needs it: what is not committed when NEWLEADER leaves is as good after UPTODATE. It must never send what the caller has forgotten.
//! The scripts `sync-*` and `broadcast-*`, and the random driver, would catch a mistake. Mirrors `LearnerHandler.syncFollower`, `Leader.startForwarding`.

use super::link::Stage;
use super::{Leader, Phase};
use crate::event::{Action, LinkEnd, LinkId, Message, Ms, Sync};
use crate::history::Plan;
use crate::server::Server;
use proto::Zxid;

impl Leader {
    /// Begins to send what they lack to the learners that have said where they are.
    pub(super) fn bring_into_step(&mut self, now: Ms, server: &Server, out: &mut Vec<Action>) {
        let waiting = self.learners.iter().filter_map(|(link, learner)| match learner.stage {
            Stage::Promised { last } => Some((*link, last, learner.is_ours, learner.is_observer)),
            _ => None,
        });
        let waiting: Vec<_> = waiting.collect();
        for (link, last, is_ours, is_observer) in waiting {
            let plan = if server.options.always_snap { Plan::Snap } else { server.history.plan(last) };
            let (floor, gap) = (server.history.floor(), server.history.gap());
            let begins = match plan {
                Plan::Diff { after } | Plan::Trunc { to: after } => after,
                Plan::Snap => floor,
            };
            // A learner of 3.9.5 takes no PROPOSAL and COMMIT behind a gap, after a state neither; whether it is one nothing tells. Before the office is established there may be
            // no state that reaches beyond it: a voter may be needed for that to come.
            if !is_ours && begins < gap {
                if gap <= server.committed {
                    self.begin_sync(now, link, Sync::Snap { zxid: gap.max(floor) }, out);
                    continue;
                }
                if is_observer && self.phase != Phase::Broadcast {
                    continue;
                }
            }
            let after = match plan {
                Plan::Diff { after } => {
                    out.push(Action::Send(link, Message::Diff(self.sync_end(server))));
                    after
                }
                Plan::Trunc { to } => {
                    out.push(Action::Send(link, Message::Trunc(to)));
                    to
                }
                Plan::Snap => {
                    // The log has to go on where the state ends. Nothing newer is asked for: it would have to be made first, for longer than the learner waits where the tree
                    // is large, and by then what is committed would be newer still.
                    self.begin_sync(now, link, Sync::Snap { zxid: floor }, out);
                    continue;
                }
            };
            self.send_lack(now, server, link, after, out);
        }
    }

    /// Up to where a learner that joins gets everything as committed. Before the office is established that is all: its quorum makes it so.
    fn sync_end(&self, server: &Server) -> Zxid {
        if self.phase == Phase::Broadcast { server.committed } else { server.last() }
    }

    fn begin_sync(&mut self, now: Ms, link: LinkId, sync: Sync, out: &mut Vec<Action>) {
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::Syncing;
            learner.heard = now;
            out.push(Action::Sync(link, sync));
        }
    }

    /// The learner has everything up to `after`: sends the rest from memory or asks for it, then NEWLEADER.
    fn send_lack(&mut self, now: Ms, server: &Server, link: LinkId, after: Zxid, out: &mut Vec<Action>) {
        let to = self.sync_end(server);
        if after < to && after < server.forgot {
            if after < server.history.floor() {
                // The log has been purged meanwhile.
                self.close(link, LinkEnd::Lagging, out);
            } else {
                self.begin_sync(now, link, Sync::Log { after, to, epoch: self.epoch }, out);
            }
            return;
        }
        if after < to {
            out.push(Action::Send(link, Message::Committed { after, to }));
        }
        out.push(Action::Send(link, Message::NewLeader(self.epoch)));
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::NewLeader;
            learner.heard = now;
            // A learner that comes back in the same epoch may have more than is committed; then it has acked that with NEWLEADER.
            learner.sent = after.max(to);
        }
    }

    /// What was sent beside the core has arrived on the link.
    pub(super) fn synced(&mut self, now: Ms, server: &Server, link: LinkId, to: Zxid, out: &mut Vec<Action>) {
        if self.learners.get(&link).is_some_and(|learner| learner.stage == Stage::Syncing) {
            self.send_lack(now, server, link, to, out);
        }
    }

    /// Lets learners that are in step take part, as far as what they have is committed.
    pub(super) fn admit(&mut self, now: Ms, server: &Server, out: &mut Vec<Action>) {
        if self.phase != Phase::Broadcast {
            return;
        }
        let first = self.first(server);
        for (link, learner) in &mut self.learners {
            // What comes before the epoch's first position is committed, and a learner may have said that position itself.
            if learner.stage == Stage::Synced && learner.sent <= server.committed.max(first) {
                learner.stage = Stage::UpToDate;
                learner.heard = now;
                learner.sent = learner.sent.max(first);
                learner.told = learner.sent;
                learner.acked = learner.sent;
                out.push(Action::Send(*link, Message::UpToDate));
            }
        }
    }

    /// Says what the learners get of the turn's proposals and commits.
    pub(crate) fn flush(&mut self, now: Ms, server: &Server, out: &mut Vec<Action>) {
        if self.phase != Phase::Broadcast {
            return;
        }
        let mut lagging = Vec::new();
        for (link, learner) in &mut self.learners {
            if learner.stage != Stage::UpToDate {
                continue;
            }
            let (after, to) =
                if learner.is_observer { (learner.told, server.committed) } else { (learner.sent, self.proposed) };
            if after < to && after < server.forgot {
                lagging.push(*link);
                continue;
            }
            if !learner.has_room {
                continue;
            }
            if after < to {
                if learner.is_observer {
                    out.push(Action::Send(*link, Message::Informs { after, to }));
                    (learner.sent, learner.told) = (to, to);
                } else {
                    out.push(Action::Send(*link, Message::Proposals { after, to }));
                    learner.sent = to;
                    learner.due_since = learner.due_since.or(Some(now));
                }
            }
            let (after, to) = (learner.told, server.committed.min(learner.sent));
            if after < to {
                out.push(Action::Send(*link, Message::Commits { after, to }));
                learner.told = to;
            }
        }
        for link in lagging {
            self.close(link, LinkEnd::Lagging, out);
        }
    }
}
