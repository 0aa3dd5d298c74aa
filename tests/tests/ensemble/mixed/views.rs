//! What clients of the one kind's servers see of writes through the other's: after a sync, by watches, in quotas and their counts; and the configuration, which is the same at all.
//!
//! Servers 1 and 2 are the leader's kind, and 2 leads; 3 is of the other.

use super::packets::assert_ours_are_in_order;
use super::{ACROSS, LEADER, OTHER, SAME, assert_no_mismatch, led_by_2, said};
use crate::load::{catch_up, connect, trees_agree};
use client::{ClientError, Connection, Event, Operations};
use proto::ErrorCode;
use proto::quorum::PacketType;
use proto::reply::Reply;
use proto::request::{CreateMode, ReadRequest, Request, SetDataRequest};
use proto::watch::{EventType, NO_ZXID};
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};

/// Writes each of which is read elsewhere at once.
const SYNCED_WRITES: usize = 100;

#[test]
fn of_ringkeeper_under_java() {
    views(Implementation::Java, Implementation::RingKeeper);
}

#[test]
fn of_ringkeeper_under_java_3_8() {
    views(Implementation::Java38, Implementation::RingKeeper);
}

#[test]
fn of_java_under_ringkeeper() {
    views(Implementation::RingKeeper, Implementation::Java);
}

#[test]
fn of_java_3_8_under_ringkeeper() {
    views(Implementation::RingKeeper, Implementation::Java38);
}

fn views(leader: Implementation, other: Implementation) {
    let plan = Plan::new(leader, 3).with(OTHER, other).set("enforceQuota", "true").recorded();
    let mut cluster = led_by_2(plan.prepare());
    let begun = cluster.wire().now();
    for (writer, reader) in ACROSS {
        // There a sync is only a read ([`catch_up`]).
        if !(reader == LEADER && leader.is_java()) {
            what_was_written_is_read_after_a_sync(&cluster, writer, reader);
        }
        each_watch_fires_once_and_in_order(&cluster, writer, reader);
        quotas_count_and_bound(&cluster, writer, reader);
    }
    the_configuration_is_the_same(&cluster);
    trees_agree(&cluster);
    assert_ours_are_in_order(&cluster, begun);
    assert_no_mismatch(&cluster);
    cluster.stop_all();
}

fn what_was_written_is_read_after_a_sync(cluster: &Cluster, writer: u8, reader: u8) {
    let path = format!("/synced-{writer}-{reader}");
    let (mut writes, mut reads) = (connect(cluster.address(writer)), connect(cluster.address(reader)));
    writes.create(&path, b"", CreateMode::Persistent).expect("it serves");
    // Nobody else asks its server.
    let syncs = || said(cluster, reader, [PacketType::Request, PacketType::Sync]);
    let before = syncs();
    for number in 0..SYNCED_WRITES {
        let data = number.to_string();
        let stat = writes.set(&path, data.as_bytes(), -1).expect("it serves");
        // Without a word between the two.
        reads.queue(&Request::Sync(&path));
        reads.queue(&Request::GetData(ReadRequest { path: &path, watch: false }));
        reads.flush().expect("it serves");
        reads.recv_reply().expect("it serves").ok().expect("a quorum is there");
        let reply = reads.recv_reply().expect("it serves");
        let Reply::DataStat(read, seen) = reply.record().expect("it is there") else { panic!("{reply:?}") };
        assert_eq!((read, seen), (Some(data.as_bytes()), stat), "written at {writer}, read at {reader}");
    }
    // Its leader is asked each time, unless it leads itself: mostly the server would have had the write without.
    let asked = if reader == LEADER { 0 } else { SYNCED_WRITES };
    assert_eq!(syncs(), before.map(|count| count + asked), "{path}");
    writes.close().expect("it ends");
    reads.close().expect("it ends");
}

/// A watch of each kind, on a connection of its own.
fn each_watch_fires_once_and_in_order(cluster: &Cluster, writer: u8, watcher: u8) {
    use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
    let top = format!("/watched-{writer}-{watcher}");
    let (below, deeper) = (format!("{top}/below"), format!("{top}/below/deeper"));
    let mut writes = connect(cluster.address(writer));
    writes.create(&top, b"", CreateMode::Persistent).expect("it serves");
    let watch = |set: &dyn Fn(&mut Connection)| {
        let mut connection = connect(cluster.address(watcher));
        catch_up(cluster, &mut connection);
        set(&mut connection);
        connection
    };
    let data = watch(&|connection| drop(connection.get(&top, true).expect("it is there")));
    let exists = watch(&|connection| assert!(connection.exists(&below, true).expect("it serves").is_none()));
    let children = watch(&|connection| drop(connection.children(&top, true).expect("it is there")));
    let persistent = watch(&|connection| connection.add_watch(&top, false).expect("it serves"));
    let recursive = watch(&|connection| connection.add_watch(&top, true).expect("it serves"));

    let set = |writes: &mut Connection, path: &str| writes.set(path, b"1", -1).expect("it serves").mzxid;
    let create = |writes: &mut Connection, path: &str| {
        writes.create(path, b"", CreateMode::Persistent).expect("it serves");
        writes.last_zxid()
    };
    let delete = |writes: &mut Connection, path: &str| {
        writes.delete(path, -1).expect("it serves");
        writes.last_zxid()
    };
    let set_top = set(&mut writes, &top);
    let create_below = create(&mut writes, &below);
    let set_below = set(&mut writes, &below);
    let create_deeper = create(&mut writes, &deeper);
    let delete_deeper = delete(&mut writes, &deeper);
    let delete_below = delete(&mut writes, &below);
    let set_again = set(&mut writes, &top);

    let (top, below, deeper) = (top.as_str(), below.as_str(), deeper.as_str());
    let wanted = [
        (data, vec![(NodeDataChanged, top, set_top)]),
        (exists, vec![(NodeCreated, below, create_below)]),
        (children, vec![(NodeChildrenChanged, top, create_below)]),
        (
            persistent,
            vec![
                (NodeDataChanged, top, set_top),
                (NodeChildrenChanged, top, create_below),
                (NodeChildrenChanged, top, delete_below),
                (NodeDataChanged, top, set_again),
            ],
        ),
        (
            recursive,
            vec![
                (NodeDataChanged, top, set_top),
                (NodeCreated, below, create_below),
                (NodeDataChanged, below, set_below),
                (NodeCreated, deeper, create_deeper),
                (NodeDeleted, deeper, delete_deeper),
                (NodeDeleted, below, delete_below),
                (NodeDataChanged, top, set_again),
            ],
        ),
    ];
    let has_zxids = cluster.implementation_of(watcher) != Implementation::Java38;
    for (mut connection, mut wanted) in wanted {
        // Events of what was written before come before its answer.
        catch_up(cluster, &mut connection);
        let events: Vec<Event> = connection.take_events();
        let had: Vec<_> =
            events.iter().map(|event| (event.kind().expect("known"), event.path.as_str(), event.zxid)).collect();
        if !has_zxids {
            wanted.iter_mut().for_each(|(.., zxid)| *zxid = NO_ZXID);
        }
        assert_eq!(had, wanted, "written at {writer}, watched at {watcher}");
        connection.close().expect("it ends");
    }
    writes.close().expect("it ends");
}

/// Set at the one, counted and enforced at both.
fn quotas_count_and_bound(cluster: &Cluster, one: u8, other: u8) {
    let top = format!("/quota-{one}-{other}");
    let quota = format!("/zookeeper/quota{top}");
    let (limits, stats) = (format!("{quota}/zookeeper_limits"), format!("{quota}/zookeeper_stats"));
    let (mut here, mut there) = (connect(cluster.address(one)), connect(cluster.address(other)));
    let soft = "count=2,bytes=5=;";
    let hard = "count=2,bytes=5=;countHardLimit=4;byteHardLimit=20";
    for (path, data) in [(&top, "12"), (&quota, ""), (&limits, soft), (&stats, "count=1,bytes=2")] {
        here.create(path, data.as_bytes(), CreateMode::Persistent).expect("it serves");
    }
    // A Java leader holds a write against what it has applied.
    let mut leaders = connect(cluster.address(LEADER));
    // Soft ones bound nobody.
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| format!("{top}/{name}"));
    there.create(&a, b"12345", CreateMode::Persistent).expect("a soft limit is exceeded");
    here.create(&b, b"12345", CreateMode::Persistent).expect("a soft limit is exceeded");
    counts(cluster, &mut [&mut here, &mut there, &mut leaders], &stats, "count=3,bytes=12");
    here.set(&limits, hard.as_bytes(), -1).expect("it serves");
    there.create(&c, b"12345", CreateMode::Persistent).expect("the limits are reached");
    counts(cluster, &mut [&mut here, &mut there, &mut leaders], &stats, "count=4,bytes=17");
    for client in [&mut here, &mut there] {
        let refused = client.create(&d, b"", CreateMode::Persistent);
        assert!(matches!(refused, Err(ClientError::Server(ErrorCode::QuotaExceeded))), "count: {refused:?}");
        let refused = client.set(&a, b"123456789", -1);
        assert!(matches!(refused, Err(ClientError::Server(ErrorCode::QuotaExceeded))), "bytes: {refused:?}");
    }
    // What goes makes room, at the other, too.
    there.delete(&b, -1).expect("it serves");
    counts(cluster, &mut [&mut leaders], &stats, "count=3,bytes=12");
    here.set(&a, b"123456789", -1).expect("there is room");
    here.create(&d, b"", CreateMode::Persistent).expect("there is room");
    let to_null = Request::SetData(SetDataRequest { path: &c, data: None, version: -1 });
    there.roundtrip(&to_null).expect("it serves").ok().expect("it is set");
    let mut all = [here, there, leaders];
    counts(cluster, &mut all.each_mut(), &stats, "count=4,bytes=11");
    for client in all {
        client.close().expect("it ends");
    }
}

fn counts(cluster: &Cluster, clients: &mut [&mut Connection], stats: &str, wanted: &str) {
    for client in clients {
        catch_up(cluster, client);
        let (data, _) = client.get(stats, false).expect("it is there");
        assert_eq!(String::from_utf8_lossy(&data), wanted, "{stats}");
    }
}

fn the_configuration_is_the_same(cluster: &Cluster) {
    let read = |id| {
        let mut client = connect(cluster.address(id));
        let (data, stat) = client.get("/zookeeper/config", false).expect("it is there");
        client.close().expect("it ends");
        (String::from_utf8(data).expect("it is a text"), stat.version)
    };
    let first = read(SAME);
    assert!(first.0.contains("server.3=") && first.0.contains("version="), "{first:?}");
    for id in cluster.ids() {
        assert_eq!(read(id), first, "{id}");
    }
}
