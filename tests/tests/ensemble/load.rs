//! Writers that count: for ensembles whose logs do not go back to their first txn, so that the checkers of histories cannot judge them.
//!
//! Each writer has a znode of its own and sets it again and again, each time with the version that it knows; after a lost connection it goes to the next server. So no
//! write hides the loss of another: what is set has exactly the version behind the last that was acknowledged, or behind one without an answer, which may have taken
//! place. At the end every server has it, and all servers say the same.

use super::logs;
use client::{ClientError, ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use proto::{ErrorCode, Zxid};
use ringkeeper_sim::history::{Event, History};
use ringkeeper_tests::cluster::{Cluster, Implementation, Mode, four_letters};
use ringkeeper_tests::{until, until_within};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a writer waits for an answer before it asks another server.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often a server of 3.8.0 may leave one unanswered.
const UNANSWERED_MAX: usize = 3;
/// How often a client pings while it waits: on a busy machine an answer of 3.8.0 lies in its `CommitProcessor` now and then until the next request comes, in its own ensembles, too.
pub const PING_EVERY: Option<Duration> = Some(Duration::from_millis(250));
const WRITE_BYTES: usize = 1_000;
/// Every so many zxids a server notes its tree's digest (`hash`).
const DIGEST_EVERY: i32 = 128;

/// See the module.
#[derive(Debug)]
pub struct Load {
    writers: Vec<(Arc<Seen>, JoinHandle<Known>)>,
    gaps: Arc<Mutex<Gaps>>,
    ends: Arc<AtomicBool>,
}

/// When nothing was acknowledged, to any writer.
#[derive(Debug)]
struct Gaps {
    last: Instant,
    longest: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    acknowledged: AtomicU64,
    slowest_us: AtomicU64,
}

/// What a writer knows of its znode.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The version that the last acknowledged write has made.
    version: Option<i32>,
    /// Has one behind it no answer? It has taken place, or it will, or never.
    has_unanswered: bool,
}

impl Known {
    /// A write was acknowledged with this version.
    fn acknowledged(&mut self, path: &str, version: i32) {
        if let Some(known) = self.version {
            assert_eq!(version, known + 1, "{path}: {self:?}");
        }
        *self = Known { version: Some(version), has_unanswered: false };
    }

    /// The version was another when it was this writer's turn: the one without an answer has taken place, no more and no less.
    fn other(&mut self, path: &str, version: i32) {
        assert!(self.has_unanswered, "{path} has version {version}: {self:?}");
        self.acknowledged(path, version);
    }

    /// At the end.
    fn check(self, path: &str, id: u8, version: Option<i32>) {
        let Some(known) = self.version else { return };
        let version = version.unwrap_or(-1);
        let most = known + i32::from(self.has_unanswered);
        assert!((known..=most).contains(&version), "{path} has version {version} on server {id}: {self:?}");
    }
}

/// What was measured since the last look.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Writes acknowledged in a second, by all writers.
    pub per_s: f64,
    /// The longest that one took.
    pub slowest: Duration,
}

impl Load {
    /// So many writers begin, spread over these servers.
    pub fn begin(servers: &[SocketAddr], writers: usize) -> Load {
        let ends = Arc::<AtomicBool>::default();
        let gaps = Arc::new(Mutex::new(Gaps { last: Instant::now(), longest: Duration::ZERO }));
        let start = |number: usize| {
            let (seen, mut servers, ends) = (Arc::<Seen>::default(), servers.to_vec(), Arc::clone(&ends));
            let gaps = Arc::clone(&gaps);
            let turns = number % servers.len();
            servers.rotate_left(turns);
            let theirs = Arc::clone(&seen);
            (seen, std::thread::spawn(move || write(number, &servers, (&theirs, &gaps), &ends)))
        };
        let writers = (0..writers).map(start).collect();
        Load { writers, gaps, ends }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.writers.iter().map(|(seen, _)| seen.acknowledged.load(Ordering::Relaxed)).sum()
    }

    /// Waits for so many more.
    pub fn progress(&self, writes: u64) {
        let until = self.acknowledged() + writes;
        until_within(Duration::from_secs(120), &format!("{writes} more writes"), || self.acknowledged() >= until);
    }

    /// The longest time between two acknowledged writes, of whichever writers, since the last look.
    pub fn longest_gap(&self) -> Duration {
        let mut gaps = self.gaps.lock().expect("a writer does not panic");
        let longest = gaps.longest.max(gaps.last.elapsed());
        gaps.longest = Duration::ZERO;
        longest
    }

    /// Measures for so long.
    pub fn rate(&self, during: Duration) -> Rate {
        let (begun, before) = (Instant::now(), self.acknowledged());
        self.writers.iter().for_each(|(seen, _)| seen.slowest_us.store(0, Ordering::Relaxed));
        until_within(2 * during + DEADLINE, "the time of a measurement", || begun.elapsed() >= during);
        let writes = u32::try_from(self.acknowledged() - before).expect("few");
        let slowest = self.writers.iter().map(|(seen, _)| seen.slowest_us.load(Ordering::Relaxed)).max();
        let slowest = Duration::from_micros(slowest.unwrap_or(0));
        Rate { per_s: f64::from(writes) / begun.elapsed().as_secs_f64(), slowest }
    }

    /// Ends the writers. Every server has all that was acknowledged, and the same tree as all others.
    pub fn finish(mut self, cluster: &mut Cluster) {
        self.ends.store(true, Ordering::Relaxed);
        let mut known = Vec::new();
        for (number, (seen, thread)) in std::mem::take(&mut self.writers).into_iter().enumerate() {
            known.push((path(number), thread.join().expect("no acknowledged write is lost")));
            assert!(seen.acknowledged.load(Ordering::Relaxed) > 0, "writer {number} has written nothing");
        }
        cluster.await_serving();
        for id in cluster.ids() {
            let mut connection = connect(cluster.address(id));
            connection.sync("/").expect("a quorum is there");
            for (path, known) in &known {
                let stat =
                    connection.exists(path, false).unwrap_or_else(|error| panic!("{path} on server {id}: {error}"));
                known.check(path, id, stat.map(|stat| stat.version));
            }
            connection.close().expect("it serves");
        }
        digests_agree(cluster);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Where a test fails, the next one may have the same addresses.
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// All servers have the same digest at the same zxid, after all that was asked before this.
///
/// # Panics
/// If two differ, or do not come to the same zxid in time.
pub fn digests_agree(cluster: &Cluster) {
    let wanted = ask(cluster, cluster.leader(), |connection| {
        // A multiple of 128 comes among them, which all servers note.
        for _ in 0..DIGEST_EVERY {
            connection.create("/digest", b"", CreateMode::PersistentSequential)?;
        }
        Ok(connection.last_zxid().0 & !0x7f)
    });
    let mut digests = BTreeMap::new();
    for id in cluster.ids() {
        let mut digest = None;
        until("the digest", || {
            let text = four_letters(cluster.address(id), "hash").unwrap_or_default();
            let start = format!("{wanted:x}: ");
            digest = text.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned));
            digest.is_some()
        });
        digests.insert(id, digest);
    }
    let first = digests.values().next().cloned();
    assert!(digests.values().all(|digest| Some(digest) == first.as_ref()), "at {wanted:x}: {digests:?}");
}

/// All servers show the same znodes, one by one.
pub fn trees_agree(cluster: &Cluster) {
    let mut history = History::new();
    logs::add_final_trees(&mut history, cluster);
    let mut trees = history.events().filter_map(|(_, event)| match event {
        Event::Final { server, nodes, .. } => Some((server, nodes)),
        _ => None,
    });
    let (_, first) = trees.next().expect("there are servers");
    for (server, nodes) in trees {
        assert!(
            nodes == first,
            "{server:?} and the first have other trees: {} and {} znodes",
            nodes.len(),
            first.len()
        );
    }
}

/// Does this in a session at a server. One of 3.8.0 leaves an answer lying now and then until another request comes, in ensembles of its own, too
/// (docs/reports/2026-11-22-mixed.md): only there it is done once more.
///
/// # Panics
/// If it fails.
pub fn ask<T>(cluster: &Cluster, id: u8, mut what: impl FnMut(&mut Connection) -> client::Result<T>) -> T {
    let is_forgetful = cluster.implementation_of(id) == Implementation::Java38;
    let mut tries = if is_forgetful { UNANSWERED_MAX } else { 1 };
    loop {
        let mut connection = connect(cluster.address(id));
        tries -= 1;
        match what(&mut connection).and_then(|done| connection.close().map(|()| done)) {
            Ok(done) => return done,
            Err(error @ ClientError::Deadline { .. }) if tries > 0 => println!("server {id}, of 3.8.0: {error}"),
            Err(error) => panic!("server {id}: {error}"),
        }
    }
}

/// For clients that wait for long, and keep a server of 3.8.0 awake.
fn patient() -> ConnectOptions {
    ConnectOptions { deadline: DEADLINE, ping_every: PING_EVERY, ..ConnectOptions::default() }
}

/// A session of the usual length at a server that serves. It may say so a moment before it takes connections.
pub fn connect(server: SocketAddr) -> Connection {
    let mut connection = None;
    until(&format!("a session at {server}"), || {
        connection = Connection::connect(server, &patient()).ok();
        connection.is_some()
    });
    connection.expect("just made")
}

/// A session of this length with an ephemeral.
pub fn owner(server: SocketAddr, path: &str, timeout: Duration) -> Connection {
    let timeout_ms = i32::try_from(timeout.as_millis()).expect("short");
    let options = ConnectOptions { timeout_ms, ping_every: PING_EVERY, ..ConnectOptions::default() };
    let mut connection = Connection::connect(server, &options).expect("it serves");
    connection.create(path, b"", CreateMode::Ephemeral).expect("it serves");
    connection
}

/// The session of this connection at a server, once that has seen as much as its client.
pub fn renewed(connection: &Connection, server: SocketAddr) -> Connection {
    let session = connection.session().expect("it is connected");
    let (timeout_ms, last_zxid_seen) = (session.timeout_ms, connection.last_zxid());
    let options =
        ConnectOptions { timeout_ms, last_zxid_seen, ping_every: PING_EVERY, ..ConnectOptions::renewing(session) };
    let mut renewed = None;
    until("a server that has seen as much", || {
        renewed = Connection::connect(server, &options).ok();
        renewed.is_some()
    });
    let renewed = renewed.expect("just seen");
    assert_eq!(renewed.session_id(), connection.session_id());
    renewed
}

/// From now on this client sees what any client was told before this to be done. A sync is enough but for clients of a Java leader, to which it is a read: it is answered before
/// that leader has applied what its followers may have applied (docs/reports/2026-11-22-mixed.md). A write is answered in its turn there, one that is refused too.
pub fn catch_up(cluster: &Cluster, connection: &mut Connection) {
    let server = connection.stream().peer_addr().expect("it is connected");
    let is_its = |id: &u8| cluster.address(*id) == server;
    let id = cluster.ids().into_iter().find(is_its).expect("a server of this ensemble");
    if cluster.implementation_of(id).is_java() && cluster.mode(id) == Some(Mode::Leader) {
        let refused = connection.delete("/is-never-there", -1);
        assert!(matches!(refused, Err(ClientError::Server(ErrorCode::NoNode))), "{refused:?}");
    } else {
        connection.sync("/").expect("a quorum is there");
    }
}

/// Is this znode there, after all that any client was told before this to be done?
pub fn is_there(cluster: &Cluster, connection: &mut Connection, path: &str) -> bool {
    catch_up(cluster, connection);
    connection.exists(path, false).expect("it serves").is_some()
}

/// A figure of a server's `mntr`.
pub fn figure(cluster: &Cluster, id: u8, key: &str) -> Option<u64> {
    let text = four_letters(cluster.address(id), "mntr")?;
    text.lines().find_map(|line| line.strip_prefix(&format!("zk_{key}\t")))?.parse().ok()
}

/// The zxid that a server has applied, as its `srvr` says.
pub fn zxid_of(cluster: &Cluster, id: u8) -> Option<Zxid> {
    let text = four_letters(cluster.address(id), "srvr")?;
    let zxid = text.lines().find_map(|line| line.strip_prefix("Zxid: 0x"))?;
    u64::from_str_radix(zxid, 16).ok().map(Zxid)
}

/// Writes at least so many MiB at this server, into one znode.
pub fn write_mib(server: SocketAddr, mib: usize) {
    const DATA_BYTES: usize = 512 << 10;
    let mut connection = connect(server);
    let data = vec![b'x'; DATA_BYTES];
    match connection.create("/bulk", b"", CreateMode::Persistent) {
        Ok(_) | Err(ClientError::Server(ErrorCode::NodeExists)) => {}
        Err(error) => panic!("{error}"),
    }
    for _ in 0..(mib << 20) / DATA_BYTES {
        connection.set("/bulk", &data, -1).expect("it serves");
    }
    connection.set("/bulk", b"", -1).expect("it serves");
    connection.close().expect("it serves");
}

fn path(number: usize) -> String {
    format!("/writer-{number}")
}

/// Goes on until it is told to end, and tells what it knows then.
fn write(number: usize, servers: &[SocketAddr], (seen, gaps): (&Seen, &Mutex<Gaps>), ends: &AtomicBool) -> Known {
    let path = path(number);
    let mut known = Known::default();
    let data = [b'x'; WRITE_BYTES];
    for server in servers.iter().cycle() {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let Ok(mut connection) = Connection::connect(*server, &patient()) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        match connection.create(&path, b"0", CreateMode::Persistent) {
            Ok(_) | Err(ClientError::Server(ErrorCode::NodeExists)) => {}
            Err(_) => continue,
        }
        while !ends.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let done = connection.set(&path, &data, known.version.unwrap_or(-1));
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            seen.slowest_us.fetch_max(took, Ordering::Relaxed);
            match done {
                Ok(stat) => known.acknowledged(&path, stat.version),
                // In its place in the order, so that a read behind it is at least as new, at whichever server.
                Err(ClientError::Server(ErrorCode::BadVersion)) => match connection.exists(&path, false) {
                    Ok(stat) => known.other(&path, stat.map_or(-1, |stat| stat.version)),
                    Err(_) => break,
                },
                Err(_) => {
                    known.has_unanswered = true;
                    break;
                }
            }
            seen.acknowledged.fetch_add(1, Ordering::Relaxed);
            let mut gaps = gaps.lock().expect("a writer does not panic");
            gaps.longest = gaps.longest.max(gaps.last.elapsed());
            gaps.last = Instant::now();
        }
        if ends.load(Ordering::Relaxed) {
            // Who waits until no session is left waits for this one, too. Its server may be gone.
            let _closed = connection.close();
        }
    }
    known
}

/// A writer bears what may be, and nothing else: no write hides that another was lost.
#[test]
fn a_writer_sees_that_an_acknowledged_write_is_lost() {
    const PATH: &str = "/writer-0";
    let is_borne = |has_unanswered, look: fn(Known)| {
        let known = Known { version: Some(3), has_unanswered };
        std::panic::catch_unwind(|| look(known)).is_ok()
    };
    for has_unanswered in [false, true] {
        assert!(is_borne(has_unanswered, |mut known| known.acknowledged(PATH, 4)), "the next");
        assert!(!is_borne(has_unanswered, |mut known| known.acknowledged(PATH, 3)), "acknowledged, and not done");
        assert!(!is_borne(has_unanswered, |mut known| known.acknowledged(PATH, 5)), "somebody else's");
        assert_eq!(
            is_borne(has_unanswered, |mut known| known.other(PATH, 4)),
            has_unanswered,
            "done without an answer"
        );
        assert!(!is_borne(has_unanswered, |mut known| known.other(PATH, 2)), "lost");
        assert!(is_borne(has_unanswered, |known| known.check(PATH, 1, Some(3))), "there at the end");
        assert_eq!(
            is_borne(has_unanswered, |known| known.check(PATH, 1, Some(4))),
            has_unanswered,
            "one more at the end"
        );
        assert!(!is_borne(has_unanswered, |known| known.check(PATH, 1, Some(2))), "lost at the end");
        assert!(!is_borne(has_unanswered, |known| known.check(PATH, 1, None)), "its znode is gone");
    }
}
