//! What comes from the other servers: votes, links, packets.
//!
//! Owns the order in which it is stepped: events first, packets, then the ends of links. A packet that is none, or a txn that could not be applied, costs the link.
//! What a leader sends is left where it is while the log has no room; what a learner sends is always read, since what was logged waits for it.

use super::super::host::{ElectionEvent, Host};
use super::super::links::LinkEvent;
use super::{Core, Note, Taking};
use crate::apply;
use crate::replica::Now;
use proto::DecodeError;
use proto::Zxid;
use proto::quorum::{FromLeader, FromLearner, QuorumPacket, is_ringkeeper};
use proto::txn::TxnRecord;
use zab::{Input, LinkId};

impl Core {
    pub(super) fn hear_election<H: Host>(&mut self, host: &mut H, now: Now) -> bool {
        let mut progress = false;
        while let Some(event) = host.next_election_event() {
            let input = match event {
                ElectionEvent::Voted { from, vote } => Input::Voted { from, vote },
                ElectionEvent::Reachable { server, is_up } => Input::Reachable { server, is_up },
            };
            self.step(host, now, input);
            progress = true;
        }
        progress
    }

    pub(super) fn look_at_the_clock<H: Host>(&mut self, host: &mut H, now: Now) {
        // The first one begins the election.
        let is_first = !std::mem::replace(&mut self.has_ticked, true);
        if is_first || self.replica.peer().deadline().is_some_and(|deadline| deadline <= now.mono_ms) {
            self.step(host, now, Input::Tick);
        }
    }

    pub(super) fn hear_links<H: Host>(&mut self, host: &mut H, now: Now) -> bool {
        let mut progress = self.hear_link_events(host, now);
        let readable: Vec<LinkId> = self.links.with_input().collect();
        for link in readable {
            progress |= self.read_link(host, now, link);
        }
        progress | self.hear_link_events(host, now)
    }

    fn hear_link_events<H: Host>(&mut self, host: &mut H, now: Now) -> bool {
        let mut progress = false;
        while let Some(event) = self.links.next_event() {
            progress = true;
            let input = match event {
                LinkEvent::Accepted(link) => Input::Accepted(link),
                LinkEvent::Dialled(link) => Input::Dialled(link),
                LinkEvent::NotDialled => Input::NotDialled,
                LinkEvent::Lost(link, why) => {
                    host.note(Note::Lost(link, why));
                    self.forget_link(host, link);
                    Input::Lost(link)
                }
                LinkEvent::Drained(link) => {
                    self.full.remove(&link);
                    Input::Room { link, has_room: true }
                }
            };
            self.step(host, now, input);
        }
        progress
    }

    fn read_link<H: Host>(&mut self, host: &mut H, now: Now, link: LinkId) -> bool {
        let is_leaders = self.leader_link == Some(link);
        let mut progress = false;
        let Some(mut unread) = self.links.take_unread(link) else { return false };
        loop {
            // What a leader sends has to be logged; what a learner sends is needed for what was logged to go on.
            if is_leaders && (self.replica.lags_behind_leader() || self.lags_behind_itself(host)) {
                break;
            }
            let packet = match unread.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => {
                    self.end_malformed(host, now, link, error);
                    return true;
                }
            };
            progress = true;
            let outcome = if is_leaders {
                self.hear_leader(host, now, link, &packet)
            } else {
                self.hear_learner(host, now, link, &packet)
            };
            if let Err(error) = outcome {
                self.end_malformed(host, now, link, error);
                return true;
            }
            // It may have been closed or held by that.
            if self.links.is_closed_or_held(link) {
                break;
            }
        }
        self.links.put_back(link, unread);
        progress
    }

    fn hear_leader<H: Host>(
        &mut self,
        host: &mut H,
        now: Now,
        link: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<(), DecodeError> {
        let said = FromLeader::decode(packet)?;
        if let FromLeader::LeaderInfo { protocol_version, .. } = said {
            self.leader_left_out = false;
            if let Some(server) = self.replica.peer().role().leader {
                host.note(Note::Met { link, server, is_ours: is_ringkeeper(protocol_version) });
            }
        }
        let mut marked = Vec::new();
        let txn = match said {
            FromLeader::Proposal { zxid, txn }
            | FromLeader::Inform { zxid, txn }
            | FromLeader::InformAndActivate { zxid, txn, .. } => {
                // It is applied later, and that cannot fail.
                let record = TxnRecord::decode(txn)?;
                if record.header.zxid != zxid || !apply::is_sound(&record.txn) {
                    return Err(DecodeError::UnexpectedNull);
                }
                // Java's digests are predicted, and not always right.
                if self.replica.peer().leader_is_ours() {
                    Some(txn)
                } else {
                    marked.extend_from_slice(txn);
                    TxnRecord::mark_as_predicted(&mut marked)?;
                    Some(marked.as_slice())
                }
            }
            _ => None,
        };
        if let FromLeader::Snap(_) = said {
            self.taking = Some(Taking { link, moved_ms: now.mono_ms, state: None });
        }
        let before = self.replica.peer().history().last();
        self.replica.step(now, Input::FromLeader(link, said));
        self.act(host, txn);
        if txn.is_some() {
            self.look_for_gap(host, link, before);
        }
        if self.replica.follows() == Some(link) {
            match said {
                FromLeader::Revalidate { session, valid } => self.replica.revalidated(now, session, valid),
                FromLeader::Sync => self.replica.synced(),
                _ => {}
            }
        }
        Ok(())
    }

    /// The history has ended with `after`: does what has come leave zxids out? A Java leader gives some to no txn; in the sync it may also have lost what it should send
    /// (ZOOKEEPER-4925), which nothing here can tell.
    fn look_for_gap<H: Host>(&mut self, host: &mut H, link: LinkId, after: Zxid) {
        let history = self.replica.peer().history();
        if history.gap() > after && !std::mem::replace(&mut self.leader_left_out, true) {
            let next = history.last();
            host.note(Note::Gap { link, after, next });
        }
    }

    fn hear_learner<H: Host>(
        &mut self,
        host: &mut H,
        now: Now,
        link: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<(), DecodeError> {
        let said = FromLearner::decode(packet)?;
        if let FromLearner::Info { info, .. } = said {
            let is_ours = is_ringkeeper(info.protocol_version);
            host.note(Note::Met { link, server: info.server, is_ours });
        }
        self.step(host, now, Input::FromLearner(link, said));
        // Whoever is not in step was closed just now.
        if self.links.is_closed_or_held(link) {
            return Ok(());
        }
        let has_room = match said {
            FromLearner::Ping { touches, .. } => {
                self.replica.touch_all(now, &touches);
                true
            }
            FromLearner::Revalidate { session, timeout_ms } => {
                self.replica.take_revalidation(link, session, timeout_ms)
            }
            FromLearner::Request(request) => self.replica.take_forwarded(link, &request),
            _ => true,
        };
        if !has_room {
            host.note(Note::TooManyRequests(link));
            self.end_link(host, now, link);
        }
        Ok(())
    }

    fn end_malformed<H: Host>(&mut self, host: &mut H, now: Now, link: LinkId, error: DecodeError) {
        host.note(Note::Malformed(link, error));
        self.end_link(host, now, link);
    }

    /// A link is gone, or is about to go: nothing is done for it any more.
    pub(super) fn forget_link<H: Host>(&mut self, host: &mut H, link: LinkId) {
        self.full.remove(&link);
        if self.syncs.iter().any(|sync| sync.link == link) {
            self.syncs.retain(|sync| sync.link != link);
            host.end_sync(link);
        }
        if self.leader_link == Some(link) {
            self.leader_link = None;
            if self.taking.take().is_some() {
                host.stop_taking();
            }
        }
    }
}
