//! Moments at which one side must not believe the other: zxids that come twice or not at all, servers that come back with nothing or from an older epoch.

use super::packets::assert_ours_are_in_order;
use super::{came_with_diff, led_by_2};
use crate::load::{Load, connect, trees_agree};
use client::AclList;
use proto::quorum::PacketType;
use proto::request::CreateMode;
use proto::{OpCode, Writer};
use ringkeeper_tests::cluster::{Cluster, Implementation, Link, Mode, Plan, Trick, zxids};
use ringkeeper_tests::{until, until_within};
use std::fs;
use std::time::Duration;

/// How long a server may take to notice, look for a leader and be brought into step.
const COMES_BACK: Duration = Duration::from_secs(60);

/// Servers 1 and 2 are of one kind, the second leads; 3 is of the other.
fn two_and_one(two: Implementation, third: Implementation) -> Cluster {
    led_by_2(Plan::new(two, 3).with(3, third).recorded().prepare())
}

#[test]
fn a_packet_of_a_java_leader_that_comes_twice_or_not_at_all_costs_no_txn() {
    let mut cluster = two_and_one(Implementation::Java, Implementation::RingKeeper);
    let load = Load::begin(&cluster.addresses(), 4);
    for trick in [
        Trick::Twice(PacketType::Proposal),
        Trick::Twice(PacketType::Commit),
        Trick::LeftOut(PacketType::Commit),
        Trick::LeftOut(PacketType::Proposal),
    ] {
        load.progress(100);
        let since = cluster.wire().now();
        cluster.wire().play(2, 3, trick);
        until("the trick is played", || cluster.wire().is_played(2, 3));
        // It notices by what comes next.
        joins_anew(&mut cluster, since, trick);
        load.progress(100);
    }
    load.finish(&mut cluster);
    trees_agree(&cluster);
    cluster.stop_all();
}

/// Waits until server 3 is brought into step by a link that has begun since.
fn joins_anew(cluster: &mut Cluster, since: u64, trick: Trick) {
    until_within(COMES_BACK, &format!("{trick:?} is noticed, and server 3 brought into step"), || {
        cluster
            .wire()
            .synced(3, since)
            .last()
            .is_some_and(|link| link.packets.first().is_some_and(|first| first.number >= since))
    });
    cluster.await_serving();
    assert_eq!(cluster.mode(3), Some(Mode::Follower), "{trick:?}");
}

/// An ACK that comes twice says nothing new, and is borne. One for a zxid that nobody has proposed, or after one that is missing, counts for nothing: the leader ends the link, the
/// learner joins anew, and the office goes on. (A Java leader bears the second as well, with a line in its log, and ends the third's link once syncLimit has passed.)
#[test]
fn an_ack_of_a_java_learner_that_comes_twice_early_or_not_at_all_commits_nothing() {
    const ACK: PacketType = PacketType::Ack;
    for java in [Implementation::Java, Implementation::Java38] {
        let mut cluster = two_and_one(Implementation::RingKeeper, java);
        let epoch = epoch_told(cluster.wire().synced(3, 0).last().expect("it is in step"));
        let load = Load::begin(&cluster.addresses(), 4);
        for (trick, is_borne) in [(Trick::Twice(ACK), true), (Trick::Early(ACK), false), (Trick::LeftOut(ACK), false)] {
            load.progress(100);
            let since = cluster.wire().now();
            cluster.wire().play(3, 2, trick);
            until("the trick is played", || cluster.wire().is_played(3, 2));
            if is_borne {
                load.progress(200);
                assert!(cluster.wire().synced(3, since).is_empty(), "{trick:?}: server 3 has joined anew");
            } else {
                joins_anew(&mut cluster, since, trick);
            }
            load.progress(100);
        }
        let links = cluster.wire().synced(3, 0);
        let epochs: Vec<u32> = links.iter().map(epoch_told).collect();
        assert_eq!(epochs, [epoch; 3], "server 2 leads all the while, and server 3 has joined twice more");
        assert_eq!(cluster.log(2).matches("an ACK out of order").count(), 2, "{}", cluster.log(2));
        assert_ours_are_in_order(&cluster, 0);
        load.finish(&mut cluster);
        trees_agree(&cluster);
        cluster.stop_all();
    }
}

/// The leader's epoch, as NEWLEADER tells it.
fn epoch_told(link: &Link) -> u32 {
    let told = zxids(link, PacketType::NewLeader);
    told.first().expect("it is in step").epoch().0
}

#[test]
fn a_server_that_was_wiped_gets_everything_from_a_leader_of_the_other_kind() {
    for (two, third) in
        [(Implementation::Java, Implementation::RingKeeper), (Implementation::RingKeeper, Implementation::Java)]
    {
        let mut cluster = two_and_one(two, third);
        let load = Load::begin(&cluster.addresses(), 4);
        load.progress(200);
        cluster.kill9(3);
        fs::remove_dir_all(cluster.data_dir(3)).expect("its data");
        load.progress(200);
        let since = cluster.wire().now();
        cluster.start(3);
        cluster.await_serving();
        let links = cluster.wire().synced(3, since);
        let link = links.last().expect("it is in step");
        let sync = link.sync().expect("one of the three comes before UPTODATE");
        println!("{} leads, {} was wiped: {sync:?}", two.name(), third.name());
        if two.is_java() {
            assert_eq!(sync.kind, PacketType::Snap, "{sync:?}");
            assert!(sync.state.is_some(), "the state came whole");
        } else {
            // The log of ours goes back to the first txn.
            assert_eq!(sync.kind, PacketType::Diff, "{sync:?}");
            let came = came_with_diff(link);
            assert!(came.iter().map(|zxid| zxid.counter()).eq(1..=u32::try_from(came.len()).expect("few")), "{came:?}");
            assert!(came.len() > 400, "all that was acknowledged while and before it was away: {} txns", came.len());
        }
        load.progress(200);
        load.finish(&mut cluster);
        trees_agree(&cluster);
        cluster.stop_all();
    }
}

#[test]
fn a_server_that_has_missed_two_epochs_comes_back() {
    for (two, third) in
        [(Implementation::Java, Implementation::RingKeeper), (Implementation::RingKeeper, Implementation::Java)]
    {
        let mut cluster = two_and_one(two, third);
        let load = Load::begin(&cluster.addresses(), 4);
        load.progress(100);
        cluster.stop(3);
        for _ in 0..2 {
            load.progress(100);
            cluster.stop_all_but(3);
            [1, 2].into_iter().for_each(|id| cluster.start(id));
            cluster.await_serving();
        }
        load.progress(100);
        let since = cluster.wire().now();
        cluster.start(3);
        cluster.await_serving();
        let links = cluster.wire().synced(3, since);
        let link = links.last().expect("it is in step");
        let said = link.of(PacketType::FollowerInfo).filter_map(|packet| packet.zxid.zxid()).next();
        let accepted = said.expect("it follows").epoch().0;
        let sync = link.sync().expect("one of the three comes before UPTODATE");
        println!("{} leads, {} was away since epoch {accepted}: {sync:?}", two.name(), third.name());
        assert!(epoch_told(link) >= accepted + 2, "epoch {} after {accepted}", epoch_told(link));
        load.progress(100);
        load.finish(&mut cluster);
        trees_agree(&cluster);
        cluster.stop_all();
    }
}

/// A multi whose one create has no path: no usual client sends it.
fn multi_without_a_path() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    writer.int(1);
    writer.int(OpCode::Multi as i32);
    let header = |writer: &mut Writer<'_>, op, is_over| {
        writer.int(op);
        writer.bool(is_over);
        writer.int(-1);
    };
    header(&mut writer, OpCode::Create as i32, false);
    writer.string_or_null(None);
    writer.buffer(Some(b""));
    let acl = AclList::open();
    acl.as_vec().write(&mut writer);
    writer.int(CreateMode::Persistent as i32);
    header(&mut writer, -1, true);
    bytes
}

#[test]
fn zxids_that_a_java_3_8_leader_gives_to_no_txn_are_missing_to_nobody() {
    let mut cluster = two_and_one(Implementation::Java38, Implementation::RingKeeper);
    // The server that has met such a request answers its own clients no more: here the leader.
    let mut clients = [(); 3].map(|()| connect(cluster.address(2)));
    let load = Load::begin(&[cluster.address(1), cluster.address(3)], 4);
    load.progress(100);
    let since = cluster.wire().now();
    for client in &mut clients {
        client.send_frame(&multi_without_a_path()).expect("it serves");
        load.progress(50);
    }
    let links = cluster.wire().links(since);
    let proposed = links.iter().filter(|link| link.learner == 3).flat_map(|link| zxids(link, PacketType::Proposal));
    let proposed: Vec<_> = proposed.collect();
    let gaps = proposed.windows(2).filter(|pair| pair[1] != pair[0].next()).count();
    assert!(gaps > 0, "no zxid was left out: {proposed:?}");
    assert!(cluster.wire().synced(3, since).is_empty(), "server 3 has joined anew");
    assert_eq!(cluster.log(3).matches("the leader has no txn between these").count(), 1, "{}", cluster.log(3));
    // It leads with such a history, and a server of the former leader's kind learns it: server 1 misses the last txns, or it could have one more and be elected.
    cluster.wire().hold(1, 2);
    load.progress(100);
    cluster.kill9(2);
    until_within(COMES_BACK, "it leads", || cluster.leads() == Some(3));
    cluster.wire().let_go();
    load.progress(100);
    cluster.start(2);
    cluster.await_serving();
    load.progress(100);
    load.finish(&mut cluster);
    trees_agree(&cluster);
    cluster.stop_all();
}
