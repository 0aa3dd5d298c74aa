//! Decoding allocates at most a small multiple of the frame, whatever counts and lengths the frame announces.
//!
//! In a file of its own because the allocator counts for the whole process; and one test, so that nothing else allocates beside it.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::{encoded, parts};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use ringkeeper_proto::connect::{ConnectRequest, ConnectResponse};
use ringkeeper_proto::election::{InitialMessage, Notification};
use ringkeeper_proto::quorum::snap::SnapReader;
use ringkeeper_proto::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, FromLearner, QuorumPacket};
use ringkeeper_proto::reply::{OpResult, Reply};
use ringkeeper_proto::request::{MultiOp, MultiRequest, PathVersion, Request};
use ringkeeper_proto::txn::{Txn, TxnRecord};
use ringkeeper_proto::watch::WatcherEvent;
use ringkeeper_proto::{OpCode, Reader, Received};

/// A multi is the one record that is not read in place. Its shortest operation (delete, 17 bytes) becomes one of `size_of::<MultiOp>()`,
/// and while the vector grows the old half is alive too: three times that.
const REQUEST_MULTIPLE: usize = 3 * size_of::<MultiOp<'_>>() / 17 + 1;
/// The vector of a txn's multi is made once, of the count that its bytes can hold.
const TXN_MULTIPLE: usize = size_of::<Txn<'_>>() / 12 + 1;
/// Replies are read by clients only. The shortest result of a multi has 9 bytes.
const REPLY_MULTIPLE: usize = 3 * size_of::<OpResult<'_>>() / 9 + 1;
/// A vector's least capacity (4) counts for more than a very short frame.
const SLACK_BYTES: usize = 1024;

struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to `System` unchanged, which keeps the contract; the counters are atomics and allocate nothing. `realloc` is
// the trait's own, made of these two, so that a growing vector counts with both its halves.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE_BYTES.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(live, Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `ptr` came from `System.alloc` with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were allocated at one time while `run` ran.
fn peak_of<T>(run: impl FnOnce() -> T) -> usize {
    let before = LIVE_BYTES.load(Relaxed);
    PEAK_BYTES.store(before, Relaxed);
    drop(run());
    PEAK_BYTES.load(Relaxed) - before
}

#[track_caller]
fn assert_bounded<T>(what: &str, frame: &[u8], multiple: usize, decode: impl FnOnce() -> T) {
    let peak = peak_of(decode);
    let allowed = frame.len() * multiple + SLACK_BYTES;
    assert!(peak <= allowed, "{what}: {peak} bytes for a frame of {}, {allowed} allowed", frame.len());
}

/// Every decoder on the same bytes.
fn decode_as_everything(bytes: &[u8]) {
    for &op in OpCode::ALL {
        let name = op.name();
        assert_bounded(name, bytes, REQUEST_MULTIPLE, || Request::read(op, &mut Reader::new(bytes)));
        assert_bounded(name, bytes, REPLY_MULTIPLE, || Reply::read(op, &mut Reader::new(bytes)));
        assert_bounded(name, bytes, TXN_MULTIPLE, || Txn::read(op, &mut Reader::new(bytes)));
    }
    assert_bounded("txn record", bytes, TXN_MULTIPLE, || TxnRecord::decode(bytes));
    assert_bounded("connect request", bytes, 0, || ConnectRequest::decode(bytes));
    assert_bounded("connect response", bytes, 0, || ConnectResponse::decode(bytes));
    assert_bounded("quorum packet", bytes, 0, || {
        QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT).map(|received| match received {
            Received::Whole(packet, _) => (FromLeader::decode(&packet).is_ok(), FromLearner::decode(&packet).is_ok()),
            Received::NeedsBytes(_) => (false, false),
        })
    });
    assert_bounded("snapshot stream", bytes, 0, || snap_items(bytes));
    assert_bounded("initial message", bytes, 0, || InitialMessage::receive(bytes));
    assert_bounded("notification", bytes, 0, || Notification::decode(bytes));
    assert_bounded("event", bytes, 0, || WatcherEvent::read(&mut Reader::new(bytes)));
}

/// Counts the items of a leader's state.
fn snap_items(bytes: &[u8]) -> usize {
    let (mut reader, mut rest, mut count) = (SnapReader::new(DATA_BYTES_MAX_DEFAULT), bytes, 0);
    while let Ok(Received::Whole(_, len)) = reader.receive(rest) {
        (rest, count) = (rest.get(len..).expect("within what there is"), count + 1);
        if reader.is_over() {
            break;
        }
    }
    count
}

/// Frames of about 64 KiB that decode to as much as they can.
fn greedy_frames() -> Vec<Vec<u8>> {
    let delete = MultiOp::Delete(PathVersion { path: "", version: 0 });
    let identities = vec![("", ""); 8192];
    [4095, 4096, 4097].iter().fold(Vec::new(), |mut frames, &count| {
        frames.push(encoded(|w| Request::Multi(MultiRequest { ops: vec![delete; count] }).write(w)));
        frames.push(encoded(|w| Reply::Multi(vec![OpResult::Delete; count]).write(w)));
        frames.push(encoded(|w| Txn::Multi(vec![Txn::Error(0); count]).write(w)));
        frames.push(encoded(|w| Reply::Identities(identities.clone()).write(w)));
        frames
    })
}

#[test]
fn decoding_allocates_a_small_multiple_of_the_frame() {
    assert!(peak_of(|| vec![0u8; 5000]) >= 5000, "the allocator does count");
    const { assert!(REQUEST_MULTIPLE <= 20 && TXN_MULTIPLE <= 12 && REPLY_MULTIPLE <= 40, "multiples are small") };
    for frame in greedy_frames() {
        decode_as_everything(&frame);
    }
    // Counts and lengths that promise what does not follow, at each place of a frame of zeros and of ones.
    for (fill, count) in [(0u8, i32::MAX), (0, 0x0100_0000), (0xff, i32::MAX), (1, 100_000)] {
        for at in 0..64 {
            let mut frame = vec![fill; 96];
            frame[at..at + 4].copy_from_slice(&count.to_be_bytes());
            decode_as_everything(&frame);
        }
    }
    // Records as the property tests make them: a fixed seed, so that the frames are the same in each run.
    let mut runner = TestRunner::deterministic();
    for _ in 0..100 {
        let parts = parts().new_tree(&mut runner).expect("the strategy never refuses").current();
        for (_, input) in parts.inputs() {
            decode_as_everything(&input);
        }
    }
}
