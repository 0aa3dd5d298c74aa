//! The generator: one thread, one epoll, all connections.
//!
//! Closed loop: every connection keeps `depth` requests in flight; a batch of replies is answered with a batch of requests in one
//! write. Open loop: operations start at fixed intervals whatever the replies do; one that finds its connection's window full waits in
//! a backlog, and its latency counts from the moment it was meant to start, so that a stall cannot hide.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::time::Timespec;

use crate::error::{BenchError, Result};
use crate::keyspace;
use crate::link::{Done, Link};
use crate::process::{CpuReading, Memory, own_cpu_ns, stolen_ms};
use crate::report::{Measured, RunReport};
use crate::spec::{LoadSpec, SESSION_TIMEOUT_MS, Workload};
use crate::undisturbed::Undisturbed;
use crate::workload::Workbench;

/// Latencies are kept from 1 ns to this, with three digits; longer ones count as this.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// How long unanswered requests are waited for after the measured time.
const DRAIN: Duration = Duration::from_secs(20);

/// Events taken per epoll call.
const EVENTS_MAX: usize = 256;

/// Every connection is pinged this often where the workload alone may be too slow to keep sessions alive.
const PING_INTERVAL: Duration = Duration::from_millis(SESSION_TIMEOUT_MS.unsigned_abs() as u64 / 3);

/// Makes the znodes, runs the load, deletes the znodes; those of `spec.filled` are there and stay.
///
/// # Errors
/// [`BenchError`] if the run cannot be brought to its end. Wrong replies are in the report instead.
pub(crate) fn run(spec: &LoadSpec) -> Result<RunReport> {
    let server = *spec.servers.first().ok_or(BenchError::NoOperations)?;
    let root = keyspace::fresh_root();
    let is_ours = spec.filled.is_none();
    if is_ours {
        keyspace::with_connection(server, |connection| keyspace::prepare(spec, &root, connection))?;
        for other in spec.servers.iter().skip(1) {
            keyspace::with_connection(*other, |connection| keyspace::await_root(&root, connection))?;
        }
    }
    let mut load = Load::connect(spec, &root)?;
    load.drive()?;
    let created: Vec<u64> = load.links.iter().map(Link::created).collect();
    let report = load.report()?;
    load.links.into_iter().for_each(Link::hang_up);
    if is_ours {
        keyspace::with_connection(server, |connection| keyspace::clean_up(spec, &root, &created, connection))?;
    }
    Ok(report)
}

/// A run under way.
struct Load<'s> {
    spec: &'s LoadSpec,
    bench: Workbench,
    links: Vec<Link>,
    epoll: OwnedFd,
    begun: Instant,
    /// The measured time, in ns since `begun`.
    window: (u64, u64),
    schedule: Option<Schedule>,
    pings: Option<Schedule>,
    tally: Tally,
    marks: Vec<Mark>,
}

/// Fixed intervals, and whose turn it is.
struct Schedule {
    interval_ns: f64,
    ticks: u64,
    next_link: usize,
}

/// What has been counted.
struct Tally {
    latency_ns: Histogram<u64>,
    undisturbed: Undisturbed,
    ops_in_window: u64,
    wrong: BTreeMap<String, u64>,
}

/// CPU time at a border of the measured time.
struct Mark {
    at_ns: u64,
    own_cpu_ns: u64,
    stolen_ms: u64,
    servers: Vec<CpuReading>,
}

impl<'s> Load<'s> {
    fn connect(spec: &'s LoadSpec, root: &str) -> Result<Load<'s>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(BenchError::system("epoll_create1"))?;
        let mut links = Vec::with_capacity(spec.connections);
        for (index, server) in spec.servers.iter().cycle().take(spec.connections).enumerate() {
            let (stream, input) = keyspace::connect(*server)?.into_parts();
            let nonblocking = |source| BenchError::System { what: "making a socket nonblocking", source };
            stream.set_nonblocking(true).map_err(nonblocking)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).map_err(BenchError::system("epoll_ctl"))?;
            links.push(Link::new(index, stream, input));
        }
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4);
        let window = (ns(spec.warmup), ns(spec.warmup) + ns(spec.duration));
        let steady = spec.rate.is_none() && spec.workload != Workload::Idle;
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are constants that fit");
        let undisturbed = Undisturbed::new(&latency_ns, stolen_ms());
        Ok(Load {
            spec,
            bench: Workbench::new(spec, root),
            epoll,
            begun: Instant::now(),
            window,
            schedule: spec.rate.map(|rate| Schedule::new(1e9 / rate)),
            pings: (!steady).then(|| Schedule::new(ns(PING_INTERVAL) as f64 / links.len().max(1) as f64)),
            links,
            tally: Tally { undisturbed, latency_ns, ops_in_window: 0, wrong: BTreeMap::new() },
            marks: Vec::new(),
        })
    }

    fn drive(&mut self) -> Result<()> {
        if self.schedule.is_some() {
            // The default slack of 50 µs would show in every latency. Where it is refused, it just does.
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        }
        self.begun = Instant::now();
        let end = self.window.1 + u64::try_from(DRAIN.as_nanos()).unwrap_or(0);
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS_MAX];
        if self.schedule.is_none() && self.spec.workload != Workload::Idle {
            (0..self.links.len()).try_for_each(|index| self.refill(index, 0))?;
        }
        loop {
            let now = self.now_ns();
            self.mark_borders(now)?;
            self.tally.undisturbed.turn(now, stolen_ms);
            if now >= end || (now >= self.window.1 && self.at_rest()) {
                return Ok(());
            }
            self.start_due(now)?;
            let timeout = Duration::from_nanos(self.next_wake(now, end).saturating_sub(self.now_ns()));
            let timeout = Timespec::try_from(timeout).expect("a wait of seconds fits a timespec");
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
                Ok(ready) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(BenchError::system("epoll_wait")(e)),
            };
            for event in ready {
                let (index, flags) = (event.data.u64(), event.flags);
                self.ready(usize::try_from(index).unwrap_or(usize::MAX), flags)?;
            }
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn at_rest(&self) -> bool {
        self.links.iter().all(|link| link.in_flight() == 0 && link.backlog.is_empty())
    }

    /// Takes the CPU times at the first turn past each border of the measured time.
    fn mark_borders(&mut self, now: u64) -> Result<()> {
        let borders = [self.window.0, self.window.1];
        while borders.get(self.marks.len()).is_some_and(|border| now >= *border) {
            let servers = self.spec.server_pids.iter().copied().map(CpuReading::take).collect::<Result<_>>()?;
            self.marks.push(Mark { at_ns: self.now_ns(), own_cpu_ns: own_cpu_ns(), stolen_ms: stolen_ms(), servers });
        }
        Ok(())
    }

    /// The next moment at which something is to be done unasked.
    fn next_wake(&self, now: u64, end: u64) -> u64 {
        let border = [self.window.0, self.window.1, end].into_iter().find(|border| *border > now).unwrap_or(end);
        let due = self.schedule.as_ref().map(Schedule::due).filter(|due| *due < self.window.1);
        let ping = self.pings.as_ref().map(Schedule::due);
        [Some(border), due, ping].into_iter().flatten().min().unwrap_or(end)
    }

    /// Open loop: starts what is due. Pings what is due for one.
    fn start_due(&mut self, now: u64) -> Result<()> {
        let count = self.links.len();
        let mut touched = Vec::new();
        while let Some(schedule) = self.schedule.as_mut().filter(|s| s.due() <= now && s.due() < self.window.1) {
            let (index, due) = schedule.take(count);
            if let Some(link) = self.links.get_mut(index) {
                link.backlog.push_back(due);
            }
            if touched.last() != Some(&index) {
                touched.push(index);
            }
        }
        while let Some(pings) = self.pings.as_mut().filter(|pings| pings.due() <= now) {
            let (index, _) = pings.take(count);
            if let Some(link) = self.links.get_mut(index) {
                link.ping();
            }
            touched.push(index);
        }
        touched.into_iter().try_for_each(|index| self.refill(index, now))
    }

    /// Fills a connection's window and writes.
    fn refill(&mut self, index: usize, now: u64) -> Result<()> {
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        let closed_loop = self.schedule.is_none() && self.spec.workload != Workload::Idle;
        while link.in_flight() < self.spec.depth {
            let started = if closed_loop { (now < self.window.1).then_some(now) } else { link.backlog.pop_front() };
            let Some(started) = started else { break };
            link.ask(&mut self.bench, started);
        }
        let was_blocked = link.blocked;
        let flushed = link.flush();
        if link.blocked != was_blocked {
            let writable = if link.blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &link.stream, data, epoll::EventFlags::IN | writable)
                .map_err(BenchError::system("epoll_ctl"))?;
        }
        flushed.map_err(|reason| self.broken(index, reason))
    }

    fn ready(&mut self, index: usize, flags: epoll::EventFlags) -> Result<()> {
        let now = self.now_ns();
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            let (tally, window, open) = (&mut self.tally, self.window, self.schedule.is_some());
            let received = link.receive(&mut self.bench, |done| tally.count(done, now, window, open));
            received.map_err(|reason| self.broken(index, reason))?;
        }
        self.refill(index, now)
    }

    fn broken(&self, connection: usize, reason: String) -> BenchError {
        let server = self.spec.servers.get(connection % self.spec.servers.len().max(1));
        BenchError::Broken { connection, server: server.map(ToString::to_string).unwrap_or_default(), reason }
    }

    fn report(&mut self) -> Result<RunReport> {
        let unfinished: u64 = self.links.iter().map(|link| (link.in_flight() + link.backlog.len()) as u64).sum();
        let [from, to] = self.marks.as_slice() else { return Err(BenchError::NoOperations) };
        let cpu_ns = from.servers.iter().zip(&to.servers).map(|(from, to)| to.since(from)).sum();
        let is_measured = !self.spec.server_pids.is_empty();
        let measured = Measured {
            ops: self.tally.ops_in_window,
            elapsed_ns: to.at_ns - from.at_ns,
            latency_ns: self.tally.latency_ns.clone(),
            undisturbed: self.tally.undisturbed.clone(),
            wrong: self.tally.wrong.clone(),
            unfinished,
            own_cpu_ns: to.own_cpu_ns - from.own_cpu_ns,
            stolen_ms: to.stolen_ms - from.stolen_ms,
            server_cpu_ns: is_measured.then_some(cpu_ns),
            memory: if is_measured { Some(Memory::sum(&self.spec.server_pids)?) } else { None },
        };
        if measured.ops == 0 && self.spec.workload != Workload::Idle {
            return Err(BenchError::NoOperations);
        }
        Ok(RunReport::new(self.spec, &measured))
    }
}

impl Schedule {
    const fn new(interval_ns: f64) -> Schedule {
        Schedule { interval_ns, ticks: 0, next_link: 0 }
    }

    /// When the next one is meant to start. Multiplied, not added up: no drift.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive count of ns, far below 2^63"
    )]
    fn due(&self) -> u64 {
        (self.ticks as f64 * self.interval_ns) as u64
    }

    /// Takes it: whose turn, and when it was due.
    fn take(&mut self, links: usize) -> (usize, u64) {
        let taken = (self.next_link, self.due());
        self.ticks += 1;
        self.next_link = (self.next_link + 1) % links.max(1);
        taken
    }
}

impl Tally {
    /// An operation counts for the rate when its reply came within the window. Its latency counts, in the closed loop, with it; in
    /// the open loop when it was meant to start within the window, however late its reply.
    fn count(&mut self, done: Done, now: u64, window: (u64, u64), open: bool) {
        let within = |at: u64| (window.0..window.1).contains(&at);
        if within(now) {
            self.ops_in_window += 1;
        }
        if within(if open { done.started_ns } else { now }) {
            let latency_ns = now.saturating_sub(done.started_ns).max(1);
            self.latency_ns.saturating_record(latency_ns);
            self.undisturbed.record(latency_ns);
        }
        if let Some(wrong) = done.wrong {
            *self.wrong.entry(wrong).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_does_not_drift_and_goes_round() {
        let mut schedule = Schedule::new(1e9 / 3.0);
        let taken: Vec<_> = (0..7).map(|_| schedule.take(2)).collect();
        assert_eq!(taken.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(taken[3].1, 1_000_000_000);
        assert_eq!(taken[6].1, 2_000_000_000);
    }

    #[test]
    fn a_late_reply_counts_for_the_latency_of_the_open_loop_and_for_no_rate() {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).unwrap();
        let undisturbed = Undisturbed::new(&latency_ns, 0);
        let mut tally = Tally { undisturbed, latency_ns, ops_in_window: 0, wrong: BTreeMap::new() };
        let done = |started_ns| Done { started_ns, wrong: None };
        tally.count(done(150), 900, (100, 200), true);
        assert_eq!((tally.ops_in_window, tally.latency_ns.max()), (0, 750));
        tally.count(done(50), 150, (100, 200), true);
        assert_eq!((tally.ops_in_window, tally.latency_ns.len()), (1, 1));
        tally.count(done(50), 150, (100, 200), false);
        assert_eq!((tally.ops_in_window, tally.latency_ns.len()), (2, 2));
    }
}
