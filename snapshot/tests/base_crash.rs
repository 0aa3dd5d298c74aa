//! A power loss or a full disk before any call of publishing an image and replacing the control file leaves the old state or the new one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_model.rs"]
mod base_model;
use std::fs;
use std::path::Path;

use base_model::{Model, Random, SMALL, open};
use proto::Zxid;
use ringkeeper_snapshot::base::{Base, BaseWriter, CarryPlan, NodeChange, Place, PublishedBase, verify};
use ringkeeper_snapshot::control::CONTROL_BYTES;
use ringkeeper_snapshot::disk::Disk as _;
use ringkeeper_snapshot::sim_disk::{SimDisk, Survivors};
use ringkeeper_snapshot::{Control, DataDir, Error, ImageRef, Result};

const OLD: Zxid = Zxid(0x1_0000_0005);
const NEW: Zxid = Zxid(0x1_0000_0009);

/// An old image on the real disk, which nothing writes to again, and a tree that has gone on since.
struct Scene {
    dir: tempfile::TempDir,
    base: Base,
    old: Model,
    new: Model,
}

fn control(zxid: Zxid) -> Control {
    Control { image: Some(ImageRef::at(zxid)), log_generation: 1, history_zxid: zxid, ..Control::default() }
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let (mut model, mut random) = (Model::new(), Random(21));
        model.change_at_random(&mut random, 200);
        model.publish(dir.path(), OLD, SMALL, None);
        let (base, old) = (open(dir.path(), OLD), model.clone());
        model.change_at_random(&mut random, 12);
        Scene { base, old, new: model, dir }
    }

    /// A disk on which the old control file is durable.
    fn disk(&self) -> SimDisk {
        let disk = SimDisk::default();
        control(OLD).replace_on(&disk, self.dir.path()).unwrap();
        disk.settle();
        disk
    }

    fn publish(&self, disk: &SimDisk) -> Result<PublishedBase> {
        let disk = Box::new(disk.clone());
        self.new.clone().publish_on(disk, self.dir.path(), NEW, SMALL, Some(&self.base))
    }

    /// What the process was told before the disk froze: whether the image was published, and the control file replaced.
    fn run(&self, disk: &SimDisk) -> (bool, bool) {
        let published = self.publish(disk).is_ok();
        (published, published && control(NEW).replace_on(disk, self.dir.path()).is_ok())
    }

    /// Starts on what is left, as a server does, and checks that it is a state that was promised; whether it is the new one.
    fn check(&self, survivors: &Survivors, (published, replaced): (bool, bool), known: &mut Vec<Survivors>) -> bool {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(DataDir::new(self.dir.path()).image(OLD), DataDir::new(dir.path()).image(OLD)).unwrap();
        for (path, bytes) in survivors {
            fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
        let data = DataDir::new(dir.path());
        data.clean_temporaries().unwrap();
        let found = Control::load(dir.path()).unwrap().expect("the control file never vanishes");
        assert!(found == control(OLD) || found == control(NEW), "{found:?}");
        assert!(!replaced || found == control(NEW), "a replaced control file is durable");
        let is_new_there = data.image(NEW).exists();
        assert!(!published || is_new_there, "a published image is durable");
        assert!(is_new_there || found == control(OLD), "the control file names an image that is there");
        // Most states are the same.
        if !known.contains(survivors) {
            self.old.check(&open(dir.path(), OLD));
            if is_new_there {
                self.new.check(&open(dir.path(), NEW));
                verify(dir.path(), &ImageRef::at(NEW)).unwrap();
            }
            known.push(survivors.clone());
        }
        found == control(NEW)
    }
}

#[test]
fn a_power_loss_before_any_call_leaves_the_old_or_the_new_state() {
    let scene = Scene::new();
    let disk = scene.disk();
    assert_eq!(scene.run(&disk), (true, true));
    let calls = disk.calls();
    assert!(calls > 20, "{calls} calls");
    let mut known = Vec::new();
    let (mut states, mut new) = (0, 0);
    for call in 0..=calls {
        let disk = scene.disk();
        disk.freeze_at(call);
        let told = scene.run(&disk);
        assert_eq!(told.1, call == calls, "only the whole sequence is a success");
        for survivors in disk.after_power_loss() {
            states += 1;
            new += u32::from(scene.check(&survivors, told, &mut known));
        }
    }
    assert!(states > 100 && new > 0 && new < states, "{states} states, {new} new");
}

#[test]
fn a_full_disk_leaves_the_old_state_and_nothing_else() {
    let scene = Scene::new();
    let before = scene.disk().contents();
    let bytes = usize::try_from(scene.publish(&scene.disk()).unwrap().file_bytes).unwrap();
    // Every part of the file meets the end of the disk: 61 is no multiple of any part's length.
    for room in (0..bytes).step_by(61).chain([bytes - 1]) {
        let disk = scene.disk();
        disk.set_room(Some(room));
        let error = scene.publish(&disk).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{room} bytes of room: {error}");
        assert!(error.to_string().contains("free space"), "{error}");
        assert_eq!(disk.contents(), before, "{room} bytes of room");
    }
    for room in 0..CONTROL_BYTES {
        let disk = scene.disk();
        disk.set_room(Some(room));
        let error = control(NEW).replace_on(&disk, scene.dir.path()).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert_eq!(disk.contents(), before, "{room} bytes of room");
    }
}

/// Once the new file has its name, a full disk no longer means that the old one stands, and nobody may be told so.
#[test]
fn a_disk_that_is_full_after_the_rename_is_not_said_to_keep_the_old_state() {
    let scene = Scene::new();
    let disk = scene.disk();
    control(NEW).replace_on(&disk, scene.dir.path()).unwrap();
    let calls = disk.calls();
    for call in 0..calls {
        let disk = scene.disk();
        disk.full_at(call);
        let error = control(NEW).replace_on(&disk, scene.dir.path()).unwrap_err();
        let stands = disk.contents()[&scene.dir.path().join("control")] == control(OLD).encode();
        assert_eq!(matches!(error, Error::NoSpace { .. }), stands, "call {call} of {calls}: {error}");
        assert_eq!(stands, call + 1 < calls);
    }
}

/// The first test can fail: a disk that ignores fsync loses what was renamed.
#[test]
fn without_the_fsync_a_published_file_would_be_torn() {
    let disk = SimDisk::default();
    let mut file = disk.create(Path::new("/data/control.tmp")).unwrap();
    file.append(&control(NEW).encode()).unwrap();
    disk.rename(Path::new("/data/control.tmp"), Path::new("/data/control")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    let torn = |survivors: &Survivors| {
        survivors.iter().any(|(path, bytes)| path.ends_with("control") && Control::decode(bytes, path).is_err())
    };
    assert!(disk.after_power_loss().iter().any(torn));
}

#[test]
fn a_failed_writer_stays_failed() {
    let disk = SimDisk::default();
    disk.set_room(Some(100));
    let error = BaseWriter::create_on(Box::new(disk.clone()), Path::new("/data"), NEW, SMALL, CarryPlan::new(None));
    assert!(matches!(error, Err(Error::NoSpace { .. })));
    assert!(disk.names().is_empty());
    let scene = Scene::new();
    let disk = SimDisk::default();
    disk.set_room(Some(128));
    let mut plan = CarryPlan::new(Some(&scene.base));
    plan.touch_all();
    let mut writer = BaseWriter::create_on(Box::new(disk.clone()), scene.dir.path(), NEW, SMALL, plan).unwrap();
    let mut paths: Vec<_> = scene.old.nodes.keys().collect();
    paths.sort_by(|a, b| Place::of_node(a).cmp(&Place::of_node(b)));
    let failed = paths.iter().find_map(|path| writer.node(NodeChange::Gone(&format!("{path}~"))).err());
    assert!(matches!(failed, Some(Error::NoSpace { .. })), "{failed:?}");
    assert!(matches!(writer.node(NodeChange::Gone("/")), Err(Error::GivenUp { .. })));
    assert!(disk.names().is_empty());
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let scene = Scene::new();
    let writer = BaseWriter::create(scene.dir.path(), NEW, SMALL, CarryPlan::new(Some(&scene.base))).unwrap();
    assert_eq!(fs::read_dir(scene.dir.path()).unwrap().count(), 2);
    drop(writer);
    assert_eq!(fs::read_dir(scene.dir.path()).unwrap().count(), 1);
}

#[test]
fn an_image_in_a_directory_that_is_not_there_is_an_error_that_names_it() {
    let error = BaseWriter::create(Path::new("/nonexistent/data"), NEW, SMALL, CarryPlan::new(None)).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("/nonexistent/data/image."), "{error}");
}

/// The new image is not published on the base's damage.
#[test]
fn damage_of_the_base_gives_the_new_image_up() {
    use std::os::unix::fs::FileExt as _;
    let mut scene = Scene::new();
    let file = fs::File::options().write(true).open(&scene.base.files()[0].path).unwrap();
    let extent = scene.base.extent("/").unwrap();
    file.write_all_at(&vec![0; usize::try_from(extent.bytes).unwrap()], extent.offset).unwrap();
    let dir = scene.dir.path().to_path_buf();
    let disk = SimDisk::default();
    scene.new.put("/", None, None);
    let failed = scene.new.publish_on(Box::new(disk.clone()), &dir, NEW, SMALL, Some(&scene.base)).unwrap_err();
    assert!(matches!(failed, Error::Damaged { zxid: Some(OLD), .. }), "{failed}");
    assert!(disk.names().is_empty());
}
