//! A shard of a simulated server: the production `ShardState`, and around it what `server/src/shard.rs` does in a turn.
//!
//! Owns the sockets of its clients. What goes to the core and what comes from it lies in a [`Lane`]. It must never decide anything about the protocol.

use super::bugs::Bug;
use super::effects::Effect;
use super::process::{TICK_MS, Turn, us};
use crate::world::chance::Chance;
use crate::world::network::ConnId as NetConn;
use engine::replica::{ForwardBatch, Now};
use engine::shard::{Action, Served, ShardOptions, ShardState};
use engine::stream::{ConnId, ShardId, StreamBatch};
use engine::tree::Tree;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Forwarded batches that a shard's way to the core takes.
const INBOX_MAX: usize = 4;
/// Batches that the core's way to a shard takes.
const STREAM_MAX: usize = 64;

/// The queues between a shard and the core.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) inbox: VecDeque<ForwardBatch>,
    pub(super) stream: VecDeque<Arc<StreamBatch>>,
    /// Up to when the core wants to know whom the shard heard, ms.
    pub(super) asked_until_ms: i64,
}

impl Lane {
    /// Does it take another batch of the stream?
    pub(super) fn has_room(&self) -> bool {
        self.stream.len() < STREAM_MAX
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    number: usize,
    state: ShardState,
    sockets: BTreeMap<u32, Socket>,
    next_generation: u32,
    told_until_ms: i64,
    next_tick_ms: i64,
}

#[derive(Debug)]
pub(super) struct Socket {
    net: NetConn,
    id: ConnId,
    /// What has come and was not read yet.
    pub(super) unread: Vec<u8>,
    pub(super) is_over: bool,
    is_paused: bool,
}

impl Shard {
    pub(super) fn new(number: usize, tree: &Tree, is_serving: bool) -> Shard {
        let shard = ShardId(u16::try_from(number).unwrap_or(0));
        // Small, so that the limits are met.
        let options =
            ShardOptions { shard, in_flight_max: 4, output_bytes_soft: 4 << 10, is_serving, ..ShardOptions::default() };
        Shard {
            number,
            state: ShardState::new(options, tree.last_zxid()),
            sockets: BTreeMap::new(),
            next_generation: 0,
            told_until_ms: 0,
            next_tick_ms: 0,
        }
    }

    /// As `ShardHandler::on_turn`.
    pub(super) fn turn(
        &mut self,
        tree: &Tree,
        lane: &mut Lane,
        now: Now,
        chance: &mut Chance,
        effects: &mut Vec<Effect>,
        bug: Option<Bug>,
    ) {
        self.read_sockets(now, effects);
        let is_planted = bug == Some(Bug::LaterWriteVisible);
        while let Some(batch) = lane.stream.pop_front_if(|_| !is_planted) {
            self.state.on_stream(&batch, us(now));
        }
        self.tell_whom_it_heard(now, lane.asked_until_ms);
        let number = self.number;
        for _ in 0..8 {
            if !self.state.has_ready() {
                break;
            }
            let served = self.state.serve(tree, lane.inbox.len() < INBOX_MAX, us(now));
            self.hand_over(lane, effects);
            if served != Served::More {
                break;
            }
        }
        while let Some(batch) = lane.stream.pop_front() {
            self.state.on_stream(&batch, us(now));
        }
        self.hand_over(lane, effects);
        self.perform(effects);
        if self.state.has_ready() && lane.inbox.len() < INBOX_MAX || self.sockets.values().any(Socket::has_more) {
            effects.push(Effect::WakeLater(Turn::Shard(number)));
        }
        // A thread may be woken for nothing.
        if chance.one_in(50) {
            effects.push(Effect::Wake(Turn::Core));
        }
    }

    /// Somebody has connected.
    pub(super) fn accepted(&mut self, net: NetConn, now: Now) {
        let slot = (0..).find(|slot| !self.sockets.contains_key(slot)).unwrap_or(0);
        self.next_generation += 1;
        let id = ConnId { slot, generation: self.next_generation };
        self.state.accept(id, SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000)), us(now));
        self.sockets.insert(slot, Socket { net, id, unread: Vec::new(), is_over: false, is_paused: false });
    }

    /// The socket of a connection, if it is one of this shard's.
    pub(super) fn socket(&mut self, net: NetConn) -> Option<&mut Socket> {
        self.sockets.values_mut().find(|socket| socket.net == net)
    }

    fn read_sockets(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for socket in self.sockets.values_mut().filter(|socket| !socket.is_paused) {
            if !socket.unread.is_empty() {
                self.state.receive(socket.id, &std::mem::take(&mut socket.unread), us(now));
            }
            if socket.is_over {
                self.state.closed(socket.id);
                effects.push(Effect::Close(socket.net));
            }
        }
        self.sockets.retain(|_, socket| !socket.is_over || socket.is_paused);
    }

    fn tell_whom_it_heard(&mut self, now: Now, asked_until_ms: i64) {
        if now.mono_ms >= self.next_tick_ms {
            self.next_tick_ms = now.mono_ms + TICK_MS / 4;
            self.state.tick(us(now));
            self.state.tell_heard_until(0);
        }
        if asked_until_ms <= self.told_until_ms {
            return;
        }
        let sockets = &self.sockets;
        let unread = |id: ConnId| sockets.values().any(|socket| socket.id == id && !socket.unread.is_empty());
        let asked_us = u64::try_from(asked_until_ms).unwrap_or(0) * 1_000;
        if self.state.look_for_unread(asked_us, us(now), unread) {
            self.told_until_ms = now.mono_ms;
            self.state.tick(us(now));
            self.state.tell_heard_until(us(now));
        }
    }

    fn hand_over(&mut self, lane: &mut Lane, effects: &mut Vec<Effect>) {
        if lane.inbox.len() < INBOX_MAX
            && let Some(batch) = self.state.take_forwards()
        {
            lane.inbox.push_back(batch);
            effects.push(Effect::Wake(Turn::Core));
        }
    }

    fn perform(&mut self, effects: &mut Vec<Effect>) {
        for action in self.state.take_actions() {
            match action {
                Action::Send(id) => self.send(id, effects),
                Action::CloseAfterFlush(id, _) => {
                    self.send(id, effects);
                    self.drop_conn(id, effects);
                }
                Action::Abort(id, _) | Action::FourLetterWord(id, _) => self.drop_conn(id, effects),
                Action::Pause(id) => self.set_paused(id, true),
                Action::Resume(id) => self.set_paused(id, false),
                Action::Held(..) | Action::Noted(..) => {}
            }
        }
    }

    fn send(&mut self, id: ConnId, effects: &mut Vec<Effect>) {
        let Some(socket) = self.sockets.get(&id.slot).filter(|socket| socket.id == id) else { return };
        let Some(out) = self.state.take_output(id).map(std::mem::take) else { return };
        if !out.is_empty() {
            effects.push(Effect::Send(socket.net, out));
        }
        self.state.sent(id, 0);
    }

    fn drop_conn(&mut self, id: ConnId, effects: &mut Vec<Effect>) {
        if self.sockets.get(&id.slot).is_some_and(|socket| socket.id == id)
            && let Some(socket) = self.sockets.remove(&id.slot)
        {
            effects.push(Effect::Close(socket.net));
        }
        self.state.closed(id);
    }

    fn set_paused(&mut self, id: ConnId, is_paused: bool) {
        if let Some(socket) = self.sockets.get_mut(&id.slot).filter(|socket| socket.id == id) {
            socket.is_paused = is_paused;
        }
    }
}

impl Socket {
    const fn has_more(&self) -> bool {
        (!self.unread.is_empty() || self.is_over) && !self.is_paused
    }
}
