//! What a member of an ensemble starts with, and what it makes of directories that are not what they were (laws 9 and 10).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use proto::txn::{Txn, TxnHeader, TxnRecord};
use proto::{Epoch, OpCode, ServerId, SessionId, Xid, Zxid};
use ringkeeper_server::config::{ResolvedConfig, Sources, load};
use ringkeeper_server::image::write_image;
use ringkeeper_server::recovery::{Recovered, RecoveryError, recover};
use ringkeeper_server::standing::{INITIALIZE, Refusal};
use snapshot::{Control, DataDir, Identity};
use zab::{Epochs, Start};

const fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

/// The directories of one server.
struct Site {
    dir: tempfile::TempDir,
    lines: Vec<&'static str>,
    id: Option<u8>,
}

const MEMBER: &[&str] =
    &["tickTime=2000", "initLimit=10", "syncLimit=5", "server.1=a:1:2", "server.2=b:1:2", "server.3=c:1:2"];

impl Site {
    fn new() -> Site {
        Site { dir: tempfile::tempdir().unwrap(), lines: MEMBER.to_vec(), id: Some(2) }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    fn config(&self) -> ResolvedConfig {
        for dir in [self.data(), self.logs()] {
            fs::create_dir_all(dir).unwrap();
        }
        if let Some(id) = self.id {
            fs::write(self.data().join("myid"), id.to_string()).unwrap();
        }
        let mut text =
            format!("dataDir={}\ndataLogDir={}\nclientPort=2181\n", self.data().display(), self.logs().display());
        self.lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        let file = self.dir.path().join("zoo.cfg");
        fs::write(&file, text).unwrap();
        load(&Sources { file: Some(file), ..Sources::default() }).unwrap_or_else(|errors| panic!("{errors}")).config
    }

    fn recover(&self) -> Result<Recovered, RecoveryError> {
        recover(&self.config())
    }

    /// A start and an end in order. What the log gets in between.
    fn run(&self, zxids: &[Zxid]) -> Start {
        let Recovered { mut log, start, .. } = self.recover().unwrap();
        for zxid in zxids {
            log.append(zxid.0, &record(*zxid)).unwrap();
        }
        log.commit().unwrap();
        log.close().unwrap();
        start
    }

    /// An image of everything, named by the control file.
    fn write_image(&self) {
        let Recovered { mut tree, control, .. } = self.recover().unwrap();
        let published = write_image(&self.data(), &tree.freeze(), None).unwrap();
        let history_zxid = tree.last_zxid();
        Control { image: Some(published.image), history_zxid, ..control }.replace(&self.data()).unwrap();
    }

    fn control(&self) -> Control {
        Control::load(&self.data()).unwrap().unwrap()
    }

    fn identities(&self) -> [Option<Identity>; 2] {
        [self.data(), self.logs()].map(|dir| Identity::load(&dir).unwrap())
    }

    /// Not whole, which is durable, and all the same able to start again and again.
    #[track_caller]
    fn assert_incomplete(&self, last: Zxid) {
        for _ in 0..2 {
            let start = self.run(&[]);
            assert!(!start.is_whole && !self.control().is_whole);
            assert_eq!(start.history.last(), last);
            assert_eq!(self.identities(), [Some(VOTER); 2]);
        }
    }

    #[track_caller]
    fn assert_whole(&self, last: Zxid) {
        let start = self.run(&[]);
        assert!(start.is_whole && self.control().is_whole);
        assert_eq!(start.history.last(), last);
    }

    /// What lies in the newest directory of what did not read.
    fn set_aside(&self, dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir.join("set-aside.1")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names.into_iter().map(|name| name.into_string().unwrap()).collect()
    }
}

const VOTER: Identity = Identity { ensemble: None, server: Some(ServerId(2)), has_voted: true };

/// A txn that changes nothing but the zxid.
fn record(zxid: Zxid) -> Vec<u8> {
    let header = TxnHeader { session: SessionId(1), xid: Xid(1), zxid, time_ms: 1, op: OpCode::Error };
    let mut bytes = Vec::new();
    TxnRecord { header, txn: Txn::Error(-101), digest: None }.encode(&mut bytes);
    bytes
}

/// Changes a byte in the middle of the first record with this zxid.
fn damage_record(logs: &Path, zxid: Zxid) {
    let wanted = record(zxid);
    for entry in fs::read_dir(logs.join("log")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            bytes[at + 4] ^= 1;
            return fs::write(&path, bytes).unwrap();
        }
    }
    panic!("{zxid} is not in the log");
}

#[test]
fn a_first_start_leaves_an_identity_in_both_directories_and_may_vote() {
    let site = Site::new();
    let start = site.run(&[]);
    assert!(start.is_whole);
    assert_eq!((start.epochs, start.history.last(), start.committed), (Epochs::default(), Zxid::ZERO, Zxid::ZERO));
    assert_eq!(site.identities(), [Some(VOTER); 2]);
    assert!(site.control().is_whole && site.control().has_voted);
    site.assert_whole(Zxid::ZERO);
}

#[test]
fn a_server_that_stands_alone_has_identities_that_have_not_voted_and_becomes_a_member_with_its_history() {
    let mut site = Site { lines: Vec::new(), id: None, ..Site::new() };
    site.run(&[z(0, 1), z(0, 2)]);
    assert_eq!(site.identities(), [Some(Identity::default()); 2]);
    assert!(!site.control().has_voted);
    (site.lines, site.id) = (MEMBER.to_vec(), Some(2));
    site.assert_whole(z(0, 2));
    assert_eq!(site.identities(), [Some(VOTER); 2]);
}

#[test]
fn the_history_is_that_of_the_log_behind_the_image() {
    let site = Site::new();
    site.run(&[z(1, 1), z(1, 2), z(3, 1)]);
    let start = site.run(&[]);
    assert_eq!((start.history.floor(), start.history.last(), start.committed), (Zxid::ZERO, z(3, 1), Zxid::ZERO));
    assert_eq!(start.history.newest_at(z(2, 9)), Some(z(1, 2)));
    // Epochs that nobody has noted are those of the txns.
    assert_eq!(start.epochs, Epochs { accepted: Epoch(3), current: Epoch(3) });
    site.write_image();
    let start = site.run(&[z(3, 2), z(4, 1)]);
    assert_eq!((start.history.floor(), start.history.last(), start.committed), (z(3, 1), z(3, 1), z(3, 1)));
    let noted = Control { accepted_epoch: Epoch(6), current_epoch: Epoch(5), ..site.control() };
    noted.replace(&site.data()).unwrap();
    let start = site.run(&[]);
    assert_eq!((start.history.last(), start.committed), (z(4, 1), z(3, 1)));
    assert_eq!(start.epochs, Epochs { accepted: Epoch(6), current: Epoch(5) });
}

#[test]
fn a_server_that_has_lost_a_directory_does_not_vote_as_if_it_had_less() {
    for lost in [Site::data, Site::logs] {
        let site = Site::new();
        site.run(&[z(1, 1)]);
        site.write_image();
        site.run(&[z(1, 2)]);
        fs::remove_dir_all(lost(&site)).unwrap();
        // Its log begins with nothing, and reads; whether that is all that there was nobody knows.
        site.assert_incomplete(if lost(&site) == site.data() { z(1, 2) } else { z(1, 1) });
    }
}

#[test]
fn where_one_directory_holds_everything_a_new_one_is_a_first_start() {
    let site = Site::new();
    let (mut config, one) = (site.config(), site.data());
    config.storage.data_log_dir.clone_from(&one);
    assert!(recover(&config).unwrap().start.is_whole);
    assert_eq!(Identity::load(&one).unwrap(), Some(VOTER));
    // Nothing is left that could tell: as in ZooKeeper, db.autocreate=false is for that.
    fs::remove_dir_all(&one).unwrap();
    fs::create_dir(&one).unwrap();
    assert!(recover(&config).unwrap().start.is_whole);
    fs::remove_file(one.join("control")).unwrap();
    assert!(!recover(&config).unwrap().start.is_whole);
}

#[test]
fn a_damaged_log_is_set_aside_and_the_server_waits_for_a_whole_state() {
    let mut site = Site::new();
    site.run(&[z(1, 1)]);
    site.write_image();
    site.run(&[z(1, 2), z(1, 3)]);
    damage_record(&site.logs(), z(1, 2));
    // Alone it is refused, with its place, and nothing is changed.
    site.lines = Vec::new();
    let refusal = site.recover().unwrap_err();
    assert!(
        matches!(&refusal, RecoveryError::Log { source: wal::Error::Damage { after_zxid, .. }, .. } if *after_zxid == z(1, 1).0),
        "{refusal}"
    );
    site.lines = MEMBER.to_vec();
    site.assert_incomplete(z(1, 1));
    assert_eq!(site.set_aside(&site.logs()), ["log"]);
    // What is left is a part of a history, which serves nobody.
    site.lines = Vec::new();
    assert!(matches!(site.recover(), Err(RecoveryError::Standing(Refusal::IncompleteAlone(_)))));
}

#[test]
fn a_damaged_or_missing_image_is_set_aside_with_the_log_behind_it() {
    for is_there in [true, false] {
        let site = Site::new();
        site.run(&[z(1, 1)]);
        site.write_image();
        site.run(&[z(1, 2)]);
        let image = DataDir::new(site.data()).image(z(1, 1));
        if is_there {
            let mut bytes = fs::read(&image).unwrap();
            bytes[30] ^= 1;
            fs::write(&image, bytes).unwrap();
        } else {
            fs::remove_file(&image).unwrap();
        }
        site.assert_incomplete(Zxid::ZERO);
        assert_eq!(site.set_aside(&site.logs()), ["log"]);
        let expected = if is_there { vec!["image.0000000100000001"] } else { Vec::new() };
        assert_eq!(site.set_aside(&site.data()), expected);
    }
}

#[test]
fn what_a_crash_has_left_half_written_is_removed_and_nothing_else() {
    let site = Site::new();
    site.run(&[z(1, 1)]);
    site.write_image();
    let image = DataDir::new(site.data()).image_temp(z(1, 5));
    let (data, logs) = (DataDir::new(site.data()), DataDir::new(site.logs()));
    let temporaries = [image, data.control_temp(), data.identity_temp(), logs.identity_temp()];
    let others = [site.data().join("other.tmp"), site.logs().join("image.5.tmp")];
    temporaries.iter().chain(&others).for_each(|file| fs::write(file, b"half").unwrap());
    site.assert_whole(z(1, 1));
    assert!(temporaries.iter().all(|file| !file.exists()) && others.iter().all(|file| file.exists()));
}

#[test]
fn a_damaged_control_file_is_set_aside() {
    let site = Site::new();
    site.run(&[z(1, 1)]);
    let path = DataDir::new(site.data()).control();
    fs::write(&path, b"nothing that reads").unwrap();
    let start = site.run(&[]);
    assert!(!start.is_whole);
    assert_eq!(site.set_aside(&site.data()), ["control"]);
    assert_eq!(fs::read(site.data().join("set-aside.1/control")).unwrap(), b"nothing that reads");
}

#[test]
fn a_log_that_ends_before_what_was_durable_is_a_loss() {
    let mut site = Site::new();
    site.run(&[z(1, 1)]);
    Control { history_zxid: z(1, 2), ..site.control() }.replace(&site.data()).unwrap();
    site.lines = Vec::new();
    let refusal = site.recover().unwrap_err();
    assert!(matches!(refusal, RecoveryError::LostHistory { .. }), "{refusal}");
    site.lines = MEMBER.to_vec();
    site.assert_incomplete(z(1, 1));
}

#[test]
fn an_empty_server_waits_for_the_marker_if_it_must_which_holds_once() {
    let mut site = Site::new();
    site.lines.push("zookeeper.db.autocreate=false");
    site.assert_incomplete(Zxid::ZERO);
    fs::write(site.logs().join(INITIALIZE), b"").unwrap();
    site.assert_whole(Zxid::ZERO);
    assert!(!site.logs().join(INITIALIZE).exists());
    site.assert_whole(Zxid::ZERO);
    // The marker beside something that is lost is consumed, and changes nothing.
    site.run(&[z(1, 1)]);
    fs::remove_dir_all(site.data()).unwrap();
    fs::write(site.logs().join(INITIALIZE), b"").unwrap();
    site.assert_incomplete(z(1, 1));
    assert!(!site.logs().join(INITIALIZE).exists());
}

#[test]
fn the_directory_of_another_server_is_refused_and_left_as_it_is() {
    let mut site = Site::new();
    site.run(&[z(1, 1)]);
    let before = (site.control(), site.identities());
    site.id = Some(3);
    let refusal = site.recover().unwrap_err();
    assert!(matches!(
        &refusal,
        RecoveryError::Standing(Refusal::OtherServer { found: ServerId(2), me: ServerId(3), .. })
    ));
    assert!(
        refusal.to_string().contains("belongs to server 2, and <dataDir>/myid says that this is server 3"),
        "{refusal}"
    );
    assert_eq!((site.control(), site.identities()), before);
    site.id = Some(2);
    site.assert_whole(z(1, 1));
    // On purpose: without the identities it is taken, and counts for nothing.
    site.id = Some(3);
    for dir in [site.data(), site.logs()] {
        fs::remove_file(DataDir::new(dir).identity()).unwrap();
    }
    assert!(!site.run(&[]).is_whole);
    assert_eq!(site.identities(), [Some(Identity { server: Some(ServerId(3)), ..VOTER }); 2]);
}

#[test]
fn alone_a_lost_log_directory_is_refused_and_one_that_was_moved_with_its_identity_is_not() {
    let site = Site { lines: Vec::new(), ..Site::new() };
    site.run(&[z(0, 1)]);
    let elsewhere = site.dir.path().join("elsewhere");
    fs::rename(site.logs(), &elsewhere).unwrap();
    let refusal = site.recover().unwrap_err();
    assert!(matches!(refusal, RecoveryError::Standing(Refusal::Alone { .. })), "{refusal}");
    fs::remove_dir_all(site.logs()).unwrap();
    fs::rename(&elsewhere, site.logs()).unwrap();
    site.assert_whole(z(0, 1));
}

#[test]
fn zxids_that_a_java_leader_gave_to_no_txn_are_missing_to_nobody() {
    let site = Site::new();
    site.run(&[z(1, 2), z(1, 3), z(1, 7), z(2, 4), z(2, 5), z(2, 9)]);
    let start = site.run(&[]);
    assert!(start.is_whole);
    assert_eq!((start.history.floor(), start.history.last()), (Zxid::ZERO, z(2, 9)));
    let newest_at = |zxid| start.history.newest_at(zxid);
    assert_eq!((newest_at(z(1, 3)), newest_at(z(2, 11))), (Some(z(1, 3)), Some(z(2, 9))));
    // With an image the control file tells what lies before it.
    site.write_image();
    let before = site.run(&[z(2, 12), z(4, 2)]);
    assert_eq!(before.history.last(), z(2, 9));
    let start = site.run(&[]);
    assert!(start.is_whole);
    assert_eq!((start.history.last(), start.committed), (z(4, 2), z(2, 9)));
    assert_eq!(start.history.newest_at(z(3, 0)), Some(z(2, 12)));
}
