//! A server behind a Java leader, whose packets a test writes by hand.

use crate::host::Comes;
use crate::world::World;
use engine::turn::ElectionEvent;
use engine::turn::sync::SnapSource;
use proto::election::{ElectionEpoch, PeerEpoch, ServerState};
use proto::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, FromLearner, PROTOCOL_VERSION, QuorumPacket};
use proto::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use proto::{AclVec, Epoch, LastZxid, OpCode, Received, ServerId, SessionId, Writer, Xid, Zxid};
use ringkeeper_engine as engine;
use zab::election::Vote;

const EPOCH: Epoch = Epoch(5);
/// The third server leads, the second follows it; neither is there.
const LEADER: usize = 2;

struct Java {
    world: World,
    wire: u64,
    /// What the learner has said.
    unread: Vec<u8>,
}

impl Java {
    /// A learner without data has promised the epoch.
    fn promised() -> Java {
        let mut world = World::new(None);
        world.stopped.extend([1, LEADER]);
        world.settle();
        world.servers[LEADER].host.comes.clear();
        for (from, state) in [(3, ServerState::Leading), (2, ServerState::Following)] {
            let (round, peer_epoch) = (ElectionEpoch(1), PeerEpoch(4));
            let vote = Vote { state, leader: ServerId(3), zxid: LastZxid(0x4_0000_0009), round, peer_epoch };
            world.servers[0].host.heard.push_back(ElectionEvent::Voted { from: ServerId(from), vote });
        }
        world.settle();
        let comes = world.servers[LEADER].host.comes.pop_front();
        let Some(Comes::Accepted(wire)) = comes else { panic!("{comes:?}") };
        let mut java = Java { world, wire, unread: Vec::new() };
        assert!(java.heard().first().is_some_and(|said| said.starts_with("Info")));
        java.say(&[FromLeader::LeaderInfo { epoch: EPOCH, protocol_version: PROTOCOL_VERSION, extension: &[] }]);
        assert!(java.heard().first().is_some_and(|said| said.starts_with("AckEpoch")));
        java
    }

    fn say_bytes(&mut self, bytes: Vec<u8>) {
        self.world.servers[0].host.comes.push_back(Comes::Bytes(self.wire, bytes));
        self.world.settle();
    }

    fn say(&mut self, packets: &[FromLeader<'_>]) {
        let mut bytes = Vec::new();
        packets.iter().for_each(|said| said.write(&mut Writer::new(&mut bytes)));
        self.say_bytes(bytes);
    }

    /// SNAP, and the state before the first txn.
    fn say_state(&mut self) {
        let mut bytes = Vec::new();
        SnapSource::of_nothing().next_chunk(&mut bytes, usize::MAX).unwrap();
        self.say_bytes(bytes);
    }

    /// What the learner has said since.
    fn heard(&mut self) -> Vec<String> {
        while let Some(comes) = self.world.servers[LEADER].host.comes.pop_front() {
            match comes {
                Comes::Bytes(_, bytes) => self.unread.extend(bytes),
                other => panic!("{other:?}"),
            }
        }
        let mut heard = Vec::new();
        while let Ok(Received::Whole(packet, len)) = QuorumPacket::receive(&self.unread, DATA_BYTES_MAX_DEFAULT) {
            heard.push(format!("{:?}", FromLearner::decode(&packet).unwrap()));
            self.unread.drain(..len);
        }
        heard
    }

    fn is_linked(&self) -> bool {
        !self.world.servers[LEADER].host.comes.iter().any(|comes| matches!(comes, Comes::Ended(_)))
    }
}

const fn z(counter: u32) -> Zxid {
    Zxid::new(EPOCH, counter)
}

fn created(counter: u32) -> Vec<u8> {
    let header = TxnHeader { session: SessionId(9), xid: Xid(1), zxid: z(counter), time_ms: 5, op: OpCode::Create };
    let path = format!("/{counter}");
    let (op, parent_cversion) = (OpCode::Create, i32::try_from(counter).unwrap());
    let create =
        CreateTxn { op, path: &path, data: None, acl: AclVec::NULL, ephemeral: false, parent_cversion, ttl_ms: 0 };
    let mut bytes = Vec::new();
    TxnRecord { header, txn: Txn::Create(create), digest: None }.encode(&mut bytes);
    bytes
}

const NEW_LEADER: FromLeader<'_> = FromLeader::NewLeader { zxid: z(0), config: None };

#[test]
fn what_was_committed_while_a_state_was_sent_is_in_it_and_the_rest_is_logged_and_acked() {
    let mut java = Java::promised();
    java.say_state();
    let txns: Vec<_> = (1..=4).map(created).collect();
    let said = |counter: u32| FromLeader::Proposal { zxid: z(counter), txn: &txns[counter as usize - 1] };
    let commit = |counter| FromLeader::Commit(z(counter));
    java.say(&[said(1), commit(1), said(2), said(3), commit(2)]);
    assert_eq!(java.heard(), [""; 0]);
    java.say(&[NEW_LEADER, said(4), commit(3)]);
    let acks: Vec<_> = [0, 3, 4].map(|counter| format!("{:?}", FromLearner::Ack(z(counter)))).into();
    assert_eq!(java.heard(), acks);
    assert!(!java.world.serves(0) && !java.world.has(0, "/3"), "nothing of the log is shown before UPTODATE");
    java.say(&[FromLeader::UpToDate, commit(4)]);
    assert!((1..=4).all(|counter| java.world.has(0, &format!("/{counter}"))) && java.world.serves(0));
    // The log begins behind the state.
    let logged: Vec<_> = java.world.servers[0].host.txns.iter().map(|(zxid, _)| *zxid).collect();
    assert_eq!(logged, [z(3), z(4)]);
}

#[test]
fn a_leader_that_falls_silent_behind_its_state_is_given_up_and_one_that_waits_for_this_server_is_not() {
    let mut java = Java::promised();
    java.say_state();
    java.world.servers[0].host.is_at_work = true;
    java.world.pass(15_000);
    java.world.pass(15_000);
    assert!(java.is_linked(), "the thread has it all, and is at work");
    java.world.servers[0].host.is_at_work = false;
    java.world.settle();
    java.world.pass(15_000);
    assert!(java.is_linked());
    java.world.pass(15_000);
    assert!(!java.is_linked(), "initLimit is 20 s");

    let mut java = Java::promised();
    java.say_state();
    java.world.pass(15_000);
    java.say(&[FromLeader::Ping(z(0))]);
    java.world.pass(15_000);
    java.say(&[FromLeader::Inform { zxid: z(2), txn: &created(2) }]);
    assert!(java.is_linked(), "no txn has 1");
    java.say(&[FromLeader::Inform { zxid: z(2), txn: &created(2) }]);
    assert!(!java.is_linked(), "a wrong packet ends it");
}
