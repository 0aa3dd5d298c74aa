//! A Java leader, as far as a test plays one, gives some zxids to no txn: what a follower of ours logs, acknowledges and shows, and what it gives on when it leads.

use crate::host::{Comes, Goes, Txns};
use crate::world::{World, id};
use engine::turn::{ElectionEvent, Note};
use proto::election::{PeerEpoch, ServerState};
use proto::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, FromLearner, PROTOCOL_VERSION, QuorumPacket};
use proto::txn::{Txn, TxnHeader, TxnRecord};
use proto::{Epoch, OpCode, Received, SessionId, Writer, Xid, Zxid};
use ringkeeper_engine as engine;
use zab::election::Vote;
use zab::{Cause, LinkId};

const fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

/// A txn that changes nothing but the zxid.
fn txn(zxid: Zxid) -> Vec<u8> {
    let header = TxnHeader { session: SessionId(1), xid: Xid(1), zxid, time_ms: 1, op: OpCode::Error };
    let mut bytes = Vec::new();
    TxnRecord { header, txn: Txn::Error(-110), digest: None }.encode(&mut bytes);
    bytes
}

/// What a leader says.
#[derive(Clone, Copy, Debug)]
enum Says {
    LeaderInfo(u32),
    Diff(Zxid),
    Trunc(Zxid),
    Proposal(Zxid),
    Commit(Zxid),
    NewLeader(u32),
    UpToDate,
}

/// The first server follows; the second votes as it does, the third leads.
struct Java {
    world: World,
    wire: u64,
}

impl Java {
    fn begin() -> Java {
        let mut world = World::new(None);
        world.stopped.extend([1, 2]);
        let mut java = Java { world, wire: 100 };
        java.run();
        java
    }

    /// Lets the follower do all that it can; gives what it acknowledges.
    fn run(&mut self) -> Vec<Zxid> {
        let mut bytes = Vec::new();
        for _ in 0..1_000 {
            let server = &mut self.world.servers[0];
            let moved = server.core.turn(&mut server.host, &server.tree);
            let all = std::mem::take(&mut server.host.goes);
            let is_idle = !moved && all.is_empty();
            for goes in all {
                match goes {
                    Goes::Vote(to, vote) if vote.state == ServerState::Looking => {
                        let vote = Vote { leader: id(2), zxid: z(9, 9).into(), peer_epoch: PeerEpoch(9), ..vote };
                        server.host.heard.push_back(ElectionEvent::Voted { from: to, vote });
                    }
                    Goes::Vote(..) | Goes::Closed(_) => {}
                    Goes::Dial(to) => {
                        assert_eq!(to, id(2));
                        self.wire += 1;
                        server.host.comes.push_back(Comes::Dialled(self.wire));
                    }
                    Goes::Bytes(_, said) => bytes.extend(said),
                }
            }
            if is_idle && server.host.comes.is_empty() && server.host.heard.is_empty() {
                return acks(&bytes);
            }
        }
        panic!("something moves for ever");
    }

    /// The leader says this. What is acknowledged.
    fn say(&mut self, all: &[Says]) -> Vec<Zxid> {
        let mut bytes = Vec::new();
        for says in all {
            let txn = if let Says::Proposal(zxid) = says { txn(*zxid) } else { Vec::new() };
            let packet = match *says {
                Says::LeaderInfo(epoch) => {
                    FromLeader::LeaderInfo { epoch: Epoch(epoch), protocol_version: PROTOCOL_VERSION, extension: &[] }
                }
                Says::Diff(zxid) => FromLeader::Diff(zxid),
                Says::Trunc(zxid) => FromLeader::Trunc(zxid.into()),
                Says::Proposal(zxid) => FromLeader::Proposal { zxid, txn: &txn },
                Says::Commit(zxid) => FromLeader::Commit(zxid),
                Says::NewLeader(epoch) => FromLeader::NewLeader { zxid: z(epoch, 0), config: None },
                Says::UpToDate => FromLeader::UpToDate,
            };
            packet.write(&mut Writer::new(&mut bytes));
        }
        self.world.servers[0].host.comes.push_back(Comes::Bytes(self.wire, bytes));
        self.run()
    }

    fn logged(&self) -> Vec<Zxid> {
        self.world.servers[0].host.txns.iter().map(|(zxid, _)| *zxid).collect()
    }

    fn shown(&self) -> Zxid {
        self.world.servers[0].tree.0.read().unwrap().last_zxid()
    }
}

/// The gaps that a server has told its operator of.
fn gaps(world: &World, at: usize) -> Vec<(LinkId, Zxid, Zxid)> {
    let gap = |note: &Note| match note {
        Note::Gap { link, after, next } => Some((*link, *after, *next)),
        _ => None,
    };
    world.servers[at].host.notes.iter().filter_map(gap).collect()
}

fn acks(mut bytes: &[u8]) -> Vec<Zxid> {
    let mut acks = Vec::new();
    while let Ok(Received::Whole(packet, len)) = QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT) {
        if let FromLearner::Ack(zxid) = FromLearner::decode(&packet).unwrap() {
            acks.push(zxid);
        }
        bytes = &bytes[len..];
    }
    acks
}

#[test]
fn zxids_that_a_java_leader_gave_to_no_txn_are_neither_acked_nor_waited_for() {
    use Says::{Commit, Diff, LeaderInfo, NewLeader, Proposal, Trunc, UpToDate};
    let mut java = Java::begin();
    assert_eq!(java.say(&[LeaderInfo(2)]), []);
    let lacks = [Diff(z(2, 4)), Proposal(z(1, 2)), Commit(z(1, 2)), Proposal(z(1, 5)), Commit(z(1, 5))];
    assert_eq!(java.say(&lacks), []);
    assert_eq!(java.say(&[Proposal(z(2, 3)), Commit(z(2, 3)), Proposal(z(2, 4)), Proposal(z(2, 7))]), []);
    // What comes behind NEWLEADER is acked for itself; what came before it, and is not committed, with it.
    let acked = java.say(&[NewLeader(2), Proposal(z(2, 9))]);
    assert_eq!(acked, [z(2, 0), z(2, 4), z(2, 7), z(2, 9)]);
    assert_eq!(java.shown(), Zxid::ZERO, "none of it is known to be a quorum's");
    assert_eq!(java.say(&[UpToDate, Commit(z(2, 4))]), [z(2, 0)]);
    assert!(java.world.serves(0));
    assert_eq!(java.shown(), z(2, 4));
    assert_eq!(java.say(&[Proposal(z(2, 12)), Commit(z(2, 7)), Commit(z(2, 9))]), [z(2, 12)]);
    assert_eq!(java.shown(), z(2, 9));
    let noted = gaps(&java.world, 0);
    assert!(
        matches!(noted[..], [(_, after, next)] if (after, next) == (Zxid::ZERO, z(1, 2))),
        "one word a link: {noted:?}"
    );
    // Nobody else had the last one.
    java.world.servers[0].host.comes.push_back(Comes::Ended(java.wire));
    assert_eq!(java.run(), []);
    assert_eq!(java.say(&[LeaderInfo(3)]), []);
    assert_eq!(java.say(&[Trunc(z(2, 9)), Proposal(z(3, 2)), Commit(z(3, 2)), NewLeader(3)]), [z(3, 0)]);
    assert_eq!(java.say(&[UpToDate]), [z(3, 0)]);
    assert_eq!((java.shown(), gaps(&java.world, 0).len()), (z(3, 2), 2));
    assert_eq!(java.logged(), [z(1, 2), z(1, 5), z(2, 3), z(2, 4), z(2, 7), z(2, 9), z(3, 2)]);
}

#[test]
fn a_txn_that_has_not_come_and_is_committed_makes_what_stands_behind_it_worth_nothing() {
    use Says::{Commit, Diff, LeaderInfo, NewLeader, Proposal, UpToDate};
    let mut java = Java::begin();
    java.say(&[LeaderInfo(2)]);
    assert_eq!(java.say(&[Diff(z(2, 1)), Proposal(z(2, 1)), Commit(z(2, 1)), NewLeader(2)]), [z(2, 0)]);
    java.say(&[UpToDate]);
    assert_eq!(java.say(&[Proposal(z(2, 3)), Proposal(z(2, 4))]), [z(2, 3), z(2, 4)]);
    java.say(&[Commit(z(2, 2))]);
    assert_eq!((java.shown(), java.logged()), (z(2, 1), vec![z(2, 1)]));
    assert!(java.world.servers[0].host.notes.iter().any(|note| matches!(note, Note::Looks(Cause::HistoryLost))));
    assert!(!java.world.serves(0));
}

#[test]
fn a_server_with_such_a_history_leads_and_gives_it_on() {
    let log = |zxids: &[Zxid]| zxids.iter().map(|zxid| (*zxid, txn(*zxid))).collect::<Txns>();
    let all = [z(1, 2), z(1, 3), z(1, 6), z(2, 4), z(2, 5)];
    let mut world = World::with_logs([log(&all[..2]), log(&all), log(&all)]);
    world.until(|world| (0..3).all(|at| world.serves(at)));
    assert_ne!(world.leader(), 0);
    let client = world.connect(0, 1);
    world.create(client, 1, "/a");
    world.settle();
    assert_eq!(world.replies(client), [(1, 0)]);
    world.until_same();
    for server in &world.servers {
        let zxids: Vec<_> = server.host.txns.iter().map(|(zxid, _)| *zxid).collect();
        assert_eq!(zxids[..all.len()], all);
        assert_eq!(zxids[all.len()..], [z(3, 1), z(3, 2)], "the session and the znode");
    }
    let noted = gaps(&world, 0);
    assert!(matches!(noted[..], [(_, after, next)] if (after, next) == (z(1, 3), z(1, 6))), "{noted:?}");
}
