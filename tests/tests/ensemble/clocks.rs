//! Wall clocks that are wrong, by Debian's `faketime`: nobody expires for that, and nothing is lost. Times in Stats are the leader's affair.

use super::trial::Trial;
use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::until;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const DAY_MS: i64 = 86_400_000;

/// A clock that one server reads, and a test sets.
pub struct Clock(PathBuf);

impl Clock {
    /// That of a server which does not run yet. Only its wall clock: the monotonic one is never wrong.
    pub fn of(cluster: &mut Cluster, id: u8) -> Clock {
        let library = std::fs::read_dir("/usr/lib").expect("a system has it").flatten();
        let library = library.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
        let library = library.expect("faketime is installed (apt-get install faketime)");
        let clock = Clock(cluster.data_dir(id).with_file_name("clock"));
        clock.set("+0");
        let (library, file) = (library.display(), clock.0.display());
        cluster.wrap(
            id,
            &[
                "env",
                &format!("LD_PRELOAD={library}"),
                &format!("FAKETIME_TIMESTAMP_FILE={file}"),
                "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1",
                "DONT_FAKE_MONOTONIC=1",
            ],
        );
        clock
    }

    /// So far from the right time, as `faketime` writes it.
    pub fn set(&self, offset: &str) {
        let new: &Path = &self.0.with_extension("new");
        std::fs::write(new, format!("{offset}\n")).expect("the clock can be set");
        std::fs::rename(new, &self.0).expect("the clock can be set");
    }
}

#[test]
fn a_wall_clock_that_is_days_ahead_and_jumps_back_expires_nobody() {
    let mut cluster = Plan::new(Implementation::RingKeeper, 3).prepare();
    let clocks: Vec<Clock> = cluster.ids().into_iter().map(|id| Clock::of(&mut cluster, id)).collect();
    cluster.ids().into_iter().for_each(|id| cluster.start(id));
    cluster.await_serving();
    // It says nothing from now on, and a busy machine is done before its minute is over.
    let options = ConnectOptions { timeout_ms: 60_000, ..ConnectOptions::default() };
    let mut idle: Vec<Connection> = Vec::new();
    for id in cluster.ids() {
        let mut owner = Connection::connect(cluster.address(id), &options).expect("it serves");
        owner.create(&format!("/idle-{id}"), b"", CreateMode::Ephemeral).expect("it serves");
        idle.push(owner);
    }
    let mut trial = Trial::on(cluster, 21);
    for whom in [Cluster::leader, Cluster::follower] {
        let id = whom(&trial.cluster);
        for offset in ["+5d", "-5d", "+0"] {
            trial.act(&format!("the clock of {id}: {offset}"), |_| clocks[usize::from(id) - 1].set(offset));
            trial.progress();
        }
    }
    let mut reader = super::load::connect(trial.cluster.address(trial.cluster.follower()));
    reader.sync("/").expect("a quorum is there");
    for (owner, id) in idle.into_iter().zip(trial.cluster.ids()) {
        assert!(reader.exists(&format!("/idle-{id}"), false).expect("it serves").is_some(), "{id}: expired");
        owner.close().expect("it serves");
    }
    reader.close().expect("it serves");
    trial.finish();
}

#[test]
fn the_clock_of_the_leader_is_the_one_that_stats_show() {
    let mut cluster = Plan::new(Implementation::RingKeeper, 3).prepare();
    let clocks: Vec<Clock> = cluster.ids().into_iter().map(|id| Clock::of(&mut cluster, id)).collect();
    cluster.ids().into_iter().for_each(|id| cluster.start(id));
    cluster.await_serving();
    clocks[usize::from(cluster.leader()) - 1].set("+5d");
    let mut connection = super::load::connect(cluster.address(cluster.follower()));
    until("a time of the leader's", || {
        let path = connection.create("/at", b"", CreateMode::PersistentSequential).expect("it serves");
        let stat = connection.exists(&path, false).expect("it serves").expect("just created");
        stat.ctime - now_ms() > 4 * DAY_MS
    });
    // That of the server which leads next is the right one again.
    let leader = cluster.leader();
    cluster.stop(leader);
    let next = cluster.leader();
    let mut connection = super::load::connect(cluster.address(next));
    let path = connection.create("/at", b"", CreateMode::PersistentSequential).expect("it serves");
    let stat = connection.exists(&path, false).expect("it serves").expect("just created");
    assert!((stat.ctime - now_ms()).abs() < DAY_MS, "{stat:?}");
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time of today");
    i64::try_from(since.as_millis()).expect("a time of today")
}
