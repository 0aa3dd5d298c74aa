//! An ensemble becomes another implementation's, one server at a time, under load and with sessions that stay; as `docs/migration.md` tells it, and the page's own blocks.
//!
//! On the way in each server takes its data along (`version-2` is imported), on the way back too (`rkctl export`): what it has acknowledged it never forgets.

use super::figure;
use super::keepers::Keepers;
use crate::load::{Load, digests_agree, trees_agree};
use crate::page;
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::{binary, until};
use std::process::Command;
use std::time::Duration;

/// Writes between two steps.
const WRITES: u64 = 300;

#[test]
fn an_ensemble_of_java_becomes_ringkeepers_and_javas_again() {
    there_and_back(Implementation::Java);
}

#[test]
fn an_ensemble_of_java_3_8_becomes_ringkeepers_and_javas_again() {
    there_and_back(Implementation::Java38);
}

fn there_and_back(java: Implementation) {
    let mut cluster = Plan::new(java, 3).set("tickTime", "1000").start();
    let load = Load::begin(&cluster.addresses(), 4);
    let keepers = Keepers::begin(&cluster.addresses(), 6);
    load.progress(WRITES);
    // What it is measured by: an election of Java's.
    load.longest_gap();
    let leader = cluster.leader();
    cluster.stop(leader);
    load.progress(WRITES);
    let election = load.longest_gap();
    cluster.start(leader);
    cluster.await_serving();
    let there = replace_all(&mut cluster, &load, Implementation::RingKeeper);
    digests_agree(&cluster);
    let back = replace_all(&mut cluster, &load, java);
    let kept = keepers.finish();
    load.finish(&mut cluster);
    trees_agree(&cluster);
    println!(
        "{}: the longest gaps between acknowledged writes: {election:?} at an election of Java's, {there:?} on the way to RingKeeper, {back:?} on the way back; \
         {} sessions lost, {} times one went to another server",
        java.name(),
        kept.lost,
        kept.moved
    );
    assert_eq!(kept.lost, 0, "no session is lost");
    cluster.stop_all();
}

/// Followers first, the leader last. Gives the longest gap between acknowledged writes.
fn replace_all(cluster: &mut Cluster, load: &Load, next: Implementation) -> Duration {
    load.longest_gap();
    let leader = cluster.leader();
    let mut ids = cluster.ids();
    ids.sort_by_key(|id| *id == leader);
    for id in ids {
        let before = cluster.data_dir(id);
        cluster.stop(id);
        cluster.replace(id, next);
        let after = cluster.data_dir(id);
        if next.is_java() {
            // What was there before the way in is history.
            let aside = after.with_extension("before");
            std::fs::rename(&after, &aside).expect("it can be set aside");
            run(Command::new(binary("rkctl")).arg("--data-dir").arg(&before).arg("export").arg(&after));
        } else {
            std::fs::create_dir_all(&after).expect("a directory for its data");
            run(Command::new("cp").arg("-a").arg(before.join("version-2")).arg(&after));
        }
        cluster.start(id);
        cluster.await_serving();
        load.progress(WRITES);
        let leader = cluster.leader();
        until("two are in step", || figure(cluster, leader, "synced_followers") == Some(2));
        println!("{id} is {}'s, {leader} leads", next.name());
    }
    load.longest_gap()
}

fn run(command: &mut Command) {
    let output = command.output().expect("it can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The page, from a Java ensemble to one of RingKeeper's, and back.
#[test]
fn the_page_is_what_it_says() {
    let blocks = page::blocks_of("migration.md", "Tried on one machine");
    let [start, who, begin, server, leader, back, _end] = blocks.as_slice() else {
        panic!("the page has other blocks: {blocks:#?}")
    };
    let script = format!(
        r#"
{start}
{who}
until_so are 'follower follower leader'
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
for i in 1 2 3; do
  eval "$(cat <<'BLOCK'
{back}
BLOCK
)"
  until_so in_step
done
kill $(cat pid1 pid2 pid3)
"#
    );
    let printed = page::run(&script);
    assert!(printed.contains("\n3\n"), "three of ours have served:\n{printed}");
}
