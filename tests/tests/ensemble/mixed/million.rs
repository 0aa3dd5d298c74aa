//! A tree of a million znodes for a learner that has nothing, with the time limits that `zoo.cfg` has in every shipped example: ticks of 2 s, `initLimit` 10.
//!
//! Written to all the while, so that a Java leader's state is fuzzy. The packets prove the kind of synchronization, and that parents come first; what a server of ours
//! takes for it beside the tree is bounded.

use super::assert_no_mismatch;
use super::churn::Churn;
use crate::load::{Load, connect, digests_agree};
use crate::memory::Watch;
use client::{AclList, Connection};
use proto::OpCode;
use proto::quorum::PacketType;
use proto::request::{CreateMode, CreateRequest, MultiOp, MultiRequest, Request};
use ringkeeper_tests::cluster::{Cluster, Implementation, Mode, Plan};
use ringkeeper_tests::{binary, memory_bytes, until_within};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

const ZNODES: usize = 1_000_000;
/// In each directory; also the ops of a multi.
const PER_DIRECTORY: usize = 1_000;
/// Multis that wait for their replies.
const WINDOW: usize = 4;
const DATA_BYTES: usize = 100;
/// With the start of a JVM.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a leader of ours may grow by while it sends it: it sends an image, from the disk, piece by piece; what is written meanwhile stays in memory for learners (64 MiB), and
/// so do the znodes that it changes. The state itself is 188 MB.
const SENDING_MIB_MAX: u64 = 64 + 64;
/// What the tree takes in a server of ours, and as much again while it is taken.
const TAKING_MIB_MAX: u64 = 2 * 400;

#[test]
fn ringkeeper_takes_it_from_java() {
    comes_within_init_limit(Implementation::Java, Implementation::RingKeeper);
}

#[test]
fn ringkeeper_takes_it_from_java_3_8() {
    comes_within_init_limit(Implementation::Java38, Implementation::RingKeeper);
}

#[test]
fn java_takes_it_from_ringkeeper() {
    comes_within_init_limit(Implementation::RingKeeper, Implementation::Java);
}

#[test]
fn java_3_8_takes_it_from_ringkeeper() {
    comes_within_init_limit(Implementation::RingKeeper, Implementation::Java38);
}

fn comes_within_init_limit(two: Implementation, third: Implementation) {
    let plan = Plan::new(two, 3).with(3, third).recorded().java_heap_mib(3_000);
    let plan = plan.set("tickTime", "2000").set("initLimit", "10").set("syncLimit", "5");
    let mut cluster = plan.set("forceSnapshotSync", "true").prepare();
    cluster.start(1);
    cluster.start(2);
    cluster.await_serving();
    assert_eq!(cluster.leader(), 2);
    fill(cluster.address(2));
    let ours: Vec<u8> =
        [2, 3].into_iter().filter(|id| cluster.implementation_of(*id) == Implementation::RingKeeper).collect();
    let leads = ours.contains(&2);
    if leads {
        write_image(&cluster, 2);
    }
    let before = if leads { memory_bytes(cluster.pid(2), "RssAnon:") >> 20 } else { 0 };

    let load = Load::begin(&[cluster.address(1), cluster.address(2)], 4);
    let churn = Churn::begin(cluster.address(1), PER_DIRECTORY);
    load.progress(200);
    let since = cluster.wire().now();
    let begun = Instant::now();
    cluster.start(3);
    let watch = Watch::begin(&cluster, &ours);
    until_within(PATIENCE, "it is in step", || cluster.mode(3) == Some(Mode::Follower));
    let took = begun.elapsed();
    let most = watch.most_mib()[0];
    drop(churn);

    let links = cluster.wire().synced(3, since);
    let link = links.last().expect("it is in step");
    let sync = link.sync().expect("one of the three comes before UPTODATE");
    let state = sync.state.expect("the state came whole");
    println!(
        "{} leads, {} learns: {state:?}, follows after {:.1} s, {} writes, the longest gap {:?}, memory {before} MiB before, {most} at the most",
        two.name(),
        third.name(),
        took.as_secs_f64(),
        load.acknowledged(),
        load.longest_gap(),
    );
    assert_eq!((link.leader, sync.kind, state.orphans), (2, PacketType::Snap, 0), "parents come first");
    assert!(state.nodes > ZNODES as u64, "{state:?}");
    let attempts = cluster.wire().links(since).iter().filter(|link| link.learner == 3 && link.sync().is_some()).count();
    assert_eq!(attempts, 1, "the leader gives up a learner that takes longer than initLimit");
    assert!(if leads { most < before + SENDING_MIB_MAX } else { most < TAKING_MIB_MAX }, "{before} to {most} MiB");
    load.progress(200);
    load.finish(&mut cluster);
    digests_agree(&cluster);
    assert_no_mismatch(&cluster);
    cluster.stop_all();
}

/// A server of ours sends its newest image, and from the log what came behind it: of a million znodes, this one.
fn write_image(cluster: &Cluster, id: u8) {
    let data_dir = cluster.data_dir(id);
    let status = Command::new(binary("rkctl")).arg("--data-dir").arg(data_dir).args(["snapshot", "take"]).status();
    assert!(status.expect("rkctl runs").success());
    let znodes = |line: &str| line.split_once("znodes=")?.1.split(' ').next()?.parse::<usize>().ok();
    until_within(PATIENCE, "an image of all", || {
        cluster.log(id).lines().filter(|line| line.contains("image written")).filter_map(znodes).any(|all| all > ZNODES)
    });
}

/// `/many/0` … for the churn, and the rest beside them.
fn fill(server: SocketAddr) {
    let mut connection = connect(server);
    let mut tops = vec!["/many".to_owned(), "/big".to_owned()];
    tops.extend((0..ZNODES / PER_DIRECTORY).map(|at| format!("/big/{at}")));
    tops.chunks(PER_DIRECTORY).for_each(|paths| queue(&mut connection, paths, b""));
    take(&mut connection, tops.len().div_ceil(PER_DIRECTORY));
    let mut waiting = 0;
    for directory in
        std::iter::once("/many".to_owned()).chain((0..ZNODES / PER_DIRECTORY).map(|at| format!("/big/{at}")))
    {
        let paths: Vec<String> = (0..PER_DIRECTORY).map(|at| format!("{directory}/{at}")).collect();
        queue(&mut connection, &paths, &[b'x'; DATA_BYTES]);
        waiting += 1;
        if waiting == WINDOW {
            take(&mut connection, 1);
            waiting -= 1;
        }
    }
    take(&mut connection, waiting);
    connection.close().expect("it serves");
}

fn queue(connection: &mut Connection, paths: &[String], data: &[u8]) {
    let acl = AclList::open();
    let create = |path| CreateRequest {
        path,
        data: Some(data),
        acl: acl.as_vec(),
        flags: CreateMode::Persistent as i32,
        ttl_ms: None,
    };
    let ops = paths.iter().map(|path| MultiOp::Create(OpCode::Create, create(path))).collect();
    connection.queue(&Request::Multi(MultiRequest { ops }));
    connection.flush().expect("it serves");
}

fn take(connection: &mut Connection, multis: usize) {
    for _ in 0..multis {
        connection.recv_reply().expect("it serves").ok().expect("they are created");
    }
}
