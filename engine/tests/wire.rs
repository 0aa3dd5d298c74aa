//! Every packet that servers of a real ensemble were seen to send is made once more from what it says, and is the same byte for byte.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

#[path = "support/vectors.rs"]
mod vectors;

use engine::auth::AuthId;
use engine::turn::wire::{self, Forwarded, TxnSource, Wire, revalidate_answer, revalidate_ask, sync_answer};
use proto::quorum::{
    DATA_BYTES_MAX_DEFAULT, FromLeader, FromLearner, PROTOCOL_VERSION, QuorumPacket, RINGKEEPER_PROTOCOL_VERSION, Touch,
};
use proto::{ConfigVersion, Epoch, OpCode, Received, ServerId, SessionId, Writer, Xid, Zxid};
use ringkeeper_engine as engine;
use std::collections::BTreeMap;
use vectors::vectors;
use zab::Message;

const CAPTURES: [&str; 2] = ["quorum-3.8.0.txt", "quorum-3.9.5.txt"];

#[derive(Default)]
struct Txns(BTreeMap<Zxid, Vec<u8>>);

impl TxnSource for Txns {
    fn range(&self, after: Zxid, to: Zxid) -> impl Iterator<Item = (Zxid, &[u8])> {
        self.0.range(after.next()..=to).map(|(zxid, bytes)| (*zxid, bytes.as_slice()))
    }
}

fn wire(server: ServerId, version: ConfigVersion, config: &str) -> Wire {
    Wire::new(server, version, config.into())
}

/// One message, of a server of which nothing else is asked.
fn said(message: Message, txns: &Txns, touches: &[Touch]) -> Vec<u8> {
    let mut out = Vec::new();
    wire(ServerId(1), ConfigVersion(0), "").message(message, txns, touches, &mut out);
    out
}

fn packet(bytes: &[u8]) -> QuorumPacket<'_> {
    let Ok(Received::Whole(packet, len)) = QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT) else { panic!() };
    assert_eq!(len, bytes.len());
    packet
}

/// The packet, as a learner of ours says it.
fn of_learner(packet: &QuorumPacket<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match FromLearner::decode(packet).unwrap() {
        FromLearner::Info { observer, accepted_epoch, info } => {
            let mut wire = wire(info.server, info.config_version.unwrap(), "");
            wire.message(Message::Info { observer, accepted: accepted_epoch }, &Txns::default(), &[], &mut out);
        }
        FromLearner::AckEpoch { last_zxid, current_epoch } => {
            let message = Message::AckEpoch { last: last_zxid, current: current_epoch };
            out = said(message, &Txns::default(), &[]);
        }
        FromLearner::Ack(zxid) => out = said(Message::Ack(zxid), &Txns::default(), &[]),
        FromLearner::Ping { zxid, touches } => {
            let touches: Vec<Touch> = touches.iter().collect();
            out = said(Message::Pong(zxid.zxid().unwrap()), &Txns::default(), &touches);
        }
        FromLearner::Revalidate { session, timeout_ms } => revalidate_ask(Touch { session, timeout_ms }, &mut out),
        FromLearner::Request(request) => {
            let id = |(scheme, id): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| AuthId {
                scheme: scheme.into(),
                id: id.into(),
            };
            let ids: Option<Vec<AuthId>> = request.authinfo.map(|ids| ids.iter().map(id).collect());
            let op = OpCode::from_wire(request.op).unwrap();
            let (session, xid, body) = (request.session, request.xid, request.body);
            let forwarded = Forwarded { session, xid, op, body, ids: ids.as_deref() };
            wire::request(&forwarded, &mut out);
        }
    }
    out
}

/// The packet, as a leader of ours says it; `None` for what it does not say yet.
fn of_leader(packet: &QuorumPacket<'_>) -> Option<Vec<u8>> {
    let before = |zxid: Zxid| Zxid(zxid.0 - 1);
    let mut out = Vec::new();
    let mut txns = Txns::default();
    let message = match FromLeader::decode(packet).unwrap() {
        FromLeader::LeaderInfo { epoch, .. } => Message::LeaderInfo(epoch),
        FromLeader::Diff(zxid) => Message::Diff(zxid),
        FromLeader::Trunc(zxid) => Message::Trunc(zxid.zxid().unwrap()),
        // The source of the state says it, which `sync.rs` looks at.
        FromLeader::Snap(_) => return None,
        FromLeader::NewLeader { zxid, config } => {
            let mut wire = wire(ServerId(1), ConfigVersion(0), config.unwrap());
            wire.message(Message::NewLeader(zxid.epoch()), &txns, &[], &mut out);
            return Some(out);
        }
        FromLeader::UpToDate => Message::UpToDate,
        FromLeader::Proposal { zxid, txn } => {
            txns.0.insert(zxid, txn.to_vec());
            Message::Proposals { after: before(zxid), to: zxid }
        }
        FromLeader::Commit(zxid) => Message::Commits { after: before(zxid), to: zxid },
        FromLeader::Inform { zxid, txn } => {
            txns.0.insert(zxid, txn.to_vec());
            Message::Informs { after: before(zxid), to: zxid }
        }
        FromLeader::CommitAndActivate { .. } | FromLeader::InformAndActivate { .. } => return None,
        FromLeader::Ping(zxid) => Message::Ping(zxid),
        FromLeader::Revalidate { session, valid } => {
            revalidate_answer(session, valid, &mut out);
            return Some(out);
        }
        FromLeader::Sync => {
            sync_answer(&mut out);
            return Some(out);
        }
    };
    Some(said(message, &txns, &[]))
}

#[test]
fn what_servers_were_seen_to_say_is_said_again_byte_for_byte() {
    let (mut same, mut not_said) = (0, 0);
    for vector in CAPTURES.iter().flat_map(|file| vectors(file)) {
        let again = match vector.kind.as_str() {
            "to_leader" => Some(of_learner(&packet(&vector.bytes))),
            "to_learner" => of_leader(&packet(&vector.bytes)),
            _ => continue,
        };
        match again {
            Some(again) => {
                assert_eq!(again, with_our_version(&vector.bytes), "{}", vector.name);
                same += 1;
            }
            None => not_said += 1,
        }
    }
    assert!(same > 800, "{same} were compared");
    assert!(not_said < 20, "{not_said} were not");
}

/// What a server of ours says in place of this: the same, with its own version of the protocol.
fn with_our_version(bytes: &[u8]) -> Vec<u8> {
    let mut ours = bytes.to_vec();
    // Behind type, zxid and the length of the data; a learner's comes behind its id.
    let at = match packet(bytes).ty {
        17 => 16,
        11 | 16 => 24,
        _ => return ours,
    };
    assert_eq!(ours[at..at + 4], PROTOCOL_VERSION.to_be_bytes());
    ours[at..at + 4].copy_from_slice(&RINGKEEPER_PROTOCOL_VERSION.to_be_bytes());
    ours
}

fn read_all(mut bytes: &[u8]) -> Vec<QuorumPacket<'_>> {
    let mut packets = Vec::new();
    while let Ok(Received::Whole(packet, len)) = QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT) {
        packets.push(packet);
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "only whole packets are written");
    packets
}

fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

/// Txns that nobody looks into, of two epochs.
fn history() -> Txns {
    let zxids = [zxid(1, 1), zxid(1, 2), zxid(2, 1), zxid(2, 2), zxid(2, 3)];
    Txns(zxids.into_iter().map(|zxid| (zxid, format!("txn {zxid}").into_bytes())).collect())
}

#[test]
fn a_range_is_a_packet_for_each_txn() {
    let txns = history();
    let (after, to) = (zxid(1, 1), zxid(2, 2));
    let in_range = [zxid(1, 2), zxid(2, 1), zxid(2, 2)];
    let decoded = |message| {
        let bytes = said(message, &txns, &[]).leak();
        read_all(bytes).iter().map(|packet| FromLeader::decode(packet).unwrap()).collect::<Vec<_>>()
    };
    let proposal = |zxid| FromLeader::Proposal { zxid, txn: &txns.0[&zxid] };
    let pairs = in_range.iter().flat_map(|zxid| [proposal(*zxid), FromLeader::Commit(*zxid)]);
    assert_eq!(decoded(Message::Committed { after, to }), pairs.collect::<Vec<_>>());
    assert_eq!(decoded(Message::Proposals { after, to }), in_range.map(proposal));
    let informs = in_range.map(|zxid| FromLeader::Inform { zxid, txn: &txns.0[&zxid] });
    assert_eq!(decoded(Message::Informs { after, to }), informs);
    // The leader of an epoch has proposed all of it itself: the one that it commits behind another epoch's is its first.
    assert_eq!(decoded(Message::Commits { after, to }), [zxid(2, 1), zxid(2, 2)].map(FromLeader::Commit));
}

#[test]
fn newleader_is_acked_and_then_each_proposal_that_came_before_it_and_no_zxid_without_one() {
    // A Java leader has given (4, 1) to (4, 4), (4, 6), (4, 10) and (4, 11) to no txn.
    let zxids = [zxid(3, 1), zxid(4, 5), zxid(4, 7), zxid(4, 8), zxid(4, 9), zxid(4, 12)];
    let txns = Txns(zxids.into_iter().map(|zxid| (zxid, Vec::new())).collect());
    let acks = |message| {
        let bytes = said(message, &txns, &[]).leak();
        read_all(bytes).iter().map(|packet| FromLearner::decode(packet).unwrap()).collect::<Vec<_>>()
    };
    let message = Message::AckNewLeader { epoch: Epoch(4), after: zxid(4, 7), to: zxid(4, 12) };
    assert_eq!(acks(message), [zxid(4, 0), zxid(4, 8), zxid(4, 9), zxid(4, 12)].map(FromLearner::Ack));
    let message = Message::AckNewLeader { epoch: Epoch(4), after: zxid(4, 0), to: zxid(4, 8) };
    assert_eq!(acks(message), [zxid(4, 0), zxid(4, 5), zxid(4, 7), zxid(4, 8)].map(FromLearner::Ack));
    // The epoch's first position: nothing of it came before NEWLEADER, or all of that was committed.
    for at in [zxid(4, 0), zxid(4, 8), zxid(4, 12)] {
        let message = Message::AckNewLeader { epoch: Epoch(4), after: at, to: at };
        assert_eq!(acks(message), [FromLearner::Ack(zxid(4, 0))]);
    }
}

#[test]
#[should_panic(expected = "end with 0x200000003")]
fn a_txn_that_is_not_there_is_no_gap_on_the_wire() {
    said(Message::Proposals { after: zxid(2, 1), to: zxid(2, 4) }, &history(), &[]);
}

#[test]
fn what_is_written_goes_behind_what_stands_there() {
    let mut out = Vec::new();
    sync_answer(&mut out);
    let len = out.len();
    let mut wire = wire(ServerId(3), ConfigVersion(7), "server.1=…");
    let touches = [Touch { session: SessionId(5), timeout_ms: 4_000 }];
    wire.message(Message::Pong(zxid(1, 2)), &Txns::default(), &touches, &mut out);
    wire::request(
        &Forwarded { session: SessionId(5), xid: Xid(1), op: OpCode::Sync, body: b"/a", ids: Some(&[]) },
        &mut out,
    );
    // What was collected for one packet is in no other.
    wire.message(Message::Pong(zxid(1, 2)), &Txns::default(), &[], &mut out);
    let packets = read_all(&out);
    assert_eq!(packets.len(), 4);
    let touched = |at: usize| match FromLearner::decode(&packets[at]) {
        Ok(FromLearner::Ping { touches, .. }) => touches.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((touched(1), touched(3)), (1, 0));
    let Ok(FromLearner::Request(request)) = FromLearner::decode(&packets[2]) else { panic!() };
    assert_eq!((request.body, request.authinfo.map(|ids| ids.len())), (&b"/a"[..], Some(0)));
    let mut first = Vec::new();
    FromLeader::Sync.write(&mut Writer::new(&mut first));
    assert_eq!(out[..len], first);
}
