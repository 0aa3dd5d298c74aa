//! What the fuzz targets do with their input: one function per decoder.
//!
//! Here, and not in `fuzz/`, so that `proto/tests/corpus_replay.rs` runs the committed corpus through the very same code with a plain
//! `cargo test`. Each function takes any bytes and panics only if the decoder is wrong: it may refuse them, but what it
//! accepts must survive encoding and decoding unchanged, and must not grow. Not part of the crate's API.

use crate::connect::{ConnectRequest, ConnectResponse};
use crate::election::{InitialMessage, Notification, receive_frame};
use crate::jute::{Reader, Writer};
use crate::quorum::snap::SnapReader;
use crate::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, FromLearner, QuorumAuthPacket, QuorumPacket};
use crate::reply::{Reply, ReplyHeader};
use crate::request::{Request, RequestHeader};
use crate::txn::{Txn, TxnRecord};
use crate::watch::WatcherEvent;
use crate::{OpCode, Received, path};

/// A target: its name, which is its corpus directory's too, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target. `fuzz/fuzz_targets/` has one file for each.
pub const TARGETS: &[Target] = &[
    ("connect_request", connect_request),
    ("connect_response", connect_response),
    ("request", request),
    ("reply", reply),
    ("txn_record", txn_record),
    ("multi", multi),
    ("watcher_event", watcher_event),
    ("path_validate", path_validate),
    ("quorum_packet", quorum_packet),
    ("snap_stream", snap_stream),
    ("election", election),
];

/// What an old create txn grows by: it lacks the parent's cversion, which is always written.
const OLD_CREATE_GROWS_BYTES: usize = 4;

/// So many prefixes of a packet are tried.
const PREFIXES_MAX: usize = 200;

fn encoded(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

/// The client's handshake, a whole frame.
pub fn connect_request(data: &[u8]) {
    let Ok(first) = ConnectRequest::decode(data) else { return };
    let bytes = encoded(|w| first.write(w));
    assert_eq!(ConnectRequest::decode(&bytes), Ok(first));
    assert!(bytes.len() <= data.len());
}

/// The server's handshake, a whole frame.
pub fn connect_response(data: &[u8]) {
    let Ok(first) = ConnectResponse::decode(data) else { return };
    let bytes = encoded(|w| first.write(w));
    assert_eq!(ConnectResponse::decode(&bytes), Ok(first));
    assert!(bytes.len() <= data.len());
}

/// A request's frame: header and the record of whatever operation the header names.
pub fn request(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok(header) = RequestHeader::read(&mut r) else { return };
    let Some(op) = OpCode::from_wire(header.op) else { return };
    request_record(op, r);
}

fn request_record(op: OpCode, mut r: Reader<'_>) {
    let data = r.rest();
    let Ok(Some(first)) = Request::read(op, &mut r) else { return };
    assert_eq!(first.op(), op);
    let bytes = encoded(|w| first.write(w));
    let mut again = Reader::new(&bytes);
    assert_eq!(Request::read(op, &mut again), Ok(Some(first)));
    assert!(again.is_empty(), "all that was written was read");
    assert!(bytes.len() <= data.len());
}

/// The operation asked for (4 bytes), then its reply's frame: header, and the record unless the header has an error.
pub fn reply(data: &[u8]) {
    let mut r = Reader::new(data);
    let Some(op) = r.int().ok().and_then(OpCode::from_wire) else { return };
    let Ok(header) = ReplyHeader::read(&mut r) else { return };
    if header.err == 0 {
        reply_record(op, r);
    }
}

fn reply_record(op: OpCode, mut r: Reader<'_>) {
    let data = r.rest();
    let Ok(first) = Reply::read(op, &mut r) else { return };
    let bytes = encoded(|w| first.write(w));
    let mut again = Reader::new(&bytes);
    assert_eq!(Reply::read(op, &mut again), Ok(first));
    assert!(again.is_empty(), "all that was written was read");
    assert!(bytes.len() <= data.len());
}

/// A txn: header, record and digest.
pub fn txn_record(data: &[u8]) {
    let Ok(first) = TxnRecord::decode(data) else { return };
    let mut bytes = Vec::new();
    first.encode(&mut bytes);
    assert_eq!(first.header.op, first.txn.op());
    assert_eq!(TxnRecord::decode(&bytes), Ok(first));
    assert!(bytes.len() <= data.len() + OLD_CREATE_GROWS_BYTES);
}

/// The same bytes as a multi's request, as its results and as its txn.
pub fn multi(data: &[u8]) {
    request_record(OpCode::Multi, Reader::new(data));
    reply_record(OpCode::Multi, Reader::new(data));
    let Ok(first) = Txn::read(OpCode::Multi, &mut Reader::new(data)) else { return };
    let bytes = encoded(|w| first.write(w));
    assert_eq!(Txn::read(OpCode::Multi, &mut Reader::new(&bytes)), Ok(first));
    assert!(bytes.len() <= data.len());
}

/// A watch event's record.
pub fn watcher_event(data: &[u8]) {
    let Ok(first) = WatcherEvent::read(&mut Reader::new(data)) else { return };
    let bytes = encoded(|w| first.write(w));
    assert_eq!(WatcherEvent::read(&mut Reader::new(&bytes)), Ok(first));
    assert!(bytes.len() <= data.len());
}

/// A path's bytes: the rules against the model below, and the walk to the root.
pub fn path_validate(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let valid = path::validate(text).is_ok();
    assert_eq!(valid, path_allowed(text), "{text:?}");
    if !valid {
        return;
    }
    let mut last = None;
    for step in path::self_and_ancestors(text) {
        assert_eq!(path::validate(step), Ok(()));
        assert!(path::is_within(text, step));
        last = Some(step);
    }
    assert_eq!(last, Some("/"), "every path leads to the root");
}

/// A packet of the quorum port: as it stands, and as what it means from either side.
pub fn quorum_packet(data: &[u8]) {
    let Ok(Received::Whole(first, len)) = QuorumPacket::receive(data, DATA_BYTES_MAX_DEFAULT) else { return };
    assert!(len <= data.len());
    let bytes = encoded(|w| first.write(w));
    assert!(bytes.len() <= len);
    assert_eq!(received_packet(&bytes), first);
    for end in 0..bytes.len().min(PREFIXES_MAX) {
        let part = bytes.get(..end).unwrap_or_default();
        let more = QuorumPacket::receive(part, DATA_BYTES_MAX_DEFAULT);
        assert!(matches!(more, Ok(Received::NeedsBytes(needed)) if end < needed && needed <= bytes.len()), "{end}");
    }
    if let Ok(meaning) = FromLeader::decode(&first) {
        let bytes = encoded(|w| meaning.write(w));
        assert_eq!(FromLeader::decode(&received_packet(&bytes)), Ok(meaning));
        assert!(bytes.len() <= len);
    }
    if let Ok(meaning) = FromLearner::decode(&first) {
        let bytes = encoded(|w| meaning.write(w));
        assert_eq!(FromLearner::decode(&received_packet(&bytes)), Ok(meaning));
        assert!(bytes.len() <= len);
    }
}

fn received_packet(bytes: &[u8]) -> QuorumPacket<'_> {
    let received = QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT);
    let Ok(Received::Whole(packet, len)) = received else { panic!("what was written is not read: {received:?}") };
    assert_eq!(len, bytes.len(), "all that was written was read");
    packet
}

/// A leader's state, item by item, as far as it goes.
pub fn snap_stream(data: &[u8]) {
    let mut reader = SnapReader::new(DATA_BYTES_MAX_DEFAULT);
    let mut rest = data;
    let mut again = Vec::new();
    while !reader.is_over() {
        let Ok(Received::Whole(item, len)) = reader.receive(rest) else { break };
        item.write(&mut Writer::new(&mut again));
        rest = rest.get(len..).unwrap_or_else(|| panic!("{len} bytes of {}", rest.len()));
    }
    // Only a count below 0, of an ACL's entries, is written otherwise.
    assert_eq!(again.len(), data.len() - rest.len());
}

/// An election connection's first message and a frame after it; and the same bytes as a notification alone, or as an authentication.
pub fn election(data: &[u8]) {
    if let Ok(Received::Whole(first, len)) = InitialMessage::receive(data) {
        let bytes = encoded(|w| first.write(w));
        assert_eq!(data.get(..len), Some(bytes.as_slice()));
        if let Ok(Received::Whole(frame, _)) = receive_frame(data.get(len..).unwrap_or_default()) {
            notification(frame);
        }
    }
    notification(data);
    if let Ok(Received::Whole(first, len)) = QuorumAuthPacket::receive(data) {
        assert_eq!(QuorumAuthPacket::is_next(data), Received::Whole(true, 0));
        let bytes = encoded(|w| first.write(w));
        assert_eq!(QuorumAuthPacket::receive(&bytes), Ok(Received::Whole(first, len)));
    }
}

fn notification(frame: &[u8]) {
    let Ok(first) = Notification::decode(frame) else { return };
    let bytes = encoded(|w| first.write(w));
    assert_eq!(Notification::decode(&bytes), Ok(first));
    assert!(bytes.len() <= frame.len());
}

/// The rules of paths said a second time, in UTF-16 units and with no shortcut: the model that [`path::validate`] is held against.
fn path_allowed(text: &str) -> bool {
    let allowed = |unit: u16| !matches!(unit, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff);
    let Some(names) = text.strip_prefix('/') else { return false };
    text == "/" || (text.encode_utf16().all(allowed) && names.split('/').all(|name| !matches!(name, "" | "." | "..")))
}
