//! What must hold for every record, whatever its fields: it survives the wire, and no damaged frame does more than be refused.

mod common;

use common::between::Lists;
use common::{Parts, encoded, framed, parts, run_target};
use proptest::prelude::*;
use ringkeeper_proto::connect::{ConnectRequest, ConnectResponse};
use ringkeeper_proto::election::{InitialMessage, Notification, receive_frame};
use ringkeeper_proto::quorum::snap::SnapReader;
use ringkeeper_proto::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, FromLearner, QuorumPacket};
use ringkeeper_proto::reply::{Reply, ReplyHeader};
use ringkeeper_proto::request::{Request, RequestHeader};
use ringkeeper_proto::txn::TxnRecord;
use ringkeeper_proto::watch::WatcherEvent;
use ringkeeper_proto::{DecodeError, OpCode, Reader, Received, StatPersisted, Xid, Zxid};

/// Integers that decoders stumble over when they stand where a length is expected.
const AWKWARD: [i32; 8] = [-1, -2, 0, 1, 255, 0x00ff_ffff, i32::MAX, i32::MIN];

/// Overwrites four bytes of `data` at each place with an awkward integer, and single bytes with random ones.
fn damage(data: &mut [u8], ints: &[(usize, usize)], bytes: &[(usize, u8)]) {
    let len = data.len().max(1);
    for &(at, which) in ints {
        let value = AWKWARD.get(which % AWKWARD.len()).copied().unwrap_or_default().to_be_bytes();
        for (slot, byte) in data.iter_mut().skip(at % len).zip(value) {
            *slot = byte;
        }
    }
    for &(at, byte) in bytes {
        if let Some(slot) = data.get_mut(at % len) {
            *slot = byte;
        }
    }
}

fn requests_survive(parts: &Parts) {
    for &op in OpCode::ALL {
        let Some(request) = parts.request(op) else {
            assert_eq!(Request::read(op, &mut Reader::new(&[0; 64])), Ok(None), "{op:?}");
            continue;
        };
        assert_eq!(request.op(), op);
        let header = RequestHeader { xid: Xid(parts.int), op: op.to_wire() };
        let bytes = encoded(|w| {
            header.write(w);
            request.write(w);
        });
        let mut r = Reader::new(&bytes);
        assert_eq!(RequestHeader::read(&mut r), Ok(header));
        assert_eq!(Request::read(op, &mut r), Ok(Some(request)), "{op:?}");
        assert!(r.is_empty(), "{op:?} leaves {} bytes", r.rest().len());
    }
}

fn replies_survive(parts: &Parts) {
    for &op in OpCode::ALL {
        let Some(reply) = parts.reply(op) else { continue };
        let header = ReplyHeader { xid: Xid(parts.int), zxid: Zxid::from_wire(parts.long), err: parts.int };
        let bytes = encoded(|w| {
            header.write(w);
            reply.write(w);
        });
        let mut r = Reader::new(&bytes);
        assert_eq!(ReplyHeader::read(&mut r), Ok(header));
        assert_eq!(Reply::read(op, &mut r), Ok(reply), "{op:?}");
        assert!(r.is_empty(), "{op:?} leaves {} bytes", r.rest().len());
    }
}

fn txns_survive(parts: &Parts) {
    for &op in OpCode::ALL {
        let Some(record) = parts.txn_record(op) else {
            let mut bytes = vec![0; 28];
            bytes.extend_from_slice(&op.to_wire().to_be_bytes());
            bytes.extend_from_slice(&[0; 64]);
            assert_eq!(TxnRecord::decode(&bytes), Err(DecodeError::UnknownTxnType(op.to_wire())));
            continue;
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(TxnRecord::decode(&bytes), Ok(record), "{op:?}");
    }
}

fn received<T>(received: Result<Received<T>, DecodeError>, len: usize) -> T {
    match received {
        Ok(Received::Whole(thing, read)) if read == len => thing,
        Ok(_) => panic!("not {len} bytes were read"),
        Err(error) => panic!("{error}"),
    }
}

fn packets_survive(parts: &Parts) {
    for packet in parts.packets_of_leader() {
        let bytes = encoded(|w| packet.write(w));
        let read = received(QuorumPacket::receive(&bytes, DATA_BYTES_MAX_DEFAULT), bytes.len());
        assert_eq!(FromLeader::decode(&read), Ok(packet));
    }
    for packet in parts.packets_of_learner(&mut Lists::default()) {
        let bytes = encoded(|w| packet.write(w));
        let read = received(QuorumPacket::receive(&bytes, DATA_BYTES_MAX_DEFAULT), bytes.len());
        assert_eq!(FromLearner::decode(&read), Ok(packet));
    }
    let mut reader = SnapReader::new(DATA_BYTES_MAX_DEFAULT);
    for item in parts.snap_items() {
        let bytes = encoded(|w| item.write(w));
        assert_eq!(received(reader.receive(&bytes), bytes.len()), item);
    }
    assert!(reader.is_over());
}

fn election_messages_survive(parts: &Parts) {
    for vote in parts.notifications() {
        let bytes = framed(&encoded(|w| vote.write(w)));
        let frame = received(receive_frame(&bytes), bytes.len());
        assert_eq!(Notification::decode(frame), Ok(vote));
    }
    for message in parts.initial_messages() {
        let bytes = encoded(|w| message.write(w));
        assert_eq!(received(InitialMessage::receive(&bytes), bytes.len()), message);
    }
}

proptest! {
    #[test]
    fn what_servers_say_to_each_other_survives_the_wire(parts in parts()) {
        packets_survive(&parts);
        election_messages_survive(&parts);
    }

    #[test]
    fn every_record_survives_the_wire(parts in parts()) {
        requests_survive(&parts);
        replies_survive(&parts);
        txns_survive(&parts);
        let request = parts.connect_request();
        let bytes = encoded(|w| request.write(w));
        prop_assert_eq!(ConnectRequest::decode(&bytes), Ok(request));
        let response = parts.connect_response();
        prop_assert_eq!(ConnectResponse::decode(&encoded(|w| response.write(w))), Ok(response));
        let event = parts.event();
        let bytes = encoded(|w| event.write(w));
        prop_assert_eq!(WatcherEvent::read(&mut Reader::new(&bytes)), Ok(event));
        let stat = parts.stat_persisted();
        let bytes = encoded(|w| stat.write(w));
        prop_assert_eq!(bytes.len(), StatPersisted::BYTES);
        prop_assert_eq!(StatPersisted::read(&mut Reader::new(&bytes)), Ok(stat));
        prop_assert_eq!(framed(&bytes).len(), bytes.len() + 4);
    }

    #[test]
    fn a_frame_cut_short_is_refused_or_read_as_something_whole(parts in parts()) {
        for (target, input) in parts.inputs() {
            for len in 0..=input.len() {
                run_target(target, &input[..len]);
            }
        }
    }

    #[test]
    fn a_damaged_frame_is_refused_or_read_as_something_whole(
        parts in parts(),
        ints in prop::collection::vec((any::<usize>(), any::<usize>()), 0..4),
        bytes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        for (target, mut input) in parts.inputs() {
            damage(&mut input, &ints, &bytes);
            run_target(target, &input);
        }
    }

    #[test]
    fn noise_is_refused_or_read_as_something_whole(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        for (target, _) in ringkeeper_proto::fuzz_targets::TARGETS {
            run_target(target, &noise);
        }
        for &op in OpCode::ALL {
            let mut request = vec![0; 4];
            request.extend_from_slice(&op.to_wire().to_be_bytes());
            request.extend_from_slice(&noise);
            run_target("request", &request);
            let mut reply = op.to_wire().to_be_bytes().to_vec();
            reply.extend_from_slice(&[0; ReplyHeader::BYTES]);
            reply.extend_from_slice(&noise);
            run_target("reply", &reply);
        }
    }

    #[test]
    fn paths_obey_the_rules_of_java(names in prop::collection::vec("[.a/\u{0}\u{1f}\u{7f}\u{9f}\u{d7ff}\u{e000}\u{f8ff}\u{f900}\u{ffef}\u{fff0}\u{10000}]{0,4}", 0..4)) {
        run_target("path_validate", format!("/{}", names.join("/")).as_bytes());
        run_target("path_validate", names.concat().as_bytes());
    }
}

#[test]
fn every_character_is_allowed_or_refused_as_in_java() {
    for c in '\0'..=char::MAX {
        run_target("path_validate", format!("/{c}").as_bytes());
    }
}

/// A record that needs its last byte cannot do without it.
#[test]
fn a_record_cut_by_one_byte_is_truncated() {
    let bytes = [0, 0, 0, 2, b'/', b'a', 0, 0, 0];
    assert_eq!(Request::read(OpCode::Delete, &mut Reader::new(&bytes)), Err(DecodeError::Truncated));
    assert_eq!(Request::read(OpCode::GetAcl, &mut Reader::new(&bytes[..5])), Err(DecodeError::Truncated));
}

#[test]
fn what_is_not_utf8_is_refused_though_java_reads_it() {
    // Java's two surrogates for U+1F600, three bytes each.
    let bytes = [0, 0, 0, 7, b'/', 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80];
    assert_eq!(Request::read(OpCode::GetAcl, &mut Reader::new(&bytes)), Err(DecodeError::NotUtf8));
}
