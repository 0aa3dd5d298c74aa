//! The end of a session that owns very many ephemerals, under watches: one txn, one event for each znode and watcher, nobody held up, and
//! nothing there after a restart.

use crate::{Bystanders, DEADLINE, Target, count, is_whole, raw};
use client::{ClientError, ConnectOptions, Connection, Event, Incoming, Operations};
use proto::request::CreateMode;
use proto::watch::EventType;
use proto::{Xid, Zxid};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Where the ephemerals are.
const PARENT: &str = "/many";
/// Bytes of the path of each: 100,000 of them are 10 MB.
const PATH_BYTES: usize = 100;
/// Creations on their way at a time.
const PIPELINED: usize = 500;

/// The path of an ephemeral.
fn path(number: usize) -> String {
    let head = format!("{PARENT}/{number:09}-");
    let rest = "e".repeat(PATH_BYTES - head.len());
    format!("{head}{rest}")
}

/// A session with so many ephemerals.
fn owner(target: &Target, count: usize) -> Connection {
    let mut owner = target.connect();
    if owner.exists(PARENT, false).unwrap().is_none() {
        owner.create(PARENT, b"", CreateMode::Persistent).unwrap();
    }
    let mut made = 0;
    while made < count {
        let numbers = made..count.min(made + PIPELINED);
        let mut bytes = Vec::new();
        for number in numbers.clone() {
            let xid = Xid(1_000_000 + i32::try_from(number).unwrap());
            raw::encode_ephemeral(&mut bytes, xid, &path(number));
            owner.expect(xid, proto::OpCode::Create);
        }
        owner.send_raw(&bytes).unwrap();
        for _ in numbers.clone() {
            owner.recv_reply().unwrap().ok().unwrap();
        }
        made = numbers.end;
    }
    owner
}

/// How a watcher looks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Persistent and recursive, at the parent or above it.
    Recursive(&'static str),
    /// Persistent, at the parent: it hears of its children.
    Children,
    /// One watch for each of the first znodes, used up by its event.
    Once(usize),
}

const LOOKS: [Look; 5] =
    [Look::Recursive(PARENT), Look::Recursive(PARENT), Look::Recursive("/"), Look::Children, Look::Once(300)];

fn watch(target: &Target, look: Look) -> Connection {
    let mut watcher = target.connect();
    match look {
        Look::Recursive(at) => watcher.add_watch(at, true).unwrap(),
        Look::Children => watcher.add_watch(PARENT, false).unwrap(),
        Look::Once(count) => (0..count).for_each(|number| {
            watcher.exists(&path(number), true).unwrap().expect("it is there");
        }),
    }
    watcher
}

/// Reads until the znodes' events have come, then asks; nothing of the session's end may come later.
fn look_on(mut watcher: Connection, look: Look, count: usize) -> Zxid {
    let wanted = match look {
        Look::Recursive(_) | Look::Children => count,
        Look::Once(count) => count,
    };
    let mut seen = Seen::default();
    while seen.ours < wanted {
        match watcher.recv().unwrap_or_else(|e| panic!("{look:?}, after {} of {wanted} events: {e}", seen.ours)) {
            Incoming::Event(event) => seen.note(event, look),
            Incoming::Reply(reply) => panic!("{look:?}: {reply:?}"),
        }
    }
    assert_eq!(watcher.exists(&path(count - 1), false).unwrap(), None);
    for event in watcher.take_events() {
        seen.note(event, look);
    }
    assert_eq!(seen.ours, wanted, "{look:?}");
    if look == Look::Children {
        assert!(seen.paths.is_empty());
    } else {
        assert_eq!(seen.paths.len(), wanted, "{look:?}");
    }
    watcher.close().unwrap();
    seen.ended_by.expect("events have a zxid")
}

/// The events of one watcher.
#[derive(Default)]
struct Seen {
    ours: usize,
    paths: HashSet<String>,
    last: Option<Zxid>,
    ended_by: Option<Zxid>,
}

impl Seen {
    fn note(&mut self, event: Event, look: Look) {
        assert!(self.last.is_none_or(|last| last <= event.zxid), "{look:?}: {event:?} comes after {:?}", self.last);
        self.last = Some(event.zxid);
        match event.kind() {
            Some(EventType::NodeDeleted) => {
                assert_ne!(look, Look::Children, "{event:?}");
                assert!(event.path.starts_with(PARENT), "{event:?}");
                assert!(self.paths.insert(event.path), "{look:?}: told twice");
            }
            Some(EventType::NodeChildrenChanged) => {
                assert_eq!((look, &*event.path), (Look::Children, PARENT), "a recursive watch has no child events");
            }
            // What the bystanders write.
            _ => {
                assert_eq!(look, Look::Recursive("/"), "{event:?}");
                return;
            }
        }
        assert!(self.ended_by.is_none_or(|zxid| zxid == event.zxid), "the end of a session is one txn");
        self.ended_by = Some(event.zxid);
        self.ours += 1;
    }
}

#[test]
fn a_session_with_very_many_ephemerals_ends_in_one_txn_under_everybodys_eyes() {
    for shards in [1, 2] {
        let mut target = Target::start(|builder| builder.shards(shards));
        end_under_watches(&target, count());
        if target.own.is_none() {
            return;
        }
        restart_and_look(&mut target);
    }
}

fn end_under_watches(target: &Target, count: usize) {
    let begun = Instant::now();
    let owner = owner(target, count);
    println!("FIGURE {}: {count} ephemerals made in {} ms", target.name(), begun.elapsed().as_millis());
    let watchers: Vec<_> = LOOKS.into_iter().map(|look| (watch(target, look), look)).collect();
    let bystanders = Bystanders::start(target);
    if is_whole() {
        // So that their figures have a time before it.
        std::thread::sleep(Duration::from_millis(500));
    }
    let (from, until, zxids) = std::thread::scope(|scope| {
        let watchers: Vec<_> = watchers
            .into_iter()
            .map(|(watcher, look)| scope.spawn(move || (look_on(watcher, look, count), Instant::now())))
            .collect();
        let begun = Instant::now();
        owner.close().unwrap();
        let closed_in = begun.elapsed();
        let ends: Vec<_> = watchers.into_iter().map(|watcher| watcher.join().unwrap()).collect();
        let last = ends.iter().map(|(_, at)| *at).max().unwrap();
        println!("FIGURE {}: the close was answered in {} ms", target.name(), closed_in.as_millis());
        (begun, last, ends.into_iter().map(|(zxid, _)| zxid).collect::<Vec<_>>())
    });
    assert!(zxids.windows(2).all(|pair| pair[0] == pair[1]), "all watchers hear of one txn: {zxids:?}");
    let seen = bystanders.stop();
    seen.tell(target.name(), &format!("the end of a session with {count} ephemerals"), from, until);
    assert_eq!(target.monitor("zk_ephemerals_count"), 0);
}

fn restart_and_look(target: &mut Target) {
    let Some(server) = &mut target.own else { return };
    server.restart();
    target.address = server.address();
    assert_eq!(target.monitor("zk_ephemerals_count"), 0);
    assert_eq!(target.connect().all_children_number(PARENT).unwrap(), 0);
}

#[test]
fn a_watcher_that_does_not_read_is_closed_at_its_limit_and_its_session_lives_on() {
    let count = count();
    // The least that can be set; the events of the znodes come to more than twice as much.
    let limit = 1 << 20;
    let target = Target::start(|builder| builder.set("ringkeeper.connectionOutputBytesMax", &limit.to_string()));
    if target.own.is_none() {
        return;
    }
    let owner = owner(&target, count);
    let options = ConnectOptions { timeout_ms: 600_000, deadline: DEADLINE, ..ConnectOptions::default() };
    let mut deaf: Vec<Connection> = (0..10)
        .map(|_| {
            let mut deaf = Connection::open(target.address, &options).unwrap();
            socket2::SockRef::from(deaf.stream()).set_recv_buffer_size(4 << 10).unwrap();
            deaf.handshake(&options).unwrap();
            deaf.add_watch(PARENT, true).unwrap();
            deaf
        })
        .collect();
    owner.close().unwrap();
    for deaf in &mut deaf {
        let mut events = 0;
        let end = loop {
            match deaf.recv() {
                Ok(Incoming::Event(_)) => events += 1,
                Ok(Incoming::Reply(reply)) => panic!("{reply:?}"),
                Err(end) => break end,
            }
        };
        assert!(matches!(end, ClientError::Closed { .. } | ClientError::Io { .. }), "{end}");
        assert!(events < count, "all events came, though nobody read");
        // The session lives on, and has what it missed by asking.
        let again = ConnectOptions { deadline: DEADLINE, ..ConnectOptions::renewing(deaf.session().unwrap()) };
        let mut again = Connection::connect(target.address, &again).unwrap();
        assert_eq!(again.all_children_number(PARENT).unwrap(), 0);
    }
}
