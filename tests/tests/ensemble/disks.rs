//! The disk of one server stalls, or fills up. A quorum needs neither; what was acknowledged is there at the end, and the server comes back by itself.
//!
//! The disk is a small ext4 of its own, mounted through a loop device. That needs root; others are told that it is left out.

use super::load::{Load, connect, trees_agree};
use client::{ClientError, ConnectOptions, Connection, Operations};
use proto::ErrorCode;
use proto::request::CreateMode;
use ringkeeper_tests::cluster::{Cluster, Implementation, Mode, Plan};
use ringkeeper_tests::{LoopDisk, until, until_within};
use std::time::Duration;

const DISK_MIB: u64 = 160;
/// More than the writers of a test write. Its file takes what is used of it.
const ROOMY_MIB: u64 = 4_096;
/// Room for one segment of 32 MiB, not for two.
const FREE_MIB: usize = 50;
const DATA_BYTES: usize = 450 << 10;
/// More than the disk takes: two segments that are there already, and one for which there is room.
const WRITES: usize = 280;
/// More than the segments take that there is room for, and few enough for the whole disk to take them with what a cut wastes.
const WRITES_AND_A_CUT: usize = 240;
/// How long is measured.
const MEASURED: Duration = Duration::from_secs(4);
/// How long a server may take until it has what it missed.
const PATIENCE: Duration = Duration::from_secs(60);

/// An ensemble, and a server of it that has its log on a disk of its own, and leads or does not, as is wished.
fn with_disk(leads: bool, mib: u64) -> Option<(LoopDisk, Cluster, u8)> {
    let disk = LoopDisk::mount(mib)?;
    // Of a disk that stalls what counts is memory, not what is left of a segment.
    let segment_kib = if mib == ROOMY_MIB { "262144" } else { "1024" };
    let (cluster, id) = on_disk(leads, &disk, segment_kib, &[]);
    Some((disk, cluster, id))
}

/// The same on this disk, with segments of this size, and that server started by these words.
pub fn on_disk(leads: bool, disk: &LoopDisk, segment_kib: &str, words: &[&str]) -> (Cluster, u8) {
    // Purging would make room.
    let plan = Plan::new(Implementation::RingKeeper, 3).set("autopurge.purgeInterval", "0");
    let plan = plan.set("preAllocSize", segment_kib);
    let mut cluster = plan.prepare();
    let id = if leads { 3 } else { 1 };
    let dir = disk.path().join("log");
    std::fs::create_dir(&dir).expect("an empty disk");
    cluster.set_own(id, "dataLogDir", dir.to_str().expect("a temporary path is text"));
    cluster.wrap(id, words);
    cluster.ids().into_iter().for_each(|id| cluster.start(id));
    cluster.await_serving();
    // Of servers that have the same the one with the greatest id is elected; a slow start may have it otherwise.
    until_within(PATIENCE, "the wanted one leads", || {
        let leader = cluster.leader();
        let is_so = (leader == id) == leads;
        if !is_so {
            cluster.stop(leader);
            let _leads = cluster.leader();
            cluster.start(leader);
            cluster.await_serving();
        }
        is_so
    });
    (cluster, id)
}

/// All but so much of the disk is taken by a file, which can go.
fn fill(disk: &LoopDisk) -> std::path::PathBuf {
    let space = rustix::fs::statvfs(disk.path()).expect("it is mounted");
    let free = usize::try_from(space.f_bfree * space.f_frsize).expect("small");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; free - (FREE_MIB << 20)]).expect("there is room");
    ballast
}

fn stalls(leads: bool) {
    let Some((disk, mut cluster, id)) = with_disk(leads, ROOMY_MIB) else { return };
    let mode = cluster.mode(id);
    let load = Load::begin(&cluster.addresses(), 8);
    load.progress(200);
    let before = load.rate(MEASURED);
    let frozen = disk.freeze();
    let during = load.rate(MEASURED);
    drop(frozen);
    let after = load.rate(MEASURED);
    println!("the disk of the {mode:?} stalls: before {before:?}, during {during:?}, after {after:?}");
    assert!(during.per_s > before.per_s / 2.0, "the others are a quorum");
    assert!(during.slowest < MEASURED, "no write waits for that disk");
    assert_eq!(cluster.leads() == Some(id), leads, "nobody has been elected meanwhile");
    if !leads {
        await_follower(&cluster, id);
    }
    load.finish(&mut cluster);
    trees_agree(&cluster);
}

/// It follows, and stays. It may have to look for its leader once more: while it could write nothing it left its leader's words unread, and after `syncLimit`
/// each takes the other for silent.
pub fn await_follower(cluster: &Cluster, id: u8) {
    until_within(PATIENCE, "it follows, and stays", || {
        let options = ConnectOptions::default();
        let sync = Connection::connect(cluster.address(id), &options).and_then(|mut reader| reader.sync("/"));
        sync.is_ok() && cluster.mode(id) == Some(Mode::Follower)
    });
}

#[test]
fn a_follower_whose_disk_stalls_holds_nobody_back() {
    stalls(false);
}

#[test]
fn a_leader_whose_disk_stalls_does_not_hold_back_what_a_quorum_has() {
    stalls(true);
}

/// How many writes were acknowledged, and how many refused with SystemError.
fn write(connection: &mut Connection) -> (usize, usize) {
    let data = vec![b'x'; DATA_BYTES];
    let (mut acknowledged, mut refused) = (0, 0);
    for _ in 0..WRITES {
        match connection.set("/full", &data, -1) {
            Ok(_) => acknowledged += 1,
            Err(ClientError::Server(ErrorCode::SystemError)) => refused += 1,
            Err(error) => panic!("after {acknowledged} writes and {refused} refusals: {error}"),
        }
    }
    (acknowledged, refused)
}

#[test]
fn a_follower_whose_disk_is_full_holds_nobody_back_and_comes_back_with_the_space() {
    let Some((disk, cluster, id)) = with_disk(false, DISK_MIB) else { return };
    let ballast = fill(&disk);
    let leader = cluster.leader();
    let mut connection = connect(cluster.address(leader));
    connection.create("/full", b"", CreateMode::Persistent).expect("it serves");
    assert_eq!(write(&mut connection), (WRITES, 0), "the others are a quorum");
    println!("the full follower: {:?}", cluster.mode(id));
    assert!(cluster.log(id).contains("no space for the next log segment"), "its disk is full");
    std::fs::remove_file(ballast).expect("it is there");
    await_follower(&cluster, id);
    trees_agree(&cluster);
}

/// Writes through this server, which does not have the full disk, and comes again where its connection has ended: with the leader. How many were acknowledged,
/// and how many connections ended.
fn write_through(cluster: &Cluster, at: u8) -> (usize, usize) {
    let data = vec![b'x'; DATA_BYTES];
    let (mut acknowledged, mut ended) = (0, 0);
    let mut connection = connect(cluster.address(at));
    while acknowledged < WRITES_AND_A_CUT {
        match connection.set("/full", &data, -1) {
            Ok(_) => acknowledged += 1,
            Err(ClientError::Server(code)) => panic!("after {acknowledged} writes: {code:?}"),
            Err(_) => {
                ended += 1;
                assert!(ended < 5, "{ended} connections ended in {acknowledged} writes");
                until_within(PATIENCE, "it serves again", || cluster.mode(at).is_some());
                connection = connect(cluster.address(at));
            }
        }
    }
    (acknowledged, ended)
}

#[test]
fn a_leader_whose_disk_is_full_lets_another_lead_and_follows_it_once_there_is_space() {
    let Some((disk, cluster, id)) = with_disk(true, DISK_MIB) else { return };
    let ballast = fill(&disk);
    let follower = cluster.follower();
    connect(cluster.address(follower)).create("/full", b"", CreateMode::Persistent).expect("it serves");
    let written = write_through(&cluster, follower);
    println!("acknowledged, connections ended: {written:?}; the full one: {:?}", cluster.mode(id));
    assert_ne!(cluster.leads(), Some(id), "another leads");
    assert!(cluster.log(id).contains("leaves off leading"), "it says why");
    std::fs::remove_file(ballast).expect("it is there");
    await_follower(&cluster, id);
    trees_agree(&cluster);
}

#[test]
fn a_leader_whose_disk_is_full_and_who_is_needed_refuses_its_clients_writes_and_takes_them_again_with_the_space() {
    let Some((disk, mut cluster, id)) = with_disk(true, DISK_MIB) else { return };
    cluster.stop(1);
    let ballast = fill(&disk);
    let mut connection = connect(cluster.address(id));
    connection.create("/full", b"", CreateMode::Persistent).expect("it serves");
    let (acknowledged, refused) = write(&mut connection);
    println!("the full leader: {:?}, {acknowledged} acknowledged, {refused} refused", cluster.mode(id));
    assert!(acknowledged > 10 && refused > 10, "{acknowledged} acknowledged, {refused} refused");
    assert!(connection.exists("/full", false).expect("reads go on").is_some());
    std::fs::remove_file(ballast).expect("it is there");
    until("writes are taken again", || connection.set("/full", b"", -1).is_ok());
    cluster.start(1);
    cluster.await_serving();
    trees_agree(&cluster);
}
