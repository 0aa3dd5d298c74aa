//! What stands between the queue of txns and the disk, on a simulated disk whose started writes end when the test says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod log_support;

use engine::log_room;
use log_support::{BLOCK, HeldDisk, Rig, options};
use ringkeeper_server::log_writer::{LogWriter, Pumped, SEAL_AFTER};
use std::time::{Duration, Instant};

/// EIO.
const EIO: i32 = 5;
/// Longer than it takes until the writer looks for space again.
const LOOKS_AGAIN: Duration = Duration::from_secs(20);

/// A log whose disk has no space but for the segment in use, filled until what was pushed last waits.
fn fill(rig: &mut Rig, writer: &mut LogWriter<HeldDisk>, is_hosted: bool) {
    rig.disk.sim.set_capacity(Some(rig.disk.sim.files().values().map(Vec::len).sum()));
    for _ in 0..100 {
        rig.push(1);
        // The log thread writes, and tidies up where there is nothing to write.
        while if is_hosted { writer.pump(None).unwrap() == Pumped::Progress } else { writer.write().unwrap() } {}
        while writer.tidy().unwrap() {}
        while writer.write().unwrap() {}
        if writer.waits_for_space() {
            return;
        }
    }
    panic!("a segment of 16 blocks never ends");
}

/// Pumps until nothing moves.
fn pump_on(writer: &mut LogWriter<HeldDisk>) -> Pumped {
    loop {
        let pumped = writer.pump(None).unwrap();
        if pumped != Pumped::Progress {
            return pumped;
        }
    }
}

/// Zeroes the next segment, so that nothing blocks for want of one.
fn tidy_up(writer: &mut LogWriter<HeldDisk>) {
    while writer.tidy().unwrap() {}
}

#[test]
fn nothing_is_durable_before_the_started_write_has_ended() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    rig.disk.hold();
    let last = rig.push(3);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress, "the group leaves");
    assert!(writer.is_in_flight());
    assert_eq!(rig.durable(), 0);
    for _ in 0..3 {
        assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing, "it is on its way");
        assert_eq!((rig.durable(), rig.groups()), (0, 0));
    }
    rig.disk.release();
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress, "it has landed");
    assert_eq!((rig.durable(), rig.groups()), (last, 1));
    assert!(!writer.is_in_flight());
    rig.assert_holds_up_to(last);
}

#[test]
fn the_next_group_gathers_while_one_is_in_flight() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    rig.disk.hold();
    let first = rig.push(1);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress);
    rig.push(2);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing);
    let last = rig.push(2);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing);
    assert!(rig.hub.log_queue.is_empty(), "both batches are gathered");
    assert_eq!(rig.durable(), 0);
    rig.disk.release();
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress);
    assert_eq!(rig.durable(), first, "the second group has only left");
    assert!(writer.is_in_flight());
    pump_on(&mut writer);
    assert_eq!((rig.durable(), rig.groups()), (last, 2), "what came meanwhile is one group");
    rig.assert_holds_up_to(last);
}

#[test]
fn a_full_group_keeps_the_rest_of_a_batch_in_order() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    tidy_up(&mut writer);
    rig.disk.hold();
    let first = rig.push(1);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress);
    let large = rig.push(200);
    let last = rig.push(1);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing);
    assert!(!rig.hub.log_queue.is_empty(), "a full group takes no further batch");
    rig.disk.release();
    let mut positions = Vec::new();
    while rig.durable() < last {
        assert_eq!(writer.pump(None).unwrap(), Pumped::Progress, "at {:x}", rig.durable());
        positions.push(rig.durable());
        rig.assert_holds_up_to(rig.durable());
    }
    assert!(positions.is_sorted(), "{positions:x?}");
    let within = positions.iter().filter(|at| (first + 1..large).contains(*at)).count();
    assert!(within >= 2, "the large batch took several groups: {positions:x?}");
}

#[test]
fn a_group_that_needs_the_next_segment_blocks_and_is_written_by_whoever_may() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    tidy_up(&mut writer);
    let mut groups = 0;
    loop {
        rig.push(1);
        if pump_on(&mut writer) == Pumped::Blocks {
            break;
        }
        assert_eq!(rig.durable(), rig.last());
        groups += 1;
        assert!(groups < 100, "a segment of 16 blocks never ends");
    }
    assert!(!writer.is_short_of_space(), "with a spare only the end of the segment blocks");
    assert!(!writer.is_in_flight() && rig.durable() < rig.last());
    assert!(writer.write().unwrap());
    assert_eq!(rig.durable(), rig.last());
    rig.assert_holds_up_to(rig.last());
}

#[test]
fn a_log_short_of_space_blocks_until_whoever_may_has_made_some() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    rig.push(1);
    while pump_on(&mut writer) != Pumped::Blocks {
        assert_eq!(rig.durable(), rig.last());
        assert!(rig.groups() < 100, "a segment of 16 blocks never ends");
        rig.push(1);
    }
    assert!(writer.is_short_of_space() && !writer.is_in_flight());
    rig.push(1);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Blocks);
    assert!(!writer.is_in_flight() && rig.durable() < rig.last());
    assert!(writer.write().unwrap());
    assert_eq!(rig.durable(), rig.last());
    assert!(!writer.is_short_of_space());
    rig.assert_holds_up_to(rig.last());
}

#[test]
fn an_idle_and_untidy_log_blocks_after_its_time_and_then_rests() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    let last = rig.push(1);
    while pump_on(&mut writer) != Pumped::Blocks {
        let look = writer.next_look().expect("an untidy log wants to be looked at");
        assert!(look <= SEAL_AFTER * 2, "{look:?}");
        std::thread::yield_now();
    }
    assert!(writer.idle_for() > SEAL_AFTER);
    assert_eq!(rig.durable(), last);
    assert!(!rig.is_sealed());
    tidy_up(&mut writer);
    writer.seal().unwrap();
    assert!(writer.is_sealed() && rig.is_sealed());
    assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing);
    assert_eq!(writer.next_look(), None);
    rig.assert_holds_up_to(last);
}

#[test]
fn a_failed_write_is_an_error_for_good_and_nothing_is_said_to_be_durable() {
    // A started write takes one step when it begins, and one when it has ended.
    for step in [1, 2] {
        let mut rig = Rig::new();
        let mut writer = rig.writer();
        let before = rig.push(1);
        pump_on(&mut writer);
        assert_eq!(rig.durable(), before);
        rig.disk.sim.fail_at(rig.disk.sim.steps() + step, EIO);
        rig.push(1);
        let first = (0..2).find_map(|_| writer.pump(None).err());
        assert!(first.is_some(), "step {step}");
        rig.push(1);
        assert!(writer.pump(None).is_err() && writer.write().is_err() && writer.seal().is_err(), "step {step}");
        assert_eq!((rig.durable(), rig.groups()), (before, 1), "step {step}");
    }
}

#[test]
fn settling_waits_for_the_group_on_its_way() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    writer.settle().unwrap();
    rig.disk.hold();
    let last = rig.push(2);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress);
    writer.settle().unwrap();
    assert!(!writer.is_in_flight());
    assert_eq!((rig.durable(), rig.groups()), (last, 1));
    rig.assert_holds_up_to(last);
}

#[test]
fn what_finds_no_space_waits_unwritten_and_unsealed_and_is_written_once_there_is_some() {
    for is_hosted in [false, true] {
        let mut rig = Rig::new();
        let mut writer = rig.writer();
        fill(&mut rig, &mut writer, is_hosted);
        let (durable, last) = (rig.durable(), rig.last());
        assert!(durable > 0 && durable < last, "{durable} of {last}");
        assert!(rig.hub.log_queue.room().is_full, "a full disk is told");
        for _ in 0..3 {
            assert!(!writer.write().unwrap(), "it waits");
            assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing, "nor does it go to and fro between the threads");
            writer.seal().unwrap();
            assert!(writer.next_look().is_some_and(|look| look > Duration::ZERO), "it does not spin");
        }
        assert_eq!(rig.durable(), durable);
        rig.assert_holds_up_to(durable);
        rig.disk.sim.set_capacity(None);
        let begun = Instant::now();
        while rig.durable() < last {
            assert!(begun.elapsed() < LOOKS_AGAIN);
            writer.write().unwrap();
            std::thread::yield_now();
        }
        assert!(!rig.hub.log_queue.room().is_full);
        rig.assert_holds_up_to(last);
    }
}

#[test]
fn no_batch_takes_more_room_than_is_reckoned_for_it() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    tidy_up(&mut writer);
    let (mut left, mut looks) = (rig.hub.log_queue.room().bytes, 0);
    assert!(left > 0 && left < options().segment_bytes * 2);
    for count in [1, 1, 30, 2, 1, 55, 1, 1, 1, 1, 1, 1] {
        let before = rig.pushed.len();
        rig.push(count);
        while writer.write().unwrap() {}
        writer.seal().unwrap();
        let payload: usize = rig.pushed[before..].iter().map(|(_, bytes)| bytes.len()).sum();
        // Groups here are full after a block, not after a MiB: more of them, so more headers and padding.
        let groups = 1 + payload / BLOCK;
        let reckoned = log_room::bytes_max(count as u64, payload as u64) * groups as u64;
        let now = rig.hub.log_queue.room().bytes;
        assert!(left.saturating_sub(now) <= reckoned, "{count} txns: {left} to {now}, {reckoned} reckoned");
        assert!(now != left, "{count} txns: it is told anew");
        (left, looks) = (now, looks + 1);
    }
    assert_eq!(looks, 12);
}
