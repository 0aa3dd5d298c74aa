//! The disk of one server is much slower than it was, by the kernel's throttle of block devices (blkio of cgroups version 1). The others go on at their pace,
//! nobody expires, what waits for that disk is bounded, and with the disk as it was all are in step.
//!
//! The disk is a small ext4 of its own, mounted through a loop device. That needs root; others are told that it is left out.

use super::disks::{await_follower, on_disk};
use super::load::{Load, connect, trees_agree, write_mib};
use super::memory::Watch;
use client::{Operations, Session, SessionEvent, SessionOptions};
use proto::request::CreateMode;
use ringkeeper_tests::cluster::Cluster;
use ringkeeper_tests::{Cgroup, LoopDisk, Pace};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// What such a disk can do: a tenth to a hundredth of what is usual.
pub const SLOW: Pace = Pace { writes: 40, bytes: 12 << 20 };
/// So many times slower it must be than it was, at the least.
const SLOWER: f64 = 10.0;
/// Its size; its file takes what is used of it.
const DISK_MIB: u64 = 4_096;
/// In KiB, and so large that no log needs its next segment while its disk is slow: a server takes no more than what certainly fits into those that it has, so
/// that what counts would be how soon the next is filled with zeroes, and not what waits.
const SEGMENT_KIB: &str = "262144";
/// How long is measured.
const MEASURED: Duration = Duration::from_secs(4);
/// Blocks in a probe of the disk.
const PROBE: u32 = 30;
/// What is written beside the load: much more than what may wait for a follower's log, which is 64 MiB (`PENDING_BYTES_MAX`), and for its link.
const BULK_MIB: usize = 400;
/// What is written where a leader's disk is slow: more than may wait for its log. From then on it takes no more than its disk does.
const LEADERS_BULK_MIB: usize = 120;
/// What a server may have: the window and what waits for its log (64 MiB each), and what it has without any of it.
const MEMORY_MIB_MAX: u64 = 64 + 64 + 112;
/// What the leader of a follower that is behind may have besides: what waits to be sent to it (`LinkLimits::output_bytes_max`).
const LINK_MIB_MAX: u64 = 256;

/// Small blocks in a second that a process of the group writes so that each is durable before the next, around the page cache as the log does.
fn blocks_per_s(disk: &LoopDisk, group: &Cgroup) -> f64 {
    let begun = Instant::now();
    let written = Command::new("sh")
        .args(["-c", &group.enter(), "sh", "dd", "if=/dev/zero", "bs=4k", "oflag=direct,dsync", "conv=notrunc"])
        .args([&format!("count={PROBE}"), &format!("of={}", disk.path().join("probe").display())])
        .output();
    assert!(written.expect("dd can be started").status.success(), "dd");
    f64::from(PROBE) / begun.elapsed().as_secs_f64()
}

/// Sessions at each of the servers that keep an ephemeral znode, and move where their server does not serve.
struct Owners(Vec<(String, Session, Receiver<SessionEvent>)>);

impl Owners {
    fn begin(servers: &[SocketAddr]) -> Owners {
        let own = |number: usize| {
            let mut servers = servers.to_vec();
            servers.rotate_left(number);
            let (mut session, events) = Session::connect(&SessionOptions::new(servers)).expect("it serves");
            let path = format!("/owner-{number}");
            session.create(&path, b"", CreateMode::Ephemeral).expect("it serves");
            (path, session, events)
        };
        Owners((0..servers.len()).map(own).collect())
    }

    fn assert_live(self, cluster: &Cluster) {
        let mut reader = connect(cluster.address(cluster.leader()));
        for (path, session, events) in self.0 {
            let told: Vec<SessionEvent> = events.try_iter().collect();
            assert!(!told.contains(&SessionEvent::Expired), "{path}: {told:?}");
            let stat = reader.exists(&path, false).expect("it serves").unwrap_or_else(|| panic!("{path} has expired"));
            assert_eq!(stat.ephemeral_owner, session.id(), "{path}");
            session.close().expect("it serves");
        }
    }
}

fn is_slow(leads: bool) {
    let Some(group) = Cgroup::of_disks() else { return };
    let Some(disk) = LoopDisk::in_memory(DISK_MIB) else { return };
    let fast = blocks_per_s(&disk, &group);
    let slowed = group.slow_down(&disk, SLOW);
    let slow = blocks_per_s(&disk, &group);
    println!("durable blocks a second: {fast:.0}, and {slow:.0} when it is slow");
    assert!(slow < fast / SLOWER, "the throttle does not bite");
    drop(slowed);

    let (mut cluster, id) = on_disk(leads, &disk, SEGMENT_KIB, &["sh", "-c", &group.enter(), "sh"]);
    let owners = Owners::begin(&cluster.addresses());
    // Who asks the follower whose disk is slow has its pace.
    let asked: Vec<SocketAddr> =
        cluster.ids().into_iter().filter(|other| leads || *other != id).map(|id| cluster.address(id)).collect();
    let load = Load::begin(&asked, 4);
    load.progress(200);
    let watch = Watch::begin(&cluster, &cluster.ids());
    let before = load.rate(MEASURED);
    let slowed = group.slow_down(&disk, SLOW);
    let writes = group.writes(&disk);
    let during = load.rate(MEASURED);
    let writes = group.writes(&disk) - writes;
    println!("slow, leads: {leads}: before {before:?}, during {during:?} with {writes} writes of that disk");
    assert!(during.per_s > before.per_s / 2.0, "the others are a quorum");
    assert!(during.slowest < MEASURED / 2, "no write waits for that disk");
    let writes_max = 2 * (SLOW.writes * MEASURED.as_secs());
    assert!((1..writes_max).contains(&writes), "{writes} writes: it is that server's log that is slow");
    write_mib(asked[0], if leads { LEADERS_BULK_MIB } else { BULK_MIB });
    let memory = watch.most_mib();
    println!("memory, MiB: {memory:?}");
    for (server, mib) in cluster.ids().into_iter().zip(&memory) {
        let has_link = !leads && cluster.leads() == Some(server);
        assert!(*mib < MEMORY_MIB_MAX + if has_link { LINK_MIB_MAX } else { 0 }, "server {server}: {memory:?} MiB");
    }
    assert_eq!(cluster.leads() == Some(id), leads, "nobody has been elected meanwhile");
    drop(slowed);
    let after = load.rate(MEASURED);
    println!("after {after:?}");
    if !leads {
        await_follower(&cluster, id);
    }
    load.finish(&mut cluster);
    owners.assert_live(&cluster);
    trees_agree(&cluster);
}

#[test]
fn a_follower_whose_disk_is_slow_holds_nobody_back_and_comes_into_step() {
    is_slow(false);
}

#[test]
fn a_leader_whose_disk_is_slow_does_not_hold_back_what_a_quorum_has() {
    is_slow(true);
}
