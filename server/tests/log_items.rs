//! What the log does beside writing txns: each item after all that was handed over before it, and answered in order; with the log thread's writer, and
//! with one that a core hosts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod log_support;

use engine::tree::Tree;
use engine::turn::{LogDone, LogItem};
use log_support::{HeldDisk, Rig};
use proto::{Epoch, Zxid};
use ringkeeper_server::log_writer::{LogWriter, Pumped};
use snapshot::control::{Control, ImageRef};
use std::time::{Duration, Instant};
use zab::Epochs;

/// EIO.
const EIO: i32 = 5;
/// Longer than it takes until the writer looks for space again.
const LOOKS_AGAIN: Duration = Duration::from_secs(20);

const fn epochs(accepted: u32, current: u32) -> Epochs {
    Epochs { accepted: Epoch(accepted), current: Epoch(current) }
}

/// The epochs in the control file as it lies on the disk.
fn on_disk(rig: &Rig) -> Epochs {
    let control = Control::load(rig.dir.path()).unwrap().unwrap();
    epochs(control.accepted_epoch.0, control.current_epoch.0)
}

fn hand(rig: &Rig, item: LogItem) {
    rig.hub.hand_to_log(item, Instant::now());
}

/// As the log thread does, until nothing is left.
fn work(writer: &mut LogWriter<HeldDisk>) {
    while writer.write().unwrap() {}
}

/// As a core that hosts the writer does, which gives it to the log thread whenever it blocks.
fn work_hosted(writer: &mut LogWriter<HeldDisk>) {
    loop {
        match writer.pump(None).unwrap() {
            Pumped::Progress => {}
            Pumped::Nothing => return,
            Pumped::Blocks if writer.write().unwrap() => {}
            Pumped::Blocks if writer.tidy().unwrap() => {}
            Pumped::Blocks => writer.seal().unwrap(),
        }
    }
}

/// The tree of what was pushed up to a zxid.
fn tree_of(rig: &Rig, up_to: Zxid) -> Tree {
    let reader = rig.records(up_to);
    let mut replay = engine::replay::Replay::new(Tree::new());
    reader.iter().for_each(|(zxid, bytes)| replay.take(*zxid, bytes).unwrap());
    replay.finish().unwrap().0
}

#[test]
fn epochs_are_durable_after_what_was_handed_over_before_them_and_before_they_are_answered() {
    for work in [work, work_hosted] {
        let mut rig = Rig::new();
        let mut writer = rig.writer();
        let before = rig.push(3);
        hand(&rig, LogItem::Epochs(epochs(5, 4)));
        let after = rig.push(2);
        assert!(rig.hub.log_done.pop().is_none());
        work(&mut writer);
        assert!(matches!(rig.hub.log_done.pop(), Some(LogDone::Epochs(done)) if done == epochs(5, 4)));
        assert!(rig.hub.log_done.pop().is_none());
        assert_eq!((rig.durable(), on_disk(&rig)), (after, epochs(5, 4)));
        assert_eq!(rig.control.get().history_zxid, Zxid(before), "what was durable then");
        rig.assert_holds_up_to(after);
    }
}

#[test]
fn an_item_waits_for_the_group_on_its_way_and_what_comes_after_waits_for_it() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    rig.disk.hold();
    let first = rig.push(1);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress);
    let second = rig.push(1);
    hand(&rig, LogItem::Epochs(epochs(1, 0)));
    let third = rig.push(1);
    for _ in 0..3 {
        assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing);
    }
    assert_eq!((rig.durable(), on_disk(&rig)), (0, epochs(0, 0)));
    assert!(!rig.hub.log_queue.is_empty(), "what comes after the epochs waits");
    rig.disk.release();
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress);
    assert_eq!(rig.durable(), first);
    while writer.pump(None).unwrap() == Pumped::Progress {}
    assert_eq!((rig.durable(), on_disk(&rig)), (second, epochs(0, 0)), "a core does not wait for the control file");
    assert_eq!(writer.pump(None).unwrap(), Pumped::Blocks);
    assert!(writer.write().unwrap());
    assert_eq!((rig.durable(), on_disk(&rig)), (second, epochs(1, 0)));
    work(&mut writer);
    assert_eq!(rig.durable(), third);
}

#[test]
fn a_control_file_that_cannot_be_replaced_is_an_error_and_no_answer() {
    let rig = Rig::new();
    let mut writer = rig.writer();
    std::fs::remove_dir_all(rig.dir.path()).unwrap();
    hand(&rig, LogItem::Epochs(epochs(1, 0)));
    let error = writer.write().unwrap_err();
    assert!(error.to_string().contains("control"), "{error}");
    assert!(rig.hub.log_done.pop().is_none());
}

#[test]
fn a_cut_takes_txns_back_and_brings_the_tree_that_is_left() {
    for work in [work, work_hosted] {
        let mut rig = Rig::new();
        let mut writer = rig.writer();
        let kept = Zxid(rig.push(30));
        let cut = rig.push(40);
        work(&mut writer);
        assert_eq!(rig.durable(), cut);
        hand(&rig, LogItem::Cut { to: kept, rebuild: true });
        work(&mut writer);
        let Some(LogDone::Cut { last, tree: Some(tree) }) = rig.hub.log_done.pop() else { panic!("no tree") };
        assert_eq!((last, rig.durable(), tree.last_zxid()), (kept, kept.0, kept));
        let expected = tree_of(&rig, kept);
        assert_eq!((tree.digest(), tree.sessions().len()), (expected.digest(), expected.sessions().len()));
        rig.take_back(kept);
        let more = rig.push(3);
        work(&mut writer);
        assert_eq!(rig.durable(), more);
        rig.assert_holds_up_to(more);
        let control = Control::load(rig.dir.path()).unwrap().unwrap();
        assert!(control.is_whole && control.log_generation == 2 && control.history_zxid == kept, "{control:?}");
    }
}

#[test]
fn a_cut_to_what_the_log_never_had_ends_before_it_and_is_remembered() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    let last = Zxid(rig.push(3));
    hand(&rig, LogItem::Cut { to: last.next(), rebuild: false });
    work(&mut writer);
    assert!(matches!(rig.hub.log_done.pop(), Some(LogDone::Cut { last: found, tree: None }) if found == last));
    assert!(!Control::load(rig.dir.path()).unwrap().unwrap().is_whole);
}

#[test]
fn a_cut_below_the_only_image_is_impossible_and_changes_nothing_but_what_is_known() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    let last = rig.push(5);
    work(&mut writer);
    let image = ImageRef::at(Zxid(last - 1));
    let published = rig.control.publish_image(0, image, None, || Zxid(last)).unwrap();
    assert_eq!(published, snapshot::control::Publication::InForce);
    hand(&rig, LogItem::Cut { to: Zxid(last - 3), rebuild: true });
    let more = rig.push(1);
    work(&mut writer);
    assert!(matches!(rig.hub.log_done.pop(), Some(LogDone::CutImpossible)));
    assert_eq!(rig.durable(), more);
    rig.assert_holds_up_to(more);
    assert!(!Control::load(rig.dir.path()).unwrap().unwrap().is_whole);
}

#[test]
fn a_state_that_was_begun_is_in_force_once_it_is_adopted() {
    for work in [work, work_hosted] {
        let mut rig = Rig::new();
        let mut writer = rig.writer();
        rig.push(3);
        let base = Zxid(100);
        hand(&rig, LogItem::Begin(ImageRef::at(base)));
        work(&mut writer);
        assert!(matches!(rig.hub.log_done.pop(), Some(LogDone::Begun)));
        assert_eq!(rig.durable(), base.0);
        assert_eq!(Control::load(rig.dir.path()).unwrap().unwrap().image, None, "not in force");
        rig.go_on_after(base);
        let last = rig.push(4);
        hand(&rig, LogItem::Adopt(epochs(2, 2)));
        hand(&rig, LogItem::Release);
        work(&mut writer);
        assert!(matches!(rig.hub.log_done.pop(), Some(LogDone::Epochs(done)) if done == epochs(2, 2)));
        assert!(rig.hub.log_done.pop().is_none(), "a release has no answer");
        let control = Control::load(rig.dir.path()).unwrap().unwrap();
        assert_eq!((control.image, control.former), (Some(ImageRef::at(base)), None));
        assert_eq!((rig.durable(), control.history_zxid), (last, Zxid(last)));
        rig.assert_holds_up_to(last);
    }
}

#[test]
fn a_state_that_was_discarded_leaves_the_log_as_it_was() {
    for work in [work, work_hosted] {
        let mut rig = Rig::new();
        let mut writer = rig.writer();
        let last = rig.push(3);
        hand(&rig, LogItem::Begin(ImageRef::at(Zxid(100))));
        work(&mut writer);
        let former = rig.go_on_after(Zxid(100));
        rig.push(4);
        hand(&rig, LogItem::Discard);
        work(&mut writer);
        assert!(matches!(rig.hub.log_done.pop(), Some(LogDone::Begun)));
        assert!(matches!(rig.hub.log_done.pop(), Some(LogDone::Discarded)));
        assert_eq!(rig.durable(), last);
        rig.go_back_to(former);
        let more = rig.push(2);
        work(&mut writer);
        assert_eq!(rig.durable(), more);
        rig.assert_holds_up_to(more);
    }
}

#[test]
fn an_item_that_finds_no_space_waits_and_is_done_once_there_is_some() {
    for is_hosted in [false, true] {
        let mut rig = Rig::new();
        let mut writer = rig.writer();
        let last = Zxid(rig.push(3));
        work(&mut writer);
        rig.disk.sim.set_capacity(Some(rig.disk.sim.files().values().map(Vec::len).sum()));
        hand(&rig, LogItem::Cut { to: Zxid(last.0 - 1), rebuild: false });
        while if is_hosted { writer.pump(None).unwrap() == Pumped::Progress } else { writer.write().unwrap() } {}
        if is_hosted {
            assert!(!writer.write().unwrap());
            assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing, "it does not go to and fro between the threads");
        }
        assert!(writer.waits_for_space() && rig.hub.log_queue.room().is_full, "a full disk is told");
        assert!(rig.hub.log_done.pop().is_none());
        rig.disk.sim.set_capacity(None);
        let begun = Instant::now();
        let done = loop {
            assert!(begun.elapsed() < LOOKS_AGAIN);
            writer.write().unwrap();
            if let Some(done) = rig.hub.log_done.pop() {
                break done;
            }
            std::thread::yield_now();
        };
        assert!(matches!(done, LogDone::Cut { last: found, .. } if found.0 == last.0 - 1), "{done:?}");
        assert!(!writer.waits_for_space() && !rig.hub.log_queue.room().is_full);
    }
}

#[test]
fn a_failed_write_within_a_turn_is_an_error_for_good_and_no_answer() {
    let mut rig = Rig::new();
    let mut writer = rig.writer();
    rig.push(3);
    work(&mut writer);
    rig.disk.sim.fail_at(rig.disk.sim.steps() + 3, EIO);
    hand(&rig, LogItem::Begin(ImageRef::at(Zxid(100))));
    assert!(writer.write().is_err());
    assert!(writer.write().is_err() || writer.pump(None).is_err());
    assert!(rig.hub.log_done.pop().is_none());
}

#[test]
#[should_panic(expected = "answers are due already")]
fn more_answers_than_there_is_room_for_are_our_own_bug() {
    let rig = Rig::new();
    (0..100).for_each(|_| hand(&rig, LogItem::Discard));
}
