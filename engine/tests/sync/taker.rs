//! Streams of real leaders are taken, and what is not a stream is refused.

use crate::state::{JAVA, after_packet, everything, new_leader, on_image, rich, streamed, taken};
use crate::vectors::vectors;
use engine::tree::LoadError;
use engine::turn::sync::{SnapSource, StateTaker, TakeError, TakeLimits, Taking};
use proto::quorum::snap::{SnapItem, SnapReader};
use proto::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, QuorumPacket};
use proto::stat::EphemeralOwner;
use proto::{Acl, AclVec, Reader, Received, SessionId, StatPersisted, Writer, Zxid};
use ringkeeper_engine as engine;
use std::collections::BTreeMap;
use std::sync::Arc;

const CAPTURES: [&str; 2] = ["quorum-3.8.0.txt", "quorum-3.9.5.txt"];

/// The states that real leaders sent: file and name, zxid, stream.
fn captured() -> Vec<(String, Zxid, Vec<u8>)> {
    let mut streams = Vec::new();
    for file in CAPTURES {
        let mut zxid = None;
        for vector in vectors(file) {
            match vector.kind.as_str() {
                "to_learner" => {
                    let packet = QuorumPacket::receive(&vector.bytes, DATA_BYTES_MAX_DEFAULT).unwrap();
                    let Received::Whole(packet, _) = packet else { panic!("{}", vector.name) };
                    if let Ok(FromLeader::Snap(of)) = FromLeader::decode(&packet) {
                        zxid = Some(of);
                    }
                }
                "snapshot_stream" => {
                    let zxid = zxid.take().expect("a SNAP comes before it");
                    streams.push((format!("{file} {}", vector.name), zxid, vector.bytes));
                }
                _ => {}
            }
        }
    }
    streams
}

/// What a stream says, whatever order siblings have and whatever the ACLs' numbers are. Java's open ACL has two: -1 for the znodes that it makes itself.
fn items(mut stream: &[u8]) -> (Vec<(SessionId, i32)>, BTreeMap<&str, Znode<'_>>) {
    let (mut sessions, mut acls, mut znodes) = (Vec::new(), BTreeMap::from([(-1, vec![Acl::open()])]), BTreeMap::new());
    let mut reader = SnapReader::new(DATA_BYTES_MAX_DEFAULT);
    while !reader.is_over() {
        let Ok(Received::Whole(item, len)) = reader.receive(stream) else { panic!("it is whole") };
        match item {
            SnapItem::Session { id, timeout_ms } => sessions.push((id, timeout_ms)),
            SnapItem::Acl { number, acl } => drop(acls.insert(number, acl.to_vec().unwrap())),
            SnapItem::Node { path, data, acl, stat } => drop(znodes.insert(path, (data, acls[&acl].clone(), stat))),
            SnapItem::Sessions(_) | SnapItem::Acls(_) | SnapItem::TreeEnd | SnapItem::Signature => {}
        }
        stream = &stream[len..];
    }
    sessions.sort_unstable();
    (sessions, znodes)
}

/// Its data, ACL and stat.
type Znode<'a> = (Option<&'a [u8]>, Vec<Acl>, StatPersisted);

#[test]
fn what_real_leaders_sent_becomes_a_tree() {
    let streams = captured();
    assert!(streams.len() >= 5, "{}", streams.len());
    for (name, zxid, stream) in streams {
        let whole = taken(zxid, &stream, usize::MAX).finish().unwrap();
        let (nodes, tree) = (whole.nodes, whole.tree);
        assert_eq!((nodes, tree.last_zxid()), (tree.node_count() as u64, zxid), "{name}");
        assert!(tree.get("/zookeeper/config").is_some());
        let in_pieces = taken(zxid, &stream, 1).finish().unwrap().tree;
        assert_eq!(everything(&in_pieces), everything(&tree), "{name}");
        // And ours of it is taken as well.
        let (mut tree, dir) = (tree, tempfile::tempdir().unwrap());
        on_image(&mut tree, dir.path());
        let bytes = streamed(&mut SnapSource::of_image(Arc::clone(tree.base().unwrap())), 100);
        let captured = stream;
        let (again, stream) = after_packet(&bytes);
        assert_eq!(again, zxid);
        let ours = taken(zxid, stream, 100).finish().unwrap().tree;
        assert_eq!(everything(&ours), everything(&tree), "{name}");
        assert_eq!(items(stream), items(&captured), "{name}");
    }
}

fn rich_stream() -> (Zxid, Vec<u8>) {
    let (mut tree, dir) = (rich(), tempfile::tempdir().unwrap());
    on_image(&mut tree, dir.path());
    let bytes = streamed(&mut SnapSource::of_image(Arc::clone(tree.base().unwrap())), usize::MAX);
    let (zxid, stream) = after_packet(&bytes);
    (zxid, [stream, &new_leader()].concat())
}

/// What comes of a stream with NEWLEADER behind it, given in two pieces.
fn outcome(zxid: Zxid, stream: &[u8], cut: usize) -> Result<engine::tree::Tree, TakeError> {
    let mut taker = StateTaker::new(zxid, JAVA, TakeLimits::default());
    let (start, end) = stream.split_at(cut);
    let mut rest = 0;
    for piece in [start, end] {
        if let Taking::Over { rest: behind } = taker.take(piece)? {
            rest += behind;
        }
    }
    let tree = taker.finish()?.tree;
    assert!(rest < stream.len());
    Ok(tree)
}

#[test]
fn a_stream_that_breaks_off_is_no_state() {
    let (zxid, stream) = rich_stream();
    for end in (0..2_000).chain(stream.len() - 2_000..stream.len()) {
        let error = outcome(zxid, &stream[..end], end / 2).expect_err("it is not whole");
        assert!(matches!(error, TakeError::BrokeOff(bytes) if bytes == end as u64), "{end}: {error}");
    }
    assert!(outcome(zxid, &stream, 1_000).is_ok());
}

#[test]
fn a_flipped_stream_is_refused_or_a_tree_but_never_a_panic() {
    let (zxid, stream) = rich_stream();
    let (mut refused, mut trees) = (0, 0);
    // All but the inside of the large znode's data.
    let places = (0..stream.len()).filter(|at| !stream[at.saturating_sub(20)..=*at].iter().all(|byte| *byte == b'x'));
    for at in places {
        for bit in [0, 3, 7] {
            let mut flipped = stream.clone();
            flipped[at] ^= 1 << bit;
            match outcome(zxid, &flipped, at) {
                Ok(_) => trees += 1,
                Err(_) => refused += 1,
            }
        }
    }
    // The stream has no checksum: a flip in data, times and names goes unnoticed.
    assert!(refused > 1_000 && trees > 1_000, "{refused} refused, {trees} trees");
}

/// A stream of these items, and the reserved znodes that every tree has.
struct Stream(Vec<u8>);

impl Stream {
    fn of(before: &[SnapItem<'_>], nodes: &[SnapItem<'_>]) -> Stream {
        let mut stream = Stream(Vec::new());
        before.iter().for_each(|item| stream.put(item));
        ["", "/zookeeper", "/zookeeper/quota"].iter().for_each(|path| stream.put(&node(path)));
        nodes.iter().for_each(|item| stream.put(item));
        stream.put(&SnapItem::TreeEnd);
        stream.put(&SnapItem::Signature);
        stream.0.extend(new_leader());
        stream
    }

    fn put(&mut self, item: &SnapItem<'_>) {
        item.write(&mut Writer::new(&mut self.0));
    }

    fn outcome(&self) -> Result<engine::tree::Tree, TakeError> {
        outcome(Zxid(9), &self.0, self.0.len() / 2)
    }
}

const NONE: [SnapItem<'_>; 2] = [SnapItem::Sessions(0), SnapItem::Acls(0)];

fn node(path: &str) -> SnapItem<'_> {
    let stat = StatPersisted::created(Zxid(7), 1, EphemeralOwner::NONE);
    SnapItem::Node { path, data: Some(b""), acl: -1, stat }
}

fn owned(path: &str, owner: EphemeralOwner) -> SnapItem<'_> {
    SnapItem::Node { path, data: None, acl: -1, stat: StatPersisted::created(Zxid(7), 1, owner) }
}

#[test]
fn what_is_no_state_of_one_zxid_is_refused() {
    let tree = Stream::of(&NONE, &[node("/a"), node("/a/b")]).outcome().unwrap();
    assert!(tree.get("/zookeeper/config").is_some(), "which servers before 3.5 do not have");
    let refused = |nodes: &[SnapItem<'_>]| Stream::of(&NONE, nodes).outcome().expect_err("refused");
    assert!(matches!(refused(&[node("/a/b")]), TakeError::Tree(_)), "no parent");
    assert!(matches!(refused(&[node("/a"), node("/a")]), TakeError::Tree(_)), "twice");
    for path in ["a", "/a/", "//", "a/b"] {
        assert!(matches!(refused(&[node(path)]), TakeError::Path(no) if no == path));
    }
    let stat = StatPersisted::created(Zxid(7), 1, EphemeralOwner::NONE);
    let of_acl = SnapItem::Node { path: "/a", data: None, acl: 1, stat };
    assert!(matches!(refused(&[of_acl]), TakeError::NotWhole(_)), "its ACL is not there");
    let later = StatPersisted { mzxid: Zxid(10), ..stat };
    let later = SnapItem::Node { path: "/a", data: None, acl: -1, stat: later };
    assert!(matches!(refused(&[later]), TakeError::Fuzzy { zxid: Zxid(9), newest: Zxid(10) }));
    let ephemeral = owned("/a", EphemeralOwner::session_of(SessionId(5)));
    assert!(matches!(refused(&[ephemeral]), TakeError::LostEphemerals { count: 1, first } if first == ["/a"]));
    let session = [SnapItem::Sessions(1), SnapItem::Session { id: SessionId(5), timeout_ms: 1 }, SnapItem::Acls(0)];
    assert_eq!(Stream::of(&session, &[ephemeral]).outcome().unwrap().ephemeral_count(), 1);
    let parent = Stream::of(&session, &[ephemeral, node("/a/b")]).outcome();
    assert!(matches!(parent, Err(TakeError::EphemeralParent(path)) if path == "/a"));
    // Below what has no session either: gone with it, and never a panic.
    assert!(matches!(refused(&[ephemeral, node("/a/b")]), TakeError::LostEphemerals { count: 1, .. }));
    let mut of_session = Stream(Vec::new());
    let root = owned("", EphemeralOwner::session_of(SessionId(5)));
    let items = session.into_iter().chain([root, node("/zookeeper"), node("/zookeeper/quota")]);
    items.chain([SnapItem::TreeEnd, SnapItem::Signature]).for_each(|item| of_session.put(&item));
    of_session.0.extend(new_leader());
    assert!(matches!(of_session.outcome(), Err(TakeError::Tree(LoadError::Owned("/")))));
}

#[test]
fn an_acls_number_is_of_one_and_bounds_are_kept() {
    let mut entries = Vec::new();
    Acl::write_vec(&vec![Acl::open(); 3_000], &mut Writer::new(&mut entries));
    let acl = AclVec::read(&mut Reader::new(&entries)).unwrap();
    let acl = SnapItem::Acl { number: 1, acl };
    let twice = Stream::of(&[SnapItem::Sessions(0), SnapItem::Acls(2), acl, acl], &[]);
    assert!(matches!(twice.outcome(), Err(TakeError::AclTwice(1))));
    let once = Stream::of(&[SnapItem::Sessions(0), SnapItem::Acls(1), acl], &[]);
    assert!(once.outcome().is_ok());
    let field = TakeLimits { field_bytes_max: entries.len() / 2, ..TakeLimits::default() };
    assert!(matches!(StateTaker::new(Zxid(9), JAVA, field).take(&once.0), Err(TakeError::Decode { at: 8, .. })));
    let stream =
        TakeLimits { stream_bytes_max: (once.0.len() - new_leader().len()) as u64 - 1, ..TakeLimits::default() };
    assert!(matches!(StateTaker::new(Zxid(9), JAVA, stream).take(&once.0), Err(TakeError::TooLarge(_))));
    // A count is no promise that anything is kept for.
    let mut taker = StateTaker::new(Zxid(9), JAVA, TakeLimits::default());
    assert!(matches!(taker.take(&i32::MAX.to_be_bytes()), Ok(Taking::More)));
}
