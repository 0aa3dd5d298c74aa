//! How a server that was away is brought into step: each way is taken when it should be, as the servers' logs tell, and nothing is lost on it.
//!
//! These read RingKeeper's log, so they run on RingKeeper alone.

use super::load::{Load, digests_agree, trees_agree, write_mib};
use super::trial::Trial;
use client::{AclList, Operations};
use proto::OpCode;
use proto::request::{CreateMode, CreateRequest, Request};
use ringkeeper_tests::cluster::{Cluster, Implementation, Mode, Plan};
use ringkeeper_tests::{until, until_within};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// More than the window that a leader keeps in memory, which is 64 MiB.
const MORE_THAN_THE_WINDOW_MIB: usize = 80;
/// Znodes of a state that takes a while.
const MANY: usize = 200_000;
/// Requests that wait for their answers at once.
const PIPELINED: usize = 1_000;
/// How long the loss of a peer may go unnoticed, and an election after it take.
const NOTICED: Duration = Duration::from_secs(60);

const FROM_MEMORY: &str = "a learner gets what it lacks from memory";
const FROM_LOG: &str = "sync=Log";
const STATE: &str = "sync=Snap";
const CUTS: &str = "a learner has more than this leader: it cuts that";
const TAKES: &str = "taking a whole state from the leader";
pub const TOOK: &str = "the leader's state is here, and durable";

/// What the servers have logged since a moment.
pub struct Since(Vec<usize>);

impl Since {
    pub fn now(cluster: &Cluster) -> Since {
        Since(cluster.ids().into_iter().map(|id| cluster.log(id).len()).collect())
    }

    /// Lines of a server's log with these words.
    pub fn lines(&self, cluster: &Cluster, id: u8, words: &str) -> Vec<String> {
        let log = cluster.log(id);
        let since = self.0.get(usize::from(id) - 1).copied().unwrap_or(0);
        let new = log.get(since..).unwrap_or_default();
        new.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    fn anywhere(&self, cluster: &Cluster, words: &str) -> Vec<String> {
        cluster.ids().into_iter().flat_map(|id| self.lines(cluster, id, words)).collect()
    }

    /// # Panics
    /// If no server has such a line.
    fn assert_told(&self, cluster: &Cluster, words: &str) {
        assert!(!self.anywhere(cluster, words).is_empty(), "no server has logged: {words}");
    }

    fn assert_untold(&self, cluster: &Cluster, words: &str) {
        let lines = self.anywhere(cluster, words);
        assert!(lines.is_empty(), "{lines:#?}");
    }
}

fn plan() -> Plan {
    Plan::new(Implementation::RingKeeper, 3)
}

fn segments(cluster: &Cluster, id: u8) -> Vec<PathBuf> {
    let entries = fs::read_dir(cluster.data_dir(id).join("log")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.display().to_string().contains("/segment-")).collect();
    files.sort();
    files
}

#[test]
fn one_that_was_away_for_a_few_txns_gets_them_from_memory() {
    let mut trial = Trial::begin(plan(), 11);
    let away = trial.cluster.follower();
    trial.act(&format!("kill {away}"), |cluster| cluster.kill9(away));
    trial.progress();
    let since = Since::now(&trial.cluster);
    trial.act(&format!("start {away}"), |cluster| cluster.start(away));
    trial.cluster.await_serving();
    let leader = trial.cluster.leader();
    assert_eq!(since.lines(&trial.cluster, leader, FROM_MEMORY).len(), 1);
    since.assert_untold(&trial.cluster, FROM_LOG);
    since.assert_untold(&trial.cluster, STATE);
    trial.finish();
}

#[test]
fn one_that_lacks_more_than_the_leaders_memory_gets_it_from_the_log() {
    // An image comes meanwhile, and the log would go.
    let mut cluster = plan().set("autopurge.purgeInterval", "0").start();
    let load = Load::begin(&cluster.addresses(), 4);
    let (leader, away) = (cluster.leader(), cluster.follower());
    cluster.kill9(away);
    write_mib(cluster.address(leader), MORE_THAN_THE_WINDOW_MIB);
    let since = Since::now(&cluster);
    cluster.start(away);
    cluster.await_serving();
    assert_eq!(since.lines(&cluster, leader, FROM_LOG).len(), 1);
    since.assert_untold(&cluster, STATE);
    load.progress(100);
    load.finish(&mut cluster);
    trees_agree(&cluster);
}

#[test]
fn one_whose_directory_is_empty_gets_everything() {
    let mut trial = Trial::begin(plan(), 12);
    let away = trial.cluster.follower();
    trial.act(&format!("wipe {away}"), |cluster| {
        cluster.kill9(away);
        fs::remove_dir_all(cluster.data_dir(away)).expect("its data");
    });
    trial.progress();
    let since = Since::now(&trial.cluster);
    trial.act(&format!("start {away}"), |cluster| cluster.start(away));
    trial.cluster.await_serving();
    let told = [FROM_MEMORY, STATE].map(|words| since.anywhere(&trial.cluster, words).len());
    assert!(told.iter().sum::<usize>() > 0, "{told:?}");
    trial.finish();
}

#[test]
fn one_that_was_away_for_longer_than_the_log_is_kept_gets_the_whole_state() {
    let plan = plan().set("snapCount", "40").set("autopurge.purgeInterval", "1");
    let mut cluster = plan.start();
    let load = Load::begin(&cluster.addresses(), 4);
    let (leader, away) = (cluster.leader(), cluster.follower());
    write_mib(cluster.address(leader), 1);
    cluster.kill9(away);
    let first = segments(&cluster, leader).first().cloned().expect("a log has a segment");
    let mut rounds = 0;
    until_within(NOTICED, "the log is purged", || {
        write_mib(cluster.address(leader), MORE_THAN_THE_WINDOW_MIB / 2);
        rounds += 1;
        !first.exists() && rounds > 2
    });
    let since = Since::now(&cluster);
    cluster.start(away);
    cluster.await_serving();
    assert_eq!(since.lines(&cluster, leader, STATE).len(), 1);
    assert_eq!(since.lines(&cluster, away, TOOK).len(), 1);
    load.progress(100);
    load.finish(&mut cluster);
    trees_agree(&cluster);
}

#[test]
fn a_former_leader_cuts_what_it_alone_has() {
    let mut trial = Trial::begin(plan().apart(), 13);
    let former = trial.cluster.leader();
    let others: Vec<u8> = trial.cluster.ids().into_iter().filter(|id| *id != former).collect();
    // What the clients write at it from now on it alone has.
    trial.act(&format!("cut {former} off"), |cluster| others.iter().for_each(|other| cluster.cut(former, *other)));
    until_within(NOTICED, "another leads", || {
        others.iter().any(|other| trial.cluster.mode(*other) == Some(Mode::Leader))
    });
    trial.act(&format!("kill {former}"), |cluster| cluster.kill9(former));
    trial.progress();
    let since = Since::now(&trial.cluster);
    trial.act(&format!("heal, start {former}"), |cluster| {
        cluster.heal();
        cluster.start(former);
    });
    trial.cluster.await_serving();
    since.assert_told(&trial.cluster, CUTS);
    assert_eq!(since.lines(&trial.cluster, former, "cut the log").len(), 1);
    since.assert_untold(&trial.cluster, STATE);
    trial.finish();
}

#[test]
fn one_whose_log_is_damaged_sets_it_aside_and_takes_the_whole_state() {
    let mut trial = Trial::begin(plan(), 14);
    let away = trial.cluster.follower();
    trial.act(&format!("stop {away}"), |cluster| {
        cluster.stop(away);
    });
    trial.progress();
    flip_a_byte(segments(&trial.cluster, away).first().expect("a log has a segment"));
    let since = Since::now(&trial.cluster);
    trial.act(&format!("start {away} on a damaged log"), |cluster| cluster.start(away));
    trial.cluster.await_serving();
    assert_eq!(since.lines(&trial.cluster, away, "set-aside").len(), 1);
    assert_eq!(since.lines(&trial.cluster, away, TAKES).len(), 1);
    assert!(trial.cluster.data_dir(away).join("set-aside.1").exists(), "nothing is thrown away");
    trial.finish();
}

/// In the middle of what was written.
fn flip_a_byte(segment: &std::path::Path) {
    let bytes = fs::read(segment).expect("it can be read");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("something was written");
    let at = (end / 2..end).find(|at| bytes[*at] != 0).expect("something was written");
    println!("a byte of {} is flipped, at {at} of {end}", segment.display());
    let file = File::options().write(true).open(segment).expect("it can be written");
    file.write_all_at(&[bytes[at] ^ 1], u64::try_from(at).expect("small")).expect("it can be written");
}

#[test]
fn one_whose_log_directory_was_lost_takes_the_whole_state() {
    let mut cluster = plan().prepare();
    let log_dir = |cluster: &Cluster, id: u8| cluster.data_dir(id).with_file_name("log");
    for id in cluster.ids() {
        let dir = log_dir(&cluster, id);
        fs::create_dir_all(&dir).expect("a directory for its log");
        cluster.set_own(id, "dataLogDir", dir.to_str().expect("a temporary path is text"));
        cluster.start(id);
    }
    cluster.await_serving();
    let load = Load::begin(&cluster.addresses(), 4);
    load.progress(200);
    let away = cluster.follower();
    cluster.kill9(away);
    fs::remove_dir_all(log_dir(&cluster, away)).expect("its log");
    fs::create_dir_all(log_dir(&cluster, away)).expect("a directory for its log");
    load.progress(200);
    let since = Since::now(&cluster);
    cluster.start(away);
    cluster.await_serving();
    assert_eq!(since.lines(&cluster, away, TAKES).len(), 1);
    load.finish(&mut cluster);
    trees_agree(&cluster);
}

/// An ensemble with many znodes, a follower of which lacks everything and does not run, under load.
fn many() -> (Cluster, Load, u8) {
    // Images that have them: the state that is sent is the leader's newest image, and what follows on it comes as txns.
    let cluster = plan().apart().set("snapCount", "50000").start();
    let mut connection = super::load::connect(cluster.address(cluster.leader()));
    connection.create("/many", b"", CreateMode::Persistent).expect("it serves");
    let acl = AclList::open();
    for at in (0..MANY).step_by(PIPELINED) {
        for at in at..at + PIPELINED {
            let path = format!("/many/{at}");
            let (data, acl, flags) = (Some(&[b'x'; 100][..]), acl.as_vec(), CreateMode::Persistent as i32);
            let create = CreateRequest { path: &path, data, acl, flags, ttl_ms: None };
            connection.queue(&Request::Create(OpCode::Create, create));
        }
        connection.flush().expect("it serves");
        for _ in 0..PIPELINED {
            connection.recv_reply().expect("it serves").ok().expect("it is created");
        }
    }
    connection.close().expect("it serves");
    let mut cluster = cluster;
    let load = Load::begin(&cluster.addresses(), 4);
    let away = cluster.follower();
    cluster.kill9(away);
    fs::remove_dir_all(cluster.data_dir(away).join("log")).expect("its log");
    load.progress(100);
    (cluster, load, away)
}

/// As [`many`], with that follower in the middle of taking the state; and since when.
fn many_in_the_middle() -> (Cluster, Load, u8, Since) {
    let (mut cluster, load, away) = many();
    let since = Since::now(&cluster);
    cluster.slow_to(away, "20mbit");
    cluster.start(away);
    until("it takes a state", || !since.lines(&cluster, away, TAKES).is_empty());
    std::thread::sleep(Duration::from_millis(500));
    assert!(since.lines(&cluster, away, TOOK).is_empty(), "it has it all already");
    (cluster, load, away, since)
}

#[test]
fn a_state_of_many_znodes_is_taken_under_load() {
    let (mut cluster, load, away) = many();
    let since = Since::now(&cluster);
    cluster.start(away);
    cluster.await_serving();
    assert_eq!(since.lines(&cluster, away, TOOK).len(), 1);
    load.progress(100);
    load.finish(&mut cluster);
}

#[test]
fn a_state_whose_link_is_cut_in_the_middle_is_taken_again() {
    let (mut cluster, load, away, since) = many_in_the_middle();
    let leader = cluster.leader();
    cluster.cut(leader, away);
    until_within(NOTICED, "it gives that up", || !since.lines(&cluster, away, "looking for a leader").is_empty());
    load.progress(100);
    cluster.heal();
    cluster.await_serving();
    assert_eq!(since.lines(&cluster, away, TOOK).len(), 1);
    load.finish(&mut cluster);
}

#[test]
fn a_state_whose_leader_dies_in_the_middle_comes_from_the_next() {
    let (mut cluster, load, away, since) = many_in_the_middle();
    let leader = cluster.leader();
    cluster.kill9(leader);
    cluster.heal();
    // The one that follows and the one that lacks everything are a quorum only if the latter need not vote by what it had.
    cluster.start(leader);
    cluster.await_serving();
    assert_eq!(since.lines(&cluster, away, TOOK).len(), 1);
    load.progress(100);
    load.finish(&mut cluster);
    digests_agree(&cluster);
}
