//! What the store's turns and the image thread do to the control file: eras, what is known to be durable, what is kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;

use proto::{Epoch, Zxid};
use ringkeeper_snapshot::control::{Control, ControlFile, ImageRef, Publication, Spans};
use ringkeeper_snapshot::sim_disk::SimDisk as DataDisk;
use ringkeeper_snapshot::store::{self, Cut};
use wal::sim_disk::SimDisk;
use wal::{Generation, Log, Options};

/// A log with txns 1 to 9, and its control file.
struct Scene {
    log: Log<SimDisk>,
    disk: DataDisk,
    control: ControlFile,
}

impl Scene {
    fn new() -> Scene {
        let options = Options {
            segment_bytes: 64 << 10,
            group_bytes: 8 << 10,
            max_record_bytes: 4 << 10,
            generation: Generation(1),
            ..Options::new()
        };
        let (log, _) = Log::open(SimDisk::new(), options).unwrap();
        let disk = DataDisk::default();
        let control = Control { log_generation: 1, ..Control::default() };
        control.replace_on(&disk, Path::new("/data")).unwrap();
        let control = ControlFile::on(Arc::new(disk.clone()), Path::new("/data"), control);
        let mut scene = Scene { log, disk, control };
        scene.append(1..=9);
        scene
    }

    fn append(&mut self, zxids: std::ops::RangeInclusive<u64>) {
        for zxid in zxids {
            self.log.append(zxid, b"txn").unwrap();
        }
        self.log.commit().unwrap();
    }

    fn begin(&mut self, zxid: u64) {
        store::begin(&mut self.log, &self.control, ImageRef::at(Zxid(zxid))).unwrap();
    }

    fn adopt(&mut self) {
        store::adopt(&mut self.log, &self.control, Epoch(1), Epoch(1)).unwrap();
    }

    fn publish(&self, era: u64, zxid: u64) -> Publication {
        let durable = Zxid(self.log.durable_zxid());
        self.control.publish_image(era, ImageRef::at(Zxid(zxid)), None, || durable).unwrap()
    }

    /// What lies on the disk.
    fn found(&self) -> Control {
        let path = Path::new("/data/control");
        Control::decode(&self.disk.contents()[path], path).unwrap()
    }
}

#[test]
fn an_image_of_a_tree_that_another_has_taken_the_place_of_never_comes_into_force() {
    let mut scene = Scene::new();
    let frozen_in = scene.control.era();
    scene.begin(20);
    scene.adopt();
    assert_eq!(scene.publish(frozen_in, 25), Publication::Outdated);
    assert_eq!(scene.found().image, Some(ImageRef::at(Zxid(20))));
    let frozen_in = scene.control.era();
    scene.append(21..=30);
    let mut rebuild = |_: Option<&ImageRef>, _| Ok(());
    let cut = store::cut(&mut scene.log, &scene.control, Zxid(25), Some(&mut rebuild)).unwrap();
    assert!(matches!(cut, Cut::Done { last: Zxid(25), rebuilt: Some(()) }));
    assert_eq!(scene.publish(frozen_in, 28), Publication::Outdated);
    assert_eq!(scene.found().image, Some(ImageRef::at(Zxid(20))));
    assert_eq!(scene.publish(scene.control.era(), 24), Publication::InForce);
    assert_eq!(scene.found().image, Some(ImageRef::at(Zxid(24))));
    assert_eq!(scene.publish(scene.control.era(), 23), Publication::Outdated, "an older one");
}

#[test]
fn a_cut_of_what_no_tree_shows_leaves_images_under_way_alone() {
    let mut scene = Scene::new();
    let era = scene.control.era();
    let cut = store::cut::<_, ()>(&mut scene.log, &scene.control, Zxid(6), None).unwrap();
    assert!(matches!(cut, Cut::Done { last: Zxid(6), rebuilt: None }));
    assert_eq!(scene.publish(era, 5), Publication::InForce);
    assert_eq!(scene.found().history_zxid, Zxid(6));
}

#[test]
fn the_log_of_a_state_that_is_not_in_force_does_not_count_as_history() {
    let mut scene = Scene::new();
    scene.begin(20);
    scene.append(21..=25);
    assert_eq!(scene.publish(0, 7), Publication::InForce);
    scene.control.write_epochs(Epoch(3), Epoch(2), Zxid(25)).unwrap();
    let found = scene.found();
    assert_eq!((found.history_zxid, found.base_zxid()), (Zxid(7), Zxid(7)));
    assert_eq!((found.accepted_epoch, found.current_epoch, found.has_voted), (Epoch(3), Epoch(2), true));
    store::discard(&mut scene.log, &scene.control).unwrap();
    assert_eq!(scene.log.durable_zxid(), 9);
}

#[test]
fn an_image_of_its_own_ends_the_need_for_a_way_back() {
    let mut scene = Scene::new();
    scene.begin(20);
    scene.append(21..=25);
    scene.adopt();
    assert_eq!(scene.found().former.unwrap().log_generation, 1);
    let ends = [(Epoch(0), 24)];
    let spans = Spans::new(Zxid(20), ends);
    let published = scene.control.publish_image(1, ImageRef::at(Zxid(24)), spans.clone(), || Zxid(25)).unwrap();
    assert_eq!(published, Publication::InForce);
    let found = scene.found();
    assert_eq!((found.former, &found.spans, found.history_zxid), (None, &spans, Zxid(25)));
    let cut = store::cut::<_, ()>(&mut scene.log, &scene.control, Zxid(8), None).unwrap();
    assert!(matches!(cut, Cut::Impossible { .. }));
}

#[test]
fn what_the_image_in_force_does_not_hold_is_not_purged_whatever_is_asked() {
    let mut scene = Scene::new();
    for zxid in 10..=60 {
        scene.log.append(zxid, &[0; 4000]).unwrap();
        scene.log.commit().unwrap();
    }
    let purge = |scene: &mut Scene| store::purge(&mut scene.log, &scene.control, Zxid(50), 99).unwrap();
    assert_eq!(purge(&mut scene), 0, "there is no image");
    assert_eq!(scene.publish(0, 30), Publication::InForce);
    assert!(purge(&mut scene) > 0);
    assert!(scene.log.history_begins_after() <= 30);
    scene.begin(20);
    for zxid in 21..=60 {
        scene.log.append(zxid, &[0; 4000]).unwrap();
        scene.log.commit().unwrap();
    }
    assert_eq!(purge(&mut scene), 0, "an older state is not in force yet");
    scene.adopt();
    assert_eq!((purge(&mut scene), scene.log.history_begins_after()), (0, 20));
}

#[test]
fn a_log_that_does_not_read_where_it_is_to_be_cut_stays_and_is_not_whole() {
    let mut scene = Scene::new();
    let mut rebuild = |_: Option<&ImageRef>, _| Err::<(), _>("it does not read".into());
    let cut = store::cut(&mut scene.log, &scene.control, Zxid(6), Some(&mut rebuild)).unwrap();
    assert!(matches!(cut, Cut::Impossible { ref why } if why == "it does not read"), "{cut:?}");
    assert_eq!((scene.log.durable_zxid(), scene.control.era()), (9, 0));
    let found = scene.found();
    assert_eq!((found.is_whole, found.log_generation), (false, 1));
    scene.append(10..=11);
    scene.begin(20);
    scene.adopt();
    let found = scene.found();
    assert_eq!((found.is_whole, found.former), (true, None), "what was not whole is not gone back to");
}

#[test]
fn a_fall_back_that_fails_goes_on_with_the_state_in_force() {
    let mut scene = Scene::new();
    scene.begin(20);
    scene.append(21..=25);
    scene.adopt();
    let mut rebuild = |_: Option<&ImageRef>, _| Err::<(), _>("it does not read".into());
    let cut = store::cut(&mut scene.log, &scene.control, Zxid(6), Some(&mut rebuild)).unwrap();
    assert!(matches!(cut, Cut::Impossible { .. }));
    assert_eq!((scene.log.durable_zxid(), scene.log.generation()), (25, Generation(2)));
    scene.append(26..=27);
    assert_eq!(scene.found().base_zxid(), Zxid(20));
}

#[test]
fn a_turn_that_met_a_full_disk_is_done_when_it_is_asked_for_again() {
    for call in 0..5 {
        let mut scene = Scene::new();
        scene.disk.settle();
        scene.disk.full_at(call);
        let first = store::cut::<_, ()>(&mut scene.log, &scene.control, Zxid(6), None).map(drop);
        if first.as_ref().is_err_and(|error| !error.is_no_space()) {
            // The name of the new one is there: nobody knows whether it is durable.
            assert_eq!(call, 4);
            continue;
        }
        first.unwrap_err();
        scene.disk.freeze_at(u64::MAX);
        let again = store::cut::<_, ()>(&mut scene.log, &scene.control, Zxid(6), None).unwrap();
        assert!(matches!(again, Cut::Done { last: Zxid(6), .. }));
        scene.append(7..=8);
        let found = scene.found();
        assert_eq!((found.log_generation, found.history_zxid), (scene.log.generation().0, Zxid(6)));
    }
}
