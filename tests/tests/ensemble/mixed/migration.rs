//! An ensemble becomes another implementation's, one server at a time, under load and with sessions that stay; as `docs/migration.md` tells it, and the page's own blocks.
//!
//! On the way in each server takes its data along (`version-2` is imported), on the way back too (`rkctl export`): what it has acknowledged it never forgets.

use super::keepers::Keepers;
use super::{assert_no_mismatch, figure};
use crate::load::{Load, digests_agree, trees_agree, zxid_of};
use crate::page;
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::{binary, until};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Writes between two steps.
const WRITES: u64 = 300;
/// Sessions that stay.
const KEEPERS: u64 = 6;

#[test]
fn an_ensemble_of_java_becomes_ringkeepers_and_javas_again() {
    there_and_back(Implementation::Java, false);
}

#[test]
fn an_ensemble_of_java_3_8_becomes_ringkeepers_and_javas_again() {
    there_and_back(Implementation::Java38, true);
}

/// With logs in directories of their own, or beside the snapshots.
fn there_and_back(java: Implementation, has_log_dirs: bool) {
    let mut cluster = Plan::new(java, 3).set("tickTime", "1000").prepare();
    for id in cluster.ids() {
        if has_log_dirs {
            set_log_dir(&mut cluster, id);
        }
        cluster.start(id);
    }
    cluster.await_serving();
    let load = Load::begin(&cluster.addresses(), 4);
    let keepers = Keepers::begin(&cluster.addresses(), usize::try_from(KEEPERS).expect("few"));
    load.progress(WRITES);
    // What it is measured by: a rolling restart of Java's.
    let restart = one_by_one(&mut cluster, &load, |cluster, id| {
        cluster.stop(id);
        cluster.start(id);
        cluster.await_serving();
    });
    let moved = keepers.moved();
    let there = replace_all(&mut cluster, &load, Implementation::RingKeeper, has_log_dirs);
    // Wherever a session was, that server has stopped.
    until("each session has gone elsewhere", || keepers.moved() >= moved + KEEPERS);
    digests_agree(&cluster);
    assert_no_mismatch(&cluster);
    let moved = keepers.moved();
    let back = replace_all(&mut cluster, &load, java, has_log_dirs);
    until("each session has gone elsewhere again", || keepers.moved() >= moved + KEEPERS);
    let kept = keepers.finish();
    load.finish(&mut cluster);
    trees_agree(&cluster);
    println!(
        "{}: the longest gaps between acknowledged writes: {restart:?} in a rolling restart of Java's, {there:?} on the way to RingKeeper, {back:?} on the way back; \
         {} sessions lost, {} times one went to another server",
        java.name(),
        kept.lost,
        kept.moved
    );
    assert_eq!(kept.lost, 0, "no session is lost");
    assert_no_mismatch(&cluster);
    cluster.stop_all();
}

/// Followers first, the leader last; all in step between two. Gives the longest gap between acknowledged writes.
fn one_by_one(cluster: &mut Cluster, load: &Load, mut what: impl FnMut(&mut Cluster, u8)) -> Duration {
    load.longest_gap();
    let leader = cluster.leader();
    let mut ids = cluster.ids();
    ids.sort_by_key(|id| *id == leader);
    for id in ids {
        what(cluster, id);
        load.progress(WRITES);
        let leader = cluster.leader();
        until("two are in step", || figure(cluster, leader, "synced_followers") == Some(2));
        println!("{id} is {}'s, {leader} leads", cluster.implementation_of(id).name());
    }
    load.longest_gap()
}

fn replace_all(cluster: &mut Cluster, load: &Load, next: Implementation, has_log_dirs: bool) -> Duration {
    one_by_one(cluster, load, |cluster, id| {
        let before = cluster.data_dir(id);
        let had = zxid_of(cluster, id).expect("it serves").0;
        cluster.stop(id);
        cluster.replace(id, next);
        let after = cluster.data_dir(id);
        let mut both = vec![(before.clone(), after.clone())];
        if has_log_dirs {
            both.push((log_dir(&before), log_dir(&after)));
            set_log_dir(cluster, id);
        }
        if next.is_java() {
            // What was there before the way in is history.
            for (_, after) in &both {
                let aside = format!("{}-before", after.display());
                std::fs::rename(after, aside).expect("it can be set aside");
            }
            let mut export = Command::new(binary("rkctl"));
            export.arg("--data-dir").arg(&before).arg("export").arg(&after);
            if has_log_dirs {
                export.arg("--data-log-dir").arg(log_dir(&before));
            }
            run(&mut export);
        } else {
            for (before, after) in &both {
                std::fs::create_dir_all(after).expect("a directory for its data");
                run(Command::new("cp").arg("-a").arg(before.join("version-2")).arg(after));
            }
        }
        cluster.start(id);
        cluster.await_serving();
        // Of itself, whatever the leader gave it since: a server that forgets might vote.
        let took = if next.is_java() { exported(&after) } else { imported(&cluster.log(id)) };
        assert!(took >= had, "{id} was at {had:x}, and began as {}'s with {took:x}", next.name());
    })
}

/// Up to where a server of ours has imported, as its log says.
fn imported(log: &str) -> u64 {
    let line = log.lines().rfind(|line| line.contains(" imported ")).expect("it has imported");
    let (_, zxid) = line.split_once("zxid=0x").expect("a zxid");
    hex(zxid.split(' ').next().unwrap_or(zxid))
}

/// Up to where the oldest snapshot of a Java server reaches: the one that was written for it.
fn exported(data_dir: &Path) -> u64 {
    let entries = std::fs::read_dir(data_dir.join("version-2")).expect("what was exported");
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| Some(hex(name.strip_prefix("snapshot.")?))).min().expect("a snapshot")
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("a zxid")
}

/// Beside a data directory, for its log.
fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}

fn set_log_dir(cluster: &mut Cluster, id: u8) {
    let dir = log_dir(&cluster.data_dir(id)).display().to_string();
    cluster.set_own(id, "dataLogDir", &dir);
}

fn run(command: &mut Command) {
    let output = command.output().expect("it can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The page, from a Java ensemble to one of RingKeeper's, and back.
#[test]
fn the_page_is_what_it_says() {
    let blocks = page::blocks_of("migration.md", "Tried on one machine");
    assert!(
        Path::new("/usr/share/zookeeper/bin/zkCli.sh").exists(),
        "apt install zookeeper: the page's servers are its"
    );
    let [start, who, begin, server, leader, back, end] = blocks.as_slice() else {
        panic!("the page has other blocks: {blocks:#?}")
    };
    // What is there before must be there after, and show in which server's words: a znode by ZooKeeper's own shell.
    let script = format!(
        r#"
shell() {{ /usr/share/zookeeper/bin/zkCli.sh -server 127.0.0.1:218$1 "${{@:2}}" > shell 2>&1 || true; }}
there() {{ for i in 1 2 3; do shell $i get /from-before; grep -x "$1" shell || {{ cat shell >&2; return 1; }}; done; }}
javas() {{ for i in 1 2 3; do word $i srvr; done | grep -c '^Zookeeper version: 3\.8\.0[-,]' || true; }}
javas_are() {{ until_so are 'follower follower leader'; [ "$(javas)" = $1 ]; echo "$1 of Java's"; }}
{start}
{who}
until_so are 'follower follower leader'
javas_are 3
shell 1 create /from-before by-java
{begin}
for i in $followers; do
  eval "$(cat <<'BLOCK'
{server}
BLOCK
)"
  until_so in_step
done
{leader}
until_so in_step
grep -l 'clients are served' log* | wc -l
javas_are 0
there by-java
shell 2 set /from-before by-ringkeeper
for i in 1 2 3; do
  eval "$(cat <<'BLOCK'
{back}
BLOCK
)"
  until_so in_step
done
javas_are 3
there by-ringkeeper
{end}
"#
    );
    let printed = page::run(&script);
    assert!(printed.contains("\n3\n"), "three of ours have served:\n{printed}");
    let lines =
        |wanted: &[&str]| printed.lines().filter(|line| wanted.contains(line)).map(str::to_owned).collect::<Vec<_>>();
    let counts = lines(&["3 of Java's", "0 of Java's"]);
    assert_eq!(counts, ["3 of Java's", "0 of Java's", "3 of Java's"], "how many say that they are 3.8.0:\n{printed}");
    let (java, ours) = (["by-java"; 3].as_slice(), ["by-ringkeeper"; 3].as_slice());
    assert_eq!(lines(&["by-java", "by-ringkeeper"]), [java, ours].concat(), "at each of three servers:\n{printed}");
}
