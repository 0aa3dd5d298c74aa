//! What stands between the queue of txns and the disk, on a simulated disk whose started writes end when the test says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod log_support;

use log_support::{HeldDisk, Rig};
use ringkeeper_server::log_writer::{LogWriter, Pumped, SEAL_AFTER};

/// EIO.
const EIO: i32 = 5;

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
