//! Random steps, and a twin that takes each of them with the engine and with the naive model.

use crate::support::harness::{Harness, Item, START_MS, connection, ids};
use crate::support::image::publish;
use crate::support::naive::{Naive, names_of};
use crate::support::naive_ops::{Body, Caller, Changed, CreateOp, Op, RawAcl};
use proto::connect::ConnectResponse;
use proto::txn::{Txn, TxnRecord};
use proto::{ErrorCode, OpCode, ServerId, SessionId, Xid};
use ringkeeper_engine::auth::AuthId;
use ringkeeper_engine::prep::PrepOptions;
use ringkeeper_engine::replica::{Forward, LocalSessions, ReplicaOptions};
use ringkeeper_engine::session;
use ringkeeper_engine::stream::{Attachment, Detach};
use ringkeeper_engine::tree::{FrozenTree, Listing, RESERVED_PATHS, Tree};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tempfile::TempDir;

#[derive(Clone, Debug)]
pub(crate) enum PathPick {
    Fixed(&'static str),
    /// One of those that clients have made, when the step is taken.
    Known(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum VersionPick {
    Any,
    /// The current one plus this.
    Current(i32),
}

/// A request with choices that depend on the state: so a shorter sequence still means something.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Create { code: OpCode, flags: i32, path: PathPick, below: &'static str, data: usize, acl: AclPick, ttl_ms: i64 },
    Delete(PathPick, VersionPick),
    SetData(PathPick, VersionPick, usize),
    SetAcl(PathPick, VersionPick, AclPick),
    Check(PathPick, VersionPick),
    Multi(Vec<Ask>),
    Sync(PathPick),
    Close,
    Reconfig,
    DeleteContainer(PathPick),
    Garbled(OpCode),
}

pub(crate) type AclPick = Option<&'static [RawAcl]>;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Connect {
        timeout_ms: i32,
    },
    Reconnect {
        session: usize,
        right: bool,
        timeout_ms: i32,
    },
    Request {
        session: usize,
        from_old: bool,
        ask: Ask,
    },
    Heard {
        session: usize,
    },
    Gone {
        session: usize,
    },
    Tick {
        ms: i64,
    },
    Append,
    Durable {
        count: usize,
    },
    Apply {
        count: usize,
    },
    /// Everything that is on its way arrives.
    Settle,
    Freeze,
}

pub(crate) const TICK_MS: i64 = 100;
const CONTAINER_CHECK_MS: i64 = 400;

pub(crate) fn options(extended_types: bool) -> ReplicaOptions {
    ReplicaOptions {
        server: ServerId(3),
        tick_ms: TICK_MS,
        session_timeout_ms_min: 200,
        session_timeout_ms_max: 1_000,
        local_sessions: LocalSessions::No,
        prep: PrepOptions { extended_types, ..PrepOptions::default() },
        container_check_ms: CONTAINER_CHECK_MS,
        // One in a millisecond, and no tick is shorter than the tests have containers.
        containers_per_minute_max: 60_000,
        container_never_used_ms_max: 0,
    }
}

/// In memory, where there is such a place: thousands of images are written.
fn image_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

struct Live {
    timeout_ms: i64,
    /// Its last word. From it on it has its timeout, which may have become a shorter one.
    heard_ms: i64,
    expires_at_ms: i64,
    attached: Option<Attachment>,
}

impl Live {
    fn heard(&mut self, heard_ms: i64) {
        self.heard_ms = heard_ms.max(self.heard_ms);
        self.expires_at_ms = round_up(self.heard_ms + self.timeout_ms);
    }
}

pub(crate) struct Twin {
    pub(crate) harness: Harness,
    pub(crate) naive: Naive,
    /// The model after each txn that the engine has not applied yet.
    history: VecDeque<Naive>,
    applied: Naive,
    expected: VecDeque<Item>,
    live: BTreeMap<i64, Live>,
    /// Every session that there ever was.
    sessions: Vec<i64>,
    queue: BTreeSet<String>,
    /// If the first of the queue could not go: it was one of these.
    tried: BTreeSet<String>,
    next_check_ms: i64,
    next_xid: i32,
    next_slot: u32,
    /// What was put aside, with the model of that time.
    aside: Option<(Naive, FrozenTree)>,
    /// Listings that were taken, with what they are to tell for good.
    listings: Vec<(BTreeSet<String>, Listing)>,
    images: TempDir,
    /// How often each error code was answered, in headers and in the results of multis.
    pub(crate) codes: BTreeMap<i32, u64>,
}

impl Twin {
    pub(crate) fn new(extended_types: bool) -> Twin {
        let harness = Harness::new(options(extended_types));
        let naive = Naive::new(extended_types);
        naive.assert_same(&harness.tree, "at the start");
        let next_check_ms = harness.now.mono_ms + CONTAINER_CHECK_MS;
        Twin {
            harness,
            applied: naive.clone(),
            naive,
            history: VecDeque::new(),
            expected: VecDeque::new(),
            live: BTreeMap::new(),
            sessions: Vec::new(),
            queue: BTreeSet::new(),
            tried: BTreeSet::new(),
            next_check_ms,
            next_xid: 1,
            next_slot: 0,
            aside: None,
            listings: Vec::new(),
            images: image_dir(),
            codes: BTreeMap::new(),
        }
    }

    pub(crate) fn take(&mut self, step: &Step) {
        match step {
            Step::Connect { timeout_ms } => self.connect(*timeout_ms),
            Step::Reconnect { session, right, timeout_ms } => self.reconnect(*session, *right, *timeout_ms),
            Step::Request { session, from_old, ask } => {
                if let Some(session) = self.session(*session) {
                    self.request(session, *from_old, ask);
                }
            }
            Step::Heard { session } => {
                let (Some(session), heard_ms) = (self.session(*session), self.harness.now.mono_ms) else { return };
                self.harness.forward(Forward::Heard(vec![(SessionId(session), heard_ms)]), Vec::new());
                if let Some(live) = self.live.get_mut(&session) {
                    live.heard(heard_ms);
                }
            }
            Step::Gone { session } => {
                let Some(session) = self.session(*session) else { return };
                let Some(from) = self.live.get_mut(&session).and_then(|live| live.attached.take()) else { return };
                self.harness.forward(Forward::Closed { from, session: SessionId(session) }, Vec::new());
            }
            Step::Tick { ms } => self.tick(*ms),
            Step::Append => self.harness.append(),
            Step::Durable { count } => self.harness.durable(*count),
            Step::Apply { count } => {
                let items = self.harness.apply(*count);
                self.compare(items);
            }
            Step::Settle => {
                let items = self.harness.settle();
                self.compare(items);
            }
            Step::Freeze => self.freeze_or_rebase(),
        }
    }

    /// Everything arrives, and everything is compared.
    pub(crate) fn finish(&mut self) {
        let items = self.harness.settle();
        self.compare(items);
        assert!(self.expected.is_empty(), "the engine still owes {:?}", self.expected);
        assert!(self.history.is_empty());
        assert_eq!(self.harness.log.len() as u64, self.naive.zxid, "a txn for each zxid");
        assert_eq!(self.harness.replica.sessions().len(), self.live.len());
        self.naive.assert_same(&self.harness.replay(), "after a replay of the log");
        for _ in 0..2 {
            if self.aside.is_some() || !self.harness.tree.is_on_image() {
                self.freeze_or_rebase();
            }
        }
    }

    /// Puts the tree's top layer aside; the next time, once txns were applied above it, onto the image of that.
    fn freeze_or_rebase(&mut self) {
        for (names, listing) in self.listings.drain(..) {
            assert_eq!(names_of(&listing), names, "a listing that was taken before the tree has gone on");
        }
        self.take_listings();
        match self.aside.take() {
            // An image has its zxid in its name.
            None if self.harness.tree.is_on_image() => {}
            None => self.aside = Some((self.applied.clone(), self.harness.tree.freeze())),
            Some((naive, frozen)) => {
                naive.assert_frozen(&frozen, "as it was frozen");
                let base = publish(&frozen, self.images.path());
                naive.assert_same(&Tree::on_base(Arc::clone(&base)).expect("a whole tree"), "on its image");
                drop(self.harness.tree.rebase(base));
                self.applied.assert_same(&self.harness.tree, "on a new image");
            }
        }
    }

    /// Takes a listing of every znode, to be told when the tree has gone on.
    fn take_listings(&mut self) {
        let tree = &self.harness.tree;
        let taken = self
            .applied
            .nodes
            .keys()
            .map(|path| (self.applied.children(path), tree.get(path).expect("it is there").listing()));
        self.listings = taken.collect();
    }

    /// Mostly one that lives, else any that ever did.
    fn session(&self, pick: usize) -> Option<i64> {
        let live: Vec<i64> = self.live.keys().copied().collect();
        let from = if pick.is_multiple_of(8) || live.is_empty() { &self.sessions } else { &live };
        from.get(pick % from.len().max(1)).copied()
    }

    fn new_connection(&mut self) -> Attachment {
        self.next_slot += 1;
        connection(self.next_slot)
    }

    fn connect(&mut self, timeout_ms: i32) {
        let to = self.new_connection();
        self.harness.connect(to, timeout_ms);
        let timeout_ms = timeout_ms.clamp(200, 1_000);
        let session = session_id(self.sessions.len());
        self.sessions.push(session);
        let expires_at_ms = round_up(self.harness.now.mono_ms + i64::from(timeout_ms));
        let heard_ms = self.harness.now.mono_ms;
        self.live.insert(session, Live { timeout_ms: timeout_ms.into(), heard_ms, expires_at_ms, attached: Some(to) });
        self.naive.create_session(session, timeout_ms);
        self.remember();
        let response = accepted(session, timeout_ms, Some(false));
        self.expected.push_back(Item::Connected { to, zxid: self.naive.zxid, response });
    }

    fn reconnect(&mut self, session: usize, right: bool, timeout_ms: i32) {
        let Some(session) = self.session(session) else { return };
        let Some(live) = self.live.get_mut(&session) else { return };
        self.next_slot += 1;
        let to = connection(self.next_slot);
        let mut password = session::password(SessionId(session));
        if !right {
            password[7] ^= 1;
        }
        self.harness.reconnect(to, session, password, timeout_ms);
        let timeout_ms = timeout_ms.clamp(200, 1_000);
        let (reason, response) = if right {
            live.timeout_ms = timeout_ms.into();
            live.heard(self.harness.now.mono_ms);
            (Detach::SessionMoved, accepted(session, timeout_ms, None))
        } else {
            (Detach::WrongPassword, ConnectResponse::expired(None))
        };
        let before = std::mem::replace(&mut live.attached, right.then_some(to));
        if let Some(from) = before {
            self.expected.push_back(Item::Detached { from, session, reason });
        }
        self.expected.push_back(Item::Connected { to, zxid: self.applied.zxid, response });
    }

    fn request(&mut self, session: i64, from_old: bool, ask: &Ask) {
        let attached = self.live.get(&session).and_then(|live| live.attached);
        let from = attached.filter(|_| !from_old).unwrap_or_else(|| self.new_connection());
        let op = self.resolve(ask);
        let (xid, who) = (self.next_xid, identities(session));
        self.next_xid += 1;
        self.harness.request(from, session, xid, &op, &who);
        if !self.live.contains_key(&session) {
            let err = ErrorCode::SessionExpired.to_wire();
            return self.expect_reply(from, xid, err, Body::Nothing, false);
        }
        if attached != Some(from) {
            return self.expected.push_back(Item::Detached { from, session, reason: Detach::SessionMoved });
        }
        let mut changes = Vec::new();
        match &op {
            Op::Sync { path } => self.expect_reply(from, xid, 0, Body::Path(path.clone()), false),
            Op::Close => {
                self.live.remove(&session);
                self.naive.close_session(session, &mut changes);
                self.remember();
                self.expect_changes(changes);
                self.expect_reply(from, xid, 0, Body::Nothing, true);
            }
            op => {
                let caller = Caller { session, ids: &who, time_ms: self.harness.now.wall_ms };
                let (err, body) = self.naive.execute(&caller, op, &mut changes);
                self.remember();
                self.expect_changes(changes);
                self.expect_reply(from, xid, err, body, false);
            }
        }
    }

    /// The order of what one tick does is the engine's to choose; what it does is not.
    fn tick(&mut self, ms: i64) {
        self.harness.append();
        let before = self.harness.log.len();
        self.harness.tick(ms);
        self.harness.append();
        let now = self.harness.now;
        let due: BTreeSet<i64> =
            self.live.iter().filter(|(_, live)| live.expires_at_ms <= now.mono_ms).map(|(id, _)| *id).collect();
        let checks = now.mono_ms >= self.next_check_ms;
        if checks {
            self.next_check_ms = now.mono_ms + CONTAINER_CHECK_MS;
            self.queue = self.applied.candidates(now.wall_ms).into_iter().collect();
        }
        let (mut closed, mut removed) = (BTreeSet::new(), BTreeSet::new());
        for (zxid, bytes) in self.harness.log.split_off(before) {
            let record = TxnRecord::decode(&bytes).expect("the log's own bytes");
            assert_eq!((record.header.time_ms, record.header.xid), (now.wall_ms, Xid(0)));
            let mut changes = Vec::new();
            match &record.txn {
                Txn::CloseSession(_) => {
                    let session = record.header.session.0;
                    let live = self.live.remove(&session).expect("only one that lives expires");
                    self.naive.close_session(session, &mut changes);
                    self.expect_changes(changes);
                    let expired = |from| Item::Detached { from, session, reason: Detach::Expired };
                    self.expected.extend(live.attached.map(expired));
                    closed.insert(session);
                }
                Txn::Delete { op: OpCode::DeleteContainer, path } => {
                    assert!(self.queue.contains(*path) && self.naive.is_removable(path), "{path} may not go");
                    assert_eq!(record.header.session, SessionId(0));
                    self.naive.delete_container(path, &mut changes);
                    self.expect_changes(changes);
                    removed.insert((*path).to_owned());
                }
                other => panic!("a tick proposed {other:?}"),
            }
            self.remember();
            self.harness.log.push((zxid, bytes));
        }
        assert_eq!(closed, due, "sessions that expire at {}", now.mono_ms);
        self.queue.retain(|path| !removed.contains(path));
        let (may_go, may_not): (BTreeSet<String>, BTreeSet<String>) =
            self.queue.iter().cloned().partition(|path| self.naive.is_removable(path));
        if checks {
            // The first is tried at once, the others from the next tick on.
            assert!(removed.len() <= 1);
            assert!(
                removed.len() == 1 || may_go.is_empty() || !may_not.is_empty(),
                "one of {may_go:?} should have gone"
            );
            self.tried = if removed.is_empty() { may_not } else { BTreeSet::new() };
        } else {
            // One of those that were found but could not go when it was tried may have come back since.
            let left = may_go.len() - usize::from(!may_go.is_disjoint(&self.tried));
            assert!(left == 0, "{may_go:?} should have gone");
            self.queue.clear();
        }
    }

    fn remember(&mut self) {
        self.history.push_back(self.naive.clone());
    }

    fn expect_changes(&mut self, changes: Vec<Changed>) {
        self.expected.extend(changes.into_iter().map(Item::Changed));
    }

    fn expect_reply(&mut self, to: Attachment, xid: i32, err: i32, body: Body, close: bool) {
        let in_multi = match &body {
            Body::Multi(results) => results.as_slice(),
            _ => &[],
        };
        let codes = in_multi.iter().filter_map(|result| if let Body::Error(err) = result { Some(*err) } else { None });
        for code in codes.chain([err]) {
            *self.codes.entry(code).or_default() += 1;
        }
        self.expected.push_back(Item::Reply { to, xid, zxid: self.naive.zxid, err, body, close });
    }

    fn compare(&mut self, items: Vec<Item>) {
        for item in items {
            let expected = self.expected.pop_front().unwrap_or_else(|| panic!("nobody expects {item:?}"));
            assert_eq!(item, expected, "engine on the left, model on the right");
        }
        let zxid = self.harness.tree.last_zxid().0;
        while self.history.front().is_some_and(|first| first.zxid <= zxid) {
            self.applied = self.history.pop_front().expect("seen just now");
        }
        self.applied.assert_same(&self.harness.tree, "after an apply");
    }

    // ---- choices ----------------------------------------------------------------------------------------------------

    fn path(&self, pick: &PathPick) -> String {
        match pick {
            PathPick::Fixed(path) => (*path).to_owned(),
            PathPick::Known(at) => {
                let known: Vec<&String> =
                    self.naive.nodes.keys().filter(|path| !RESERVED_PATHS.contains(&path.as_str())).collect();
                known.get(usize::from(*at) % known.len().max(1)).map_or("/a".to_owned(), |path| (*path).clone())
            }
        }
    }

    fn version(&self, path: &str, pick: VersionPick, of_acl: bool) -> i32 {
        let VersionPick::Current(offset) = pick else { return -1 };
        let node = self.naive.nodes.get(path);
        node.map_or(0, |node| if of_acl { node.aversion } else { node.version }).wrapping_add(offset)
    }

    fn resolve(&self, ask: &Ask) -> Op {
        match ask {
            Ask::Create { code, flags, path, below, data, acl, ttl_ms } => {
                let above = self.path(path);
                let path = if below.is_empty() { above } else { format!("{}{below}", above.trim_end_matches('/')) };
                let (code, flags, ttl_ms) = (*code, *flags, *ttl_ms);
                Op::Create(CreateOp {
                    code,
                    flags,
                    path,
                    data: data_of(*data),
                    acl: acl.map(<[RawAcl]>::to_vec),
                    ttl_ms,
                })
            }
            Ask::Delete(path, version) => {
                let path = self.path(path);
                Op::Delete { version: self.version(&path, *version, false), path }
            }
            Ask::SetData(path, version, data) => {
                let path = self.path(path);
                Op::SetData { version: self.version(&path, *version, false), path, data: data_of(*data) }
            }
            Ask::SetAcl(path, version, acl) => {
                let path = self.path(path);
                let acl = acl.map(<[RawAcl]>::to_vec);
                Op::SetAcl { version: self.version(&path, *version, true), path, acl }
            }
            Ask::Check(path, version) => {
                let path = self.path(path);
                Op::Check { version: self.version(&path, *version, false), path }
            }
            Ask::Multi(asks) => Op::Multi(asks.iter().map(|ask| self.resolve(ask)).collect()),
            Ask::Sync(path) => Op::Sync { path: self.path(path) },
            Ask::Close => Op::Close,
            Ask::Reconfig => Op::Reconfig,
            Ask::DeleteContainer(path) => Op::DeleteContainer { path: self.path(path) },
            Ask::Garbled(code) => Op::Garbled(*code),
        }
    }
}

/// Null, empty, short, longer.
fn data_of(pick: usize) -> Option<Vec<u8>> {
    pick.checked_sub(1).map(|len| (0_u8..).take(len * 7).collect())
}

/// The n-th session of a server's life (`SessionTrackerImpl.initializeNextSessionId`): no clock but the start's.
pub(crate) fn session_id(nth: usize) -> i64 {
    let clock = ((START_MS << 24).cast_unsigned() >> 8).cast_signed();
    (clock | (3 << 56)) + i64::try_from(nth).expect("few")
}

/// Three kinds of clients, by session.
pub(crate) fn identities(session: i64) -> Arc<[AuthId]> {
    match session.rem_euclid(4) {
        0 => ids(&[("ip", "10.0.0.1")]),
        1 => ids(&[("ip", "10.0.0.2"), ("digest", "bob:x"), ("digest", "eve:y")]),
        2 => ids(&[("ip", "11.0.0.1"), ("digest", "eve:y")]),
        _ => ids(&[("ip", "11.0.0.1"), ("super", "")]),
    }
}

fn accepted(session: i64, timeout_ms: i32, read_only: Option<bool>) -> ConnectResponse {
    let session_id = SessionId(session);
    ConnectResponse { protocol_version: 0, timeout_ms, session_id, password: session::password(session_id), read_only }
}

/// `ExpiryQueue.roundToNextInterval`.
pub(crate) const fn round_up(at_ms: i64) -> i64 {
    (at_ms / TICK_MS + 1) * TICK_MS
}
