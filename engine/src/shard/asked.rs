//! What the control plane may ask a shard: its connections and watches, in pieces.
//!
//! Nothing here changes what clients see. Each call looks at a bounded number of things, so that a walk over 10,000 connections or 100,000
//! watches never keeps a turn long; a walk goes on where the last call ended. Between two calls things change: what came or went meanwhile
//! may be missed or stand twice, as in ZooKeeper's dumps.

use super::conn::Conn;
use super::counts::{Measured, ShardCounts};
use super::{Phase, ShardState};
use crate::stream::ConnId;
use proto::{OpCode, SessionId};
use std::net::SocketAddr;
use std::sync::Arc;

/// A connection, for `stat`, `cons` and the like.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its session, or 0.
    pub session: SessionId,
    /// The session's timeout in ms; 0 without one.
    pub timeout_ms: i32,
    /// Is it read from?
    pub is_read: bool,
    /// Does output wait?
    pub has_output: bool,
    /// Requests that the core has.
    pub outstanding: usize,
    /// When it was accepted, in µs of the shard's clock.
    pub accepted_us: u64,
    /// When something last came from it, in µs of the shard's clock.
    pub heard_us: u64,
    /// What was counted since it came, or since the last `crst`.
    pub counts: ConnCounts,
}

/// Counts of one connection. `crst` forgets them.
#[derive(Clone, Copy, Debug)]
pub struct ConnCounts {
    /// Frames received.
    pub packets_received: u64,
    /// Frames sent.
    pub packets_sent: u64,
    /// ZooKeeper's short name of the last request answered; `NA` before.
    pub last_op: &'static str,
    /// The last xid that was not negative.
    pub last_cxid: Option<i32>,
    /// The zxid of the last reply; -1 before.
    pub last_zxid: i64,
    /// When that was, in µs of the shard's clock.
    pub last_response_us: u64,
    /// How long the last request took, in µs.
    pub last_latency_us: u64,
    /// The smallest latency in µs; `u64::MAX` before the first.
    pub latency_us_min: u64,
    /// The largest latency in µs.
    pub latency_us_max: u64,
    /// All latencies in µs.
    pub latency_us_sum: u64,
    /// How many there were.
    pub latency_count: u64,
}

impl Default for ConnCounts {
    fn default() -> ConnCounts {
        ConnCounts {
            packets_received: 0,
            packets_sent: 0,
            last_op: "NA",
            last_cxid: None,
            last_zxid: -1,
            last_response_us: 0,
            last_latency_us: 0,
            latency_us_min: u64::MAX,
            latency_us_max: 0,
            latency_us_sum: 0,
            latency_count: 0,
        }
    }
}

impl ConnCounts {
    /// A request was answered.
    pub(super) fn answered(&mut self, op: &'static str, xid: i32, zxid: i64, now_us: u64, latency_us: u64) {
        self.last_op = op;
        if xid >= 0 {
            self.last_cxid = Some(xid);
        }
        self.last_zxid = zxid;
        self.last_response_us = now_us;
        self.last_latency_us = latency_us;
        self.latency_us_min = self.latency_us_min.min(latency_us);
        self.latency_us_max = self.latency_us_max.max(latency_us);
        self.latency_us_sum += latency_us;
        self.latency_count += 1;
    }
}

/// What `cons` calls an operation (`FinalRequestProcessor`).
pub(super) const fn short_name(op: OpCode) -> &'static str {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetData => "SETD",
        OpCode::GetAcl => "GETA",
        OpCode::SetAcl => "SETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::Sync => "SYNC",
        OpCode::Ping => "PING",
        OpCode::Check => "CHEC",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Reconfig => "RECO",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::GetEphemerals => "GETE",
        OpCode::WhoAmI => "HOMI",
        OpCode::CreateSession => "SESS",
        OpCode::CloseSession => "CLOS",
        OpCode::Notification | OpCode::Auth | OpCode::Sasl | OpCode::Error => "NA",
    }
}

/// Where a walk over the watches of all connections goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCursor {
    slot: usize,
    /// Where to go on among the paths of this connection, and whether it has been told of; if it is not in the slot any more, nowhere.
    within: Option<(ConnId, usize, bool)>,
}

/// Watches of one connection, or a part of them.
#[derive(Clone, Debug)]
pub struct ConnWatches {
    /// The connection's session.
    pub session: SessionId,
    /// Does the list go on from an earlier piece?
    pub goes_on: bool,
    /// Watched paths.
    pub paths: Vec<Arc<str>>,
}

/// One piece of a walk.
#[derive(Clone, Debug)]
pub struct Piece<T, C> {
    /// What was found.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<C>,
}

impl ShardState {
    /// Connections from slot `from` on, looking at `slots_max` slots.
    #[must_use]
    pub fn connections_from(&self, from: usize, slots_max: usize) -> Piece<ConnInfo, usize> {
        let slots = self.conns.get(from..).unwrap_or_default();
        let items = slots.iter().take(slots_max).flatten().map(|conn| info(conn)).collect();
        Piece { items, next: (slots.len() > slots_max).then_some(from + slots_max) }
    }

    /// Forgets the counts of the connections from slot `from` on (`crst`). Where to go on.
    pub fn reset_connections(&mut self, from: usize, slots_max: usize) -> Option<usize> {
        let slots = self.conns.get_mut(from..).unwrap_or_default();
        let is_last = slots.len() <= slots_max;
        for conn in slots.iter_mut().take(slots_max).flatten() {
            conn.counts = ConnCounts::default();
        }
        (!is_last).then_some(from + slots_max)
    }

    /// Paths that connections watch for data, by connection, looking at about `count_max` slots and paths. `/a` watched twice by one counts
    /// once.
    #[must_use]
    pub fn watches_by_connection(&self, from: WatchCursor, count_max: usize) -> Piece<ConnWatches, WatchCursor> {
        let mut items = Vec::new();
        let mut left = count_max;
        let mut within = from.within;
        for (slot, conn) in self.conns.iter().enumerate().skip(from.slot) {
            if left == 0 {
                return Piece { items, next: Some(WatchCursor { slot, within: None }) };
            }
            left -= 1;
            let Some(conn) = conn else { continue };
            let (_, place, goes_on) = within.take().filter(|(id, ..)| *id == conn.id).unwrap_or((conn.id, 0, false));
            let (paths, next, looked) = self.watches.data_paths_of(conn.id, place, left + 1);
            let is_told = goes_on || !paths.is_empty();
            left = left.saturating_sub(looked);
            if !paths.is_empty() {
                items.push(ConnWatches { session: conn.session, goes_on, paths });
            }
            if let Some(place) = next {
                return Piece { items, next: Some(WatchCursor { slot, within: Some((conn.id, place, is_told)) }) };
            }
        }
        Piece { items, next: None }
    }

    /// Paths that are watched for data, looking at `count_max` places from `from` on.
    #[must_use]
    pub fn watched_paths(&self, from: usize, count_max: usize) -> Piece<Arc<str>, usize> {
        let (items, next) = self.watches.data_paths(from, count_max);
        Piece { items, next }
    }

    /// The sessions that watch each of these paths for data: of as many paths, from the first on, as have `count_max` watchers together, but
    /// of one at least.
    #[must_use]
    pub fn watchers_of(&self, paths: &[Arc<str>], count_max: usize) -> Vec<Vec<SessionId>> {
        let mut found: Vec<Vec<SessionId>> = Vec::new();
        let mut left = count_max;
        for path in paths {
            let count = self.watches.data_watcher_count(path);
            if count > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(count);
            let mut sessions = Vec::with_capacity(count);
            self.watches.for_each_data_watcher(path, |conn| {
                let place = self.conns.get(conn.slot as usize).and_then(Option::as_deref);
                sessions.extend(place.filter(|found| found.id == conn).map(|conn| conn.session));
            });
            found.push(sessions);
        }
        found
    }

    /// Connections that watch for data, paths so watched, and watches: the three numbers of `wchs`.
    #[must_use]
    pub fn watch_summary(&self) -> (usize, usize, usize) {
        self.watches.data_summary()
    }

    /// What is measured, and what is counted.
    #[must_use]
    pub fn report(&self) -> (ShardCounts, Measured) {
        (self.counts, self.measured.clone())
    }

    /// Forgets what was counted and measured (`srst`), but not how many authentications failed.
    pub fn reset_counts(&mut self) {
        let auth_failures = self.counts.auth_failures;
        self.counts = ShardCounts { auth_failures, ..ShardCounts::default() };
        self.measured = Measured::default();
    }
}

fn info(conn: &Conn) -> ConnInfo {
    ConnInfo {
        peer: conn.peer,
        session: conn.session,
        timeout_ms: conn.timeout_ms,
        is_read: !conn.is_paused && conn.phase != Phase::Closing,
        has_output: conn.output_bytes() > 0,
        outstanding: conn.in_flight.len(),
        accepted_us: conn.accepted_us,
        heard_us: conn.heard_us,
        counts: conn.counts,
    }
}
