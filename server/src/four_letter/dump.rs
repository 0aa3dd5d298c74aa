//! The words that show what every shard knows: `cons`, `dump`, `wchs`, `wchc`, `wchp`, `crst`.
//!
//! As in ZooKeeper 3.9.5, the three `wch` words show data watches alone: those of exists and getData, and persistent ones.

use super::{WordError, Words, Written, ensemble, text};
use crate::ask::PIECE;
use engine::replica::{LocalSessions, Replica};
use engine::session::{Expiring, Sessions};
use engine::shard::{ConnCounts, ConnInfo, WatchCursor};
use proto::SessionId;
use proto::election::ServerState;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

impl Words<'_> {
    pub(super) fn cons(&self, out: &mut impl Write) -> Written {
        self.each_connection(out, false)?;
        Ok(writeln!(out)?)
    }

    /// A line for each connection, in the short form of `stat` or the long one of `cons`.
    pub(super) fn each_connection(&self, out: &mut impl Write, is_short: bool) -> Written {
        let clock = Clock::new(self.hub.now_us());
        self.walk_connections(|conns| {
            for conn in &conns {
                write_connection(out, conn, &clock, is_short)?;
            }
            Ok(())
        })?;
        if let Some(caller) = self.caller {
            writeln!(out, " {}[0](queued=0,recved=1,sent=0)", text::address(caller))?;
        }
        Ok(())
    }

    fn walk_connections(&self, mut found: impl FnMut(Vec<ConnInfo>) -> Written) -> Written {
        for number in 0..self.hub.shards.len() {
            self.hub.walk_shard(number, 0, |shard, from| shard.connections_from(from, PIECE), &mut found)?;
        }
        Ok(())
    }

    pub(super) fn crst(&self, out: &mut impl Write) -> Written {
        for number in 0..self.hub.shards.len() {
            let mut from = Some(0);
            while let Some(at) = from {
                from = self.hub.ask_shard(number, move |shard| shard.reset_connections(at, PIECE))?;
            }
        }
        Ok(writeln!(out, "Connection stats reset.")?)
    }

    pub(super) fn dump(&self, out: &mut impl Write) -> Written {
        writeln!(out, "SessionTracker dump:")?;
        let leads = self.ensemble.as_ref().is_none_or(|view| view.office.state == ServerState::Leading);
        let has_local = self.config.local_sessions() != LocalSessions::No;
        if has_local {
            write!(out, "Local ")?;
            self.dump_sessions(Replica::local_sessions, out)?;
        }
        let sessions = if leads {
            if has_local {
                write!(out, "Global ")?;
            }
            self.dump_sessions(Replica::sessions, out)?
        } else {
            self.dump_global_sessions(out)?
        };
        writeln!(out, "ephemeral nodes dump:")?;
        self.dump_ephemerals(&sessions, out)?;
        writeln!(out, "Connections dump:")?;
        self.dump_connections(out)
    }

    fn dump_sessions(&self, of: fn(&Replica) -> &Sessions, out: &mut impl Write) -> Result<Vec<SessionId>, WordError> {
        let clock = Clock::new(self.hub.now_us());
        let (times, count) = self.hub.ask_core(move |core| of(core).expiry_summary())?;
        writeln!(out, "Session Sets ({times})/({count}):")?;
        let mut sessions = Vec::with_capacity(count);
        let mut last: Option<(i64, SessionId)> = None;
        loop {
            let piece = self.hub.ask_core(move |core| of(core).expiring_after(last, PIECE))?;
            for Expiring { session, at_ms, together } in piece.iter().copied() {
                if last.is_none_or(|(before, _)| before != at_ms) {
                    writeln!(out, "{together} expire at {}:", text::date(clock.wall_ms(at_ms)))?;
                }
                writeln!(out, "\t0x{:x}", session.0)?;
                sessions.push(session);
                last = Some((at_ms, session));
            }
            if piece.len() < PIECE {
                return Ok(sessions);
            }
        }
    }

    /// As a server shows them that does not lead: it does not know when they expire.
    fn dump_global_sessions(&self, out: &mut impl Write) -> Result<Vec<SessionId>, WordError> {
        ensemble::global_sessions_head(self.hub.read_tree().sessions().len(), out)?;
        let mut sessions: Vec<SessionId> = Vec::new();
        loop {
            let piece = self.hub.read_tree().sessions_after(sessions.last().copied(), PIECE);
            for &(session, timeout_ms) in &piece {
                ensemble::global_session(session, timeout_ms, out)?;
                sessions.push(session);
            }
            if piece.len() < PIECE {
                return Ok(sessions);
            }
        }
    }

    /// Ephemerals of these sessions. The tree is held for a piece at a time.
    fn dump_ephemerals(&self, sessions: &[SessionId], out: &mut impl Write) -> Written {
        let owners = self.hub.read_tree().ephemeral_owner_count();
        writeln!(out, "Sessions with Ephemerals ({owners}):")?;
        for some in sessions.chunks(PIECE) {
            let owning: Vec<SessionId> = {
                let tree = self.hub.read_tree();
                some.iter().copied().filter(|session| tree.ephemerals_of(*session).next().is_some()).collect()
            };
            for session in owning {
                writeln!(out, "0x{:x}:", session.0)?;
                let mut after = None;
                loop {
                    let paths = self.hub.read_tree().ephemerals_after(session, after.as_deref(), PIECE);
                    for path in &paths {
                        writeln!(out, "\t{path}")?;
                    }
                    if paths.len() < PIECE {
                        break;
                    }
                    after = paths.last().cloned();
                }
            }
        }
        Ok(())
    }

    /// Connections by the time when ZooKeeper would close them for their silence: rounded up to `nio.sessionlessCnxnTimeout`.
    fn dump_connections(&self, out: &mut impl Write) -> Written {
        let clock = Clock::new(self.hub.now_us());
        let step_ms = i64::try_from(self.config.clients.sessionless_timeout.as_millis()).unwrap_or(i64::MAX).max(1);
        let round_up = |at_ms: i64| (at_ms / step_ms).saturating_add(1).saturating_mul(step_ms);
        let ms = |us: u64| i64::try_from(us / 1_000).unwrap_or(i64::MAX);
        let mut by_time: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        let mut count = 0;
        let mut add = |at_ms: i64, line: String| {
            by_time.entry(round_up(at_ms)).or_default().push(line);
            count += 1;
        };
        self.walk_connections(|conns| {
            for conn in conns {
                let timeout_ms = if conn.session.0 == 0 { step_ms } else { i64::from(conn.timeout_ms) };
                let line = format!("\tip: {} sessionId: 0x{:x}", text::address(conn.peer), conn.session.0);
                add(ms(conn.heard_us).saturating_add(timeout_ms), line);
            }
            Ok(())
        })?;
        if let Some(caller) = self.caller {
            let line = format!("\tip: {} sessionId: 0x0", text::address(caller));
            add(ms(self.hub.now_us()).saturating_add(step_ms), line);
        }
        writeln!(out, "Connections Sets ({})/({count}):", by_time.len())?;
        for (at_ms, lines) in by_time {
            writeln!(out, "{} expire at {}:", lines.len(), text::date(clock.wall_ms(at_ms)))?;
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }

    pub(super) fn wchs(&self, out: &mut impl Write) -> Written {
        let (mut connections, mut paths, mut watches) = (0, 0, 0);
        for number in 0..self.hub.shards.len() {
            let (some_connections, some_paths, some_watches) =
                self.hub.ask_shard(number, |shard| shard.watch_summary())?;
            connections += some_connections;
            watches += some_watches;
            if number == 0 {
                paths += some_paths;
            } else {
                self.walk_paths(number, |_, watchers_before, _| {
                    paths += usize::from(!watchers_before);
                    Ok(())
                })?;
            }
        }
        Ok(write!(out, "{connections} connections watching {paths} paths\nTotal watches:{watches}\n")?)
    }

    pub(super) fn wchc(&self, out: &mut impl Write) -> Written {
        for number in 0..self.hub.shards.len() {
            let question = |shard: &engine::shard::ShardState, from| shard.watches_by_connection(from, PIECE);
            self.hub.walk_shard(number, WatchCursor::default(), question, |conns| -> Written {
                for conn in conns {
                    if !conn.goes_on {
                        writeln!(out, "0x{:x}", conn.session.0)?;
                    }
                    for path in conn.paths {
                        writeln!(out, "\t{path}")?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(writeln!(out)?)
    }

    pub(super) fn wchp(&self, out: &mut impl Write) -> Written {
        for number in 0..self.hub.shards.len() {
            self.walk_paths(number, |path, watchers_before, watchers| {
                if !watchers_before {
                    writeln!(out, "{path}")?;
                    for session in watchers {
                        writeln!(out, "\t0x{:x}", session.0)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(writeln!(out)?)
    }

    /// The paths that are watched on one shard: each with whether a shard of a lower number has it too, which then has told of it already,
    /// and with the sessions that watch it here and on the shards of higher numbers.
    fn walk_paths(&self, number: usize, mut each: impl FnMut(&str, bool, Vec<SessionId>) -> Written) -> Written {
        self.hub.walk_shard(
            number,
            0,
            |shard, from| shard.watched_paths(from, PIECE),
            |paths| {
                let paths: Arc<[Arc<str>]> = paths.into();
                let mut watchers: Vec<(bool, Vec<SessionId>)> = vec![(false, Vec::new()); paths.len()];
                for other in 0..self.hub.shards.len() {
                    let found = self.watchers_of(other, &paths)?;
                    for ((before, sessions), found) in watchers.iter_mut().zip(found) {
                        if other < number {
                            *before |= !found.is_empty();
                        } else {
                            sessions.extend(found);
                        }
                    }
                }
                for (path, (before, sessions)) in paths.iter().zip(watchers) {
                    each(path, before, sessions)?;
                }
                Ok(())
            },
        )
    }
}

impl Words<'_> {
    /// The sessions on one shard that watch each of the paths, asked for in bounded pieces.
    fn watchers_of(&self, shard: usize, paths: &Arc<[Arc<str>]>) -> Result<Vec<Vec<SessionId>>, WordError> {
        let mut found: Vec<Vec<SessionId>> = Vec::with_capacity(paths.len());
        while found.len() < paths.len() {
            let (asked, from) = (Arc::clone(paths), found.len());
            found.extend(
                self.hub
                    .ask_shard(shard, move |shard| shard.watchers_of(asked.get(from..).unwrap_or_default(), PIECE))?,
            );
        }
        Ok(found)
    }
}

/// Turns the server's monotonic times into the wall clock's.
struct Clock {
    wall_ms: i64,
    mono_ms: i64,
}

impl Clock {
    fn new(now_us: u64) -> Clock {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock {
            wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
            mono_ms: i64::try_from(now_us / 1_000).unwrap_or(i64::MAX),
        }
    }

    fn wall_ms(&self, mono_ms: i64) -> i64 {
        self.wall_ms.saturating_add(mono_ms.saturating_sub(self.mono_ms))
    }
}

/// ZooKeeper shows which events it waits for on a socket: 1 to read, 4 to write.
fn interest(conn: &ConnInfo) -> u8 {
    u8::from(conn.is_read) | u8::from(conn.has_output) << 2
}

fn write_connection(out: &mut impl Write, conn: &ConnInfo, clock: &Clock, is_short: bool) -> std::io::Result<()> {
    let ConnCounts { packets_received, packets_sent, .. } = conn.counts;
    let (peer, interest, queued) = (text::address(conn.peer), interest(conn), conn.outstanding);
    write!(out, " {peer}[{interest:x}](queued={queued},recved={packets_received},sent={packets_sent}")?;
    if !is_short && conn.session.0 != 0 {
        let counts = &conn.counts;
        let established_ms = clock.wall_ms(i64::try_from(conn.accepted_us / 1_000).unwrap_or(i64::MAX));
        write!(out, ",sid=0x{:x},lop={},est={established_ms},to={}", conn.session.0, counts.last_op, conn.timeout_ms)?;
        if let Some(cxid) = counts.last_cxid {
            write!(out, ",lcxid=0x{cxid:x}")?;
        }
        let min_us = if counts.latency_count == 0 { 0 } else { counts.latency_us_min };
        let avg_us = counts.latency_us_sum / counts.latency_count.max(1);
        write!(
            out,
            ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
            counts.last_zxid,
            counts.last_response_us / 1_000,
            counts.last_latency_us / 1_000,
            min_us / 1_000,
            avg_us / 1_000,
            counts.latency_us_max / 1_000,
        )?;
    }
    writeln!(out, ")")
}
