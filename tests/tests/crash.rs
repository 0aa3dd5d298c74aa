//! `kill -9` at random moments, many rounds on one data directory.
//!
//! One client keeps 64 requests in flight, all of them foreseen by a model: what each does, and what its reply has to say. Requests of one
//! session take effect in order, so what a restart finds must be the model after the acknowledged requests and some of those in flight:
//! never fewer than were acknowledged, never half of a multi, never one of them without the one before it. Small `snapCount` and segments
//! make images and log files turn over between and during the kills, and some kills hit a server that is still recovering.
//!
//! What a killed process leaves is in the page cache: that a reply waits for the *disk* is shown by `durability.rs`.
//! `RK_CRASH_ROUNDS` sets the rounds, `RK_CRASH_SEED` repeats a run's choices.

use client::{ConnectOptions, Connection, Operations, ReplyFrame};
use proto::reply::{OpResult, Reply};
use proto::request::{
    CreateMode, CreateRequest, MultiOp, MultiRequest, PathVersion, ReadRequest, Request, SetDataRequest,
};
use proto::{ErrorCode, OpCode};
use ringkeeper_tests::{Builder, Server, signal};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

const DEPTH: usize = 64;
/// A session that is renewed after the restart must not expire however slow the machine is.
const KEPT_TIMEOUT_MS: i32 = 60_000;
/// The shortest that ticks of 500 ms allow.
const DROPPED_TIMEOUT_MS: i32 = 1_000;
/// How long an ephemeral may take to go: far above the timeout and the ticks that it is rounded up to.
const EXPIRY_PATIENCE: Duration = Duration::from_secs(15);
const PERSISTENT: [&str; 2] = ["/crash/n", "/crash/q"];
const EPHEMERAL: [&str; 2] = ["/crash/e", "/crash/es"];

#[test]
fn what_was_acknowledged_survives_kill_9_and_nothing_else_is_there_by_halves() {
    let rounds = env_or("RK_CRASH_ROUNDS", 10);
    let seed = env_or("RK_CRASH_SEED", u64::from(std::process::id()));
    println!("RK_CRASH_SEED={seed} RK_CRASH_ROUNDS={rounds}");
    let builder = Server::builder()
        .set("snapCount", "300")
        .set("preAllocSize", "32768")
        .set("maxSessionTimeout", &KEPT_TIMEOUT_MS.to_string())
        .set("autopurge.purgeInterval", "1")
        .set("autopurge.snapRetainCount", "3");
    let mut random = Random(seed);
    let mut server = builder.clone().start();
    let mut client = connect(&server, DROPPED_TIMEOUT_MS);
    for path in ["/crash", "/crash/n", "/crash/q", "/crash/e", "/crash/es"] {
        client.create(path, b"", CreateMode::Persistent).unwrap();
    }
    let mut model = Model::default();
    let first_segments = log_segments(&server);
    for round in 0..rounds {
        let acknowledged_before = model.acknowledged;
        let pending = write_until_killed(&mut server, client, &mut model, &mut random);
        if random.below(3) == 0 {
            kill_while_it_recovers(&builder, &mut random);
        }
        server.restart();
        let keep = model.session.as_ref().is_some_and(|session| session.timeout_ms == KEPT_TIMEOUT_MS);
        client = if keep { renew(&server, &model) } else { connect(&server, DROPPED_TIMEOUT_MS) };
        let taken = model.agree(&mut client, &pending, keep);
        println!(
            "round {round}: {} acknowledged, {taken} of the {} others took effect, session renewed: {keep}",
            model.acknowledged - acknowledged_before,
            pending.len()
        );
        if !keep || random.below(2) == 0 {
            // Whoever kept its session drops it now: it is not to be renewed any more.
            let owner = if keep { client.session_id() } else { model.owner() };
            drop(client);
            if keep {
                close_by_renewing(&server, &model);
            }
            client = connect(&server, if random.below(2) == 0 { KEPT_TIMEOUT_MS } else { DROPPED_TIMEOUT_MS });
            await_expiry(&mut client, owner);
            model.ephemeral.clear();
            model.sequential_ephemerals = 0;
        }
        model.session = client.session().copied();
    }
    let last_segments = log_segments(&server);
    println!("log: {first_segments:?} at first, {last_segments:?} at the end");
    assert!(
        rounds < 10 || first_segments != last_segments,
        "the log never began another file: the test's sizes are wrong"
    );
}

// ---- the client's work --------------------------------------------------------------------------------------------------

/// One request, as the model foresees it.
#[derive(Clone, Debug)]
enum Op {
    Create(String),
    Set(String, i32),
    Delete(String, i32),
    /// Its number.
    Sequential(u64),
    Ephemeral(String),
    SequentialEphemeral,
    /// Sets the first from this version, creates the second, deletes the third at this version.
    Multi((String, i32), String, (String, i32)),
    /// Creates the first, and fails by a wrong version of the second.
    FailedMulti(String, String),
    /// Fails by a wrong version.
    FailedSet(String),
}

/// Writes until the server is killed, and returns what had not been acknowledged then.
fn write_until_killed(
    server: &mut Server,
    mut client: Connection,
    model: &mut Model,
    random: &mut Random,
) -> VecDeque<Op> {
    model.session = client.session().copied();
    let mut foreseen = model.clone();
    let mut pending = VecDeque::new();
    let kill_at = model.acknowledged + 300 + random.below(900);
    while model.acknowledged < kill_at {
        while pending.len() < DEPTH {
            let op = foreseen.choose(random);
            queue(&mut client, &op);
            foreseen.apply(&op);
            pending.push_back(op);
        }
        client.flush().expect("the server lives");
        let reply = client.recv_reply().expect("the server lives");
        model.acknowledge(&reply, &pending.pop_front().expect("a reply answers a request"));
    }
    model.named = foreseen.named;
    // Somewhere within the work on what is in flight.
    std::thread::sleep(Duration::from_micros(random.below(300)));
    signal(server.pid(), rustix::process::Signal::KILL);
    server.kill9();
    // What it still managed to send has been acknowledged.
    while let Ok(reply) = client.recv_reply() {
        model.acknowledge(&reply, &pending.pop_front().expect("a reply answers a request"));
    }
    pending
}

fn queue(client: &mut Connection, op: &Op) {
    let acl = client::AclList::open();
    let create = |path, data, mode: CreateMode| CreateRequest {
        path,
        data: Some(data),
        acl: acl.as_vec(),
        flags: mode as i32,
        ttl_ms: None,
    };
    let version_0 = |path: &str| value(path, 0);
    match op {
        Op::Create(path) => {
            client.queue(&Request::Create(OpCode::Create, create(path, &version_0(path), CreateMode::Persistent)));
        }
        Op::Ephemeral(path) => {
            client.queue(&Request::Create(OpCode::Create, create(path, &version_0(path), CreateMode::Ephemeral)));
        }
        Op::Sequential(number) => {
            let data = version_0(&sequential_path(*number));
            client.queue(&Request::Create(
                OpCode::Create,
                create("/crash/q/s-", &data, CreateMode::PersistentSequential),
            ));
        }
        Op::SequentialEphemeral => {
            let create = create("/crash/es/s-", b"", CreateMode::EphemeralSequential);
            client.queue(&Request::Create(OpCode::Create, create));
        }
        Op::Set(path, version) => {
            let data = value(path, version + 1);
            client.queue(&Request::SetData(SetDataRequest { path, data: Some(&data), version: *version }));
        }
        Op::FailedSet(path) => {
            client.queue(&Request::SetData(SetDataRequest { path, data: Some(b"wrong"), version: i32::MAX }));
        }
        Op::Delete(path, version) => {
            client.queue(&Request::Delete(PathVersion { path, version: *version }));
        }
        Op::Multi((set, version), created, (deleted, at)) => {
            let (data, new) = (value(set, version + 1), version_0(created));
            let ops = vec![
                MultiOp::SetData(SetDataRequest { path: set, data: Some(&data), version: *version }),
                MultiOp::Create(OpCode::Create, create(created, &new, CreateMode::Persistent)),
                MultiOp::Delete(PathVersion { path: deleted, version: *at }),
            ];
            client.queue(&Request::Multi(MultiRequest { ops }));
        }
        Op::FailedMulti(created, checked) => {
            let new = version_0(created);
            let ops = vec![
                MultiOp::Create(OpCode::Create, create(created, &new, CreateMode::Persistent)),
                MultiOp::Check(PathVersion { path: checked, version: i32::MAX }),
            ];
            client.queue(&Request::Multi(MultiRequest { ops }));
        }
    }
}

/// The data of a znode follow from its path and version, and have a length of their own: one in four is long, so that log files fill up.
fn value(path: &str, version: i32) -> Vec<u8> {
    let mut data = format!("{path}@{version} ").into_bytes();
    let mixed = data.iter().fold(7_usize, |mixed, byte| (mixed * 131 + usize::from(*byte)) % 1_000_003);
    let padding = if mixed.is_multiple_of(4) { mixed % 100_000 } else { mixed % 700 };
    data.resize(data.len() + padding, b'.');
    data
}

fn sequential_path(number: u64) -> String {
    format!("/crash/q/s-{number:010}")
}

// ---- the model ----------------------------------------------------------------------------------------------------------

/// What the server must have.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Version of each znode that stays.
    persistent: BTreeMap<String, i32>,
    /// Ephemerals of the session, those with numbers apart.
    ephemeral: BTreeMap<String, i32>,
    sequential_ephemerals: usize,
    sequentials: u64,
    named: u64,
    acknowledged: u64,
    last_sequential_ephemeral: Option<String>,
    session: Option<proto::connect::ConnectResponse>,
}

impl Model {
    fn choose(&mut self, random: &mut Random) -> Op {
        self.named += 1;
        let fresh = format!("/crash/n/{}", self.named);
        let enough = self.plain().count() > 20;
        match random.below(16) {
            0 => Op::Sequential(self.sequentials),
            1 => Op::Ephemeral(format!("/crash/e/{}", self.named)),
            2 => Op::SequentialEphemeral,
            3..=5 if enough => {
                let [set, deleted] = [self.pick(random), self.pick(random)];
                if set == deleted { Op::Create(fresh) } else { Op::Multi(set, fresh, deleted) }
            }
            6 if enough => Op::FailedMulti(fresh, self.pick(random).0),
            7 if enough => Op::FailedSet(self.pick(random).0),
            8 | 9 if enough => {
                let (path, version) = self.pick(random);
                Op::Delete(path, version)
            }
            10..=13 if enough => {
                let (path, version) = self.pick(random);
                Op::Set(path, version)
            }
            _ => Op::Create(fresh),
        }
    }

    fn plain(&self) -> impl Iterator<Item = (&String, &i32)> {
        self.persistent.iter().filter(|(path, _)| path.starts_with("/crash/n/"))
    }

    fn pick(&self, random: &mut Random) -> (String, i32) {
        let count = self.plain().count();
        let nth = usize::try_from(random.below(count as u64)).unwrap();
        let (path, version) = self.plain().nth(nth).unwrap();
        (path.clone(), *version)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(path) => drop(self.persistent.insert(path.clone(), 0)),
            Op::Set(path, version) => drop(self.persistent.insert(path.clone(), version + 1)),
            Op::Delete(path, _) => drop(self.persistent.remove(path)),
            Op::Sequential(number) => {
                self.persistent.insert(sequential_path(*number), 0);
                self.sequentials = number + 1;
            }
            Op::Ephemeral(path) => drop(self.ephemeral.insert(path.clone(), 0)),
            Op::SequentialEphemeral => self.sequential_ephemerals += 1,
            Op::Multi((set, version), created, (deleted, _)) => {
                self.persistent.insert(set.clone(), version + 1);
                self.persistent.insert(created.clone(), 0);
                self.persistent.remove(deleted);
            }
            Op::FailedMulti(..) | Op::FailedSet(_) => {}
        }
    }

    /// The reply says what was foreseen; from now on the effect has to be there.
    fn acknowledge(&mut self, reply: &ReplyFrame, op: &Op) {
        let expected = if matches!(op, Op::FailedSet(_)) { ErrorCode::BadVersion } else { ErrorCode::Ok };
        assert_eq!(reply.code().unwrap(), expected, "{op:?}");
        if expected == ErrorCode::Ok {
            match (op, reply.record().unwrap()) {
                (Op::Create(path) | Op::Ephemeral(path), Reply::Path(got)) => assert_eq!(path, got),
                (Op::Sequential(number), Reply::Path(got)) => assert_eq!(sequential_path(*number), got),
                (Op::SequentialEphemeral, Reply::Path(got)) => {
                    assert!(
                        self.last_sequential_ephemeral.as_deref() < Some(got),
                        "{got} after {:?}",
                        self.last_sequential_ephemeral
                    );
                    self.last_sequential_ephemeral = Some(got.to_owned());
                }
                (Op::Set(_, version), Reply::Stat(stat)) => assert_eq!(stat.version, version + 1),
                (Op::Delete(..), Reply::Empty) => {}
                (Op::Multi(..), Reply::Multi(results)) => {
                    assert!(!results.iter().any(|result| matches!(result, OpResult::Error(_))), "{op:?}: {results:?}");
                }
                (Op::FailedMulti(..), Reply::Multi(results)) => {
                    assert!(results.iter().all(|result| matches!(result, OpResult::Error(_))), "{op:?}: {results:?}");
                }
                (op, other) => panic!("{op:?} was answered with {other:?}"),
            }
        }
        self.apply(op);
        self.acknowledged += 1;
    }

    /// The server's tree is this model after some of the pending requests; takes that state over and says how many they were.
    fn agree(&mut self, client: &mut Connection, pending: &VecDeque<Op>, session_lives: bool) -> usize {
        let mut found = BTreeMap::new();
        for parent in PERSISTENT {
            read_children(client, parent, &mut found);
        }
        let acknowledged = self.persistent.clone();
        let mut taken = 0;
        // Reads and failed writes leave no trace: of several fitting states the last is as good as the first, except for
        // ephemerals, which have a say as long as their session lives.
        let ephemerals = session_lives.then(|| {
            let mut all = BTreeMap::new();
            for parent in EPHEMERAL {
                read_children(client, parent, &mut all);
            }
            all
        });
        loop {
            if found == self.persistent && ephemerals.as_ref().is_none_or(|found| self.has_ephemerals(found)) {
                break;
            }
            let Some(op) = pending.get(taken) else {
                let lost: Vec<_> = acknowledged.iter().filter(|(path, _)| !found.contains_key(*path)).collect();
                let other: Vec<_> = found.iter().filter(|(path, at)| acknowledged.get(*path) != Some(at)).collect();
                panic!(
                    "what the restart found is no state that the requests went through.\nacknowledged and not there: {lost:?}\nnot as \
                     acknowledged: {other:?}\nephemerals {ephemerals:?}\nin flight: {pending:?}"
                );
            };
            self.apply(op);
            taken += 1;
        }
        taken
    }

    fn has_ephemerals(&self, found: &BTreeMap<String, i32>) -> bool {
        let numbered = found.keys().filter(|path| path.starts_with("/crash/es/")).count();
        let named = found.iter().filter(|(path, _)| path.starts_with("/crash/e/"));
        numbered == self.sequential_ephemerals
            && named.eq(self.ephemeral.iter())
            && self.last_sequential_ephemeral.as_ref().is_none_or(|last| numbered == 0 || found.contains_key(last))
    }

    fn owner(&self) -> proto::SessionId {
        self.session.expect("there was a session").session_id
    }
}

// ---- looking at the server ----------------------------------------------------------------------------------------------

/// Children with their versions; their data fit their versions.
fn read_children(client: &mut Connection, parent: &str, into: &mut BTreeMap<String, i32>) {
    let paths: Vec<String> =
        client.children(parent, false).unwrap().into_iter().map(|name| format!("{parent}/{name}")).collect();
    for some in paths.chunks(DEPTH) {
        for path in some {
            client.queue(&Request::GetData(ReadRequest { path, watch: false }));
        }
        client.flush().unwrap();
        for path in some {
            let reply = client.recv_reply().unwrap();
            // An ephemeral may go between the two reads.
            if reply.code().unwrap() == ErrorCode::NoNode && !PERSISTENT.contains(&parent) {
                continue;
            }
            let Reply::DataStat(data, stat) = reply.record().unwrap() else { panic!("{path}: {reply:?}") };
            if parent != "/crash/es" {
                let data = data.unwrap_or_default();
                assert!(data == value(path, stat.version), "{path} at version {} has other data", stat.version);
            }
            assert_eq!(stat.ephemeral_owner.0 != 0, EPHEMERAL.contains(&parent), "{path}");
            into.insert(path.clone(), stat.version);
        }
    }
}

/// Waits until nothing of `owner` is left.
fn await_expiry(client: &mut Connection, owner: proto::SessionId) {
    let started = Instant::now();
    loop {
        let mut left = BTreeMap::new();
        for parent in EPHEMERAL {
            read_children(client, parent, &mut left);
        }
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < EXPIRY_PATIENCE, "of session {owner:?} there is still {:?}", left.keys());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn connect(server: &Server, timeout_ms: i32) -> Connection {
    Connection::connect(server.address(), &ConnectOptions { timeout_ms, ..ConnectOptions::default() }).unwrap()
}

fn renew(server: &Server, model: &Model) -> Connection {
    let session = model.session.expect("there was a session");
    let options = ConnectOptions { timeout_ms: KEPT_TIMEOUT_MS, ..ConnectOptions::renewing(&session) };
    Connection::connect(server.address(), &options).expect("the session outlives the server")
}

fn close_by_renewing(server: &Server, model: &Model) {
    renew(server, model).close().unwrap();
}

/// Starts the server, and kills it before it may have got far.
fn kill_while_it_recovers(builder: &Builder, random: &mut Random) {
    let mut child =
        builder.command().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(random.below(60)));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The log's files: one that is gone was purged, because an image holds what it held.
fn log_segments(server: &Server) -> Vec<String> {
    let names = std::fs::read_dir(server.data_dir().join("log")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut segments: Vec<String> =
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("segment-")).collect();
    segments.sort();
    segments
}

fn env_or(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// SplitMix64: the choices of a run follow from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
