//! What comes from the core: changes fire watches, replies and ends of sessions go to their connections, in the stream's order.

use super::conn::Phase;
use super::{CloseReason, ShardState, Way, asked};
use crate::stream::{Change, ChangeKind, ConnId, Guard, StreamBatch, StreamItem};
use proto::connect::ConnectResponse;
use proto::reply::ReplyHeader;
use proto::watch::{self, EventType};
use proto::{OpCode, Perms, Zxid, jute, path};
use std::sync::Arc;

impl ShardState {
    /// Works off a batch of the stream: fires watches, writes replies.
    pub fn on_stream(&mut self, batch: &StreamBatch, now_us: u64) {
        for item in &batch.items {
            match item {
                StreamItem::Change(change) => self.fire(change),
                StreamItem::Reply { to, xid, zxid, err, body, close } if self.is_mine(*to) => {
                    let record = batch.bytes.get(body.clone()).unwrap_or_default();
                    let header = ReplyHeader { xid: *xid, zxid: *zxid, err: *err };
                    self.reply(to.conn, header, record, *close, now_us);
                }
                StreamItem::Connected { to, response, .. } if self.is_mine(*to) => {
                    self.connected(to.conn, response, batch.zxid, now_us);
                }
                StreamItem::Refused { to, reason } if self.is_mine(*to) => {
                    self.abort(to.conn, CloseReason::Refused(*reason));
                }
                StreamItem::Serving(is_serving) => self.set_serving(*is_serving, batch.zxid),
                StreamItem::Detached { from, reason, .. } if self.is_mine(*from) => {
                    self.close_after_flush(from.conn, CloseReason::Detached(*reason));
                }
                _ => {}
            }
        }
        self.position = self.position.max(batch.zxid);
        self.options.throttle.set_in_flight(usize::from(self.options.shard.0), self.in_flight);
        self.release_held_if_room();
    }

    /// Without a leader nobody is served: the clients find another server, or this one later. The tree may go back meanwhile.
    fn set_serving(&mut self, is_serving: bool, zxid: Zxid) {
        self.is_serving = is_serving;
        if is_serving {
            return;
        }
        self.position = zxid;
        // Whoever has not said anything may ask for a four-letter word still.
        let with_session = self.conns.iter().flatten().filter(|conn| conn.phase != Phase::New).map(|conn| conn.id);
        for id in with_session.collect::<Vec<_>>() {
            self.close_after_flush(id, CloseReason::NotServing);
        }
    }

    fn connected(&mut self, id: ConnId, response: &ConnectResponse, zxid: Zxid, now_us: u64) {
        let Some(conn) = self.conn_mut(id) else { return };
        if conn.phase != Phase::Connecting {
            return;
        }
        jute::frame(&mut conn.out, |w| response.write(w));
        let latency_us = now_us.saturating_sub(conn.connect_us);
        conn.counts.packets_sent += 1;
        if response.session_id.0 == 0 {
            self.close_after_flush(id, CloseReason::NoSession);
        } else {
            conn.phase = Phase::Ready;
            conn.session = response.session_id;
            conn.timeout_ms = response.timeout_ms;
            if !conn.renews {
                conn.counts.answered(
                    asked::short_name(OpCode::CreateSession),
                    0,
                    zxid.0.cast_signed(),
                    now_us,
                    latency_us,
                );
            }
            self.make_ready(id);
        }
        self.counts.packets_sent += 1;
        self.took(Way::Core, latency_us);
        self.dirty(id);
    }

    fn reply(&mut self, id: ConnId, header: ReplyHeader, record: &[u8], close: bool, now_us: u64) {
        let Some(conn) = self.conn_mut(id) else { return };
        if conn.phase == Phase::Closing {
            // Nobody reads it, but what it took of the shared limits is free. What was asked before it may have no answer any more: the session has ended
            // elsewhere, or there was no leader in between.
            let Some(request) = conn.in_flight.pop_front_if(|request| request.xid == header.xid) else { return };
            let large_bytes = request.large_bytes;
            self.in_flight -= 1;
            if large_bytes > 0 {
                self.options.throttle.give_back_large(large_bytes);
            }
            return;
        }
        let request = conn.in_flight.pop_front().expect("a reply has its request");
        assert!(request.xid == header.xid, "replies come in the order of their requests");
        let large_bytes = request.large_bytes;
        conn.write_header_position(header.zxid);
        let record = if header.err == 0 { record } else { &[] };
        let out_before = conn.out.len();
        jute::frame(&mut conn.out, |w| {
            header.write(w);
            w.raw(record);
        });
        let bytes = conn.out.len() - out_before;
        let latency_us = now_us.saturating_sub(request.received_us);
        conn.counts.packets_sent += 1;
        let (op, xid, zxid) = (asked::short_name(request.op), header.xid.0, header.zxid.0.cast_signed());
        conn.counts.answered(op, xid, zxid, now_us, latency_us);
        // What waited behind this write may go on; what waited for room among the requests in flight too.
        self.make_ready(id);
        self.in_flight -= 1;
        if large_bytes > 0 {
            self.options.throttle.give_back_large(large_bytes);
        }
        self.counts.replied(bytes);
        self.took(Way::Core, latency_us);
        self.dirty(id);
        if close {
            self.close_after_flush(id, CloseReason::SessionClosed);
        }
    }

    fn fire(&mut self, change: &Change) {
        if self.watches.is_empty() {
            return;
        }
        let parent = path::split(&change.path).map_or("/", |(parent, _)| parent);
        let mut told = std::mem::take(&mut self.told);
        match change.kind {
            ChangeKind::DataChanged => {
                self.watches.trigger_data(&change.path, &mut told);
                self.tell(&mut told, EventType::NodeDataChanged, change.zxid, &change.path, &change.guard);
            }
            ChangeKind::Created => {
                self.watches.trigger_data(&change.path, &mut told);
                self.tell(&mut told, EventType::NodeCreated, change.zxid, &change.path, &change.guard);
            }
            ChangeKind::Deleted => {
                self.watches.trigger_deleted(&change.path, &mut told);
                self.tell(&mut told, EventType::NodeDeleted, change.zxid, &change.path, &change.guard);
            }
        }
        if change.kind != ChangeKind::DataChanged {
            self.watches.trigger_child(parent, &mut told);
            self.tell(&mut told, EventType::NodeChildrenChanged, change.zxid, parent, &change.parent_guard);
        }
        self.told = told;
    }

    /// Sends an event to each connection that may read the znode. The watches have been used up in any case.
    fn tell(&mut self, told: &mut Vec<ConnId>, ty: EventType, zxid: Zxid, path: &str, guard: &Guard) {
        if told.is_empty() {
            return;
        }
        let rules = Arc::clone(&self.options.auth);
        let summary = match ty {
            EventType::NodeCreated => &mut self.measured.created,
            EventType::NodeDeleted => &mut self.measured.deleted,
            EventType::NodeChildrenChanged => &mut self.measured.children,
            _ => &mut self.measured.changed,
        };
        summary.add(told.len() as u64);
        for id in told.drain(..) {
            let output_bytes_max = self.options.output_bytes_max;
            let Some(conn) = self.conn_mut(id) else { continue };
            let may = guard.as_ref().is_none_or(|acl| rules.check_acl(acl, Perms::READ, &conn.ids).is_ok());
            // Who ends its session still hears of its own ephemerals, before the reply.
            if !matches!(conn.phase, Phase::Ready | Phase::Ending) || !may {
                continue;
            }
            if conn.output_bytes() > output_bytes_max {
                self.counts.output_limit_closes += 1;
                self.abort(id, CloseReason::OutputLimit);
                continue;
            }
            let out = conn.event_output();
            let out_before = out.len();
            watch::write_event_frame(out, ty, zxid, path);
            let bytes = (out.len() - out_before - 4) as u64;
            conn.counts.packets_sent += 1;
            self.counts.packets_sent += 1;
            self.counts.watch_bytes += bytes;
            self.counts.events_sent += 1;
            self.dirty(id);
        }
    }
}
