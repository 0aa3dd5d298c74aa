//! What Java's leader predicts wrongly: its own servers say so and go on, and so do ours.

use super::figure;
use crate::load::{connect, trees_agree};
use client::{AclList, Operations};
use proto::OpCode;
use proto::request::{CreateMode, CreateRequest, Request};
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::until;

fn mismatches(cluster: &Cluster, id: u8) -> Option<u64> {
    figure(cluster, id, "digest_mismatches_count")
}

#[test]
fn a_digest_that_a_java_leader_predicts_wrongly_is_counted_and_nothing_else() {
    let mut cluster = Plan::new(Implementation::Java, 3).with(3, Implementation::RingKeeper).prepare();
    cluster.start(1);
    cluster.start(2);
    cluster.await_serving();
    cluster.start(3);
    cluster.await_serving();
    assert_eq!(mismatches(&cluster, 3), Some(0));
    let mut client = connect(cluster.address(2));
    let acl = AclList::open();
    // A container by its flag: Java predicts a persistent znode's digest.
    let (acl, flags) = (acl.as_vec(), CreateMode::Container as i32);
    let create = CreateRequest { path: "/container", data: Some(b""), acl, flags, ttl_ms: None };
    client.roundtrip(&Request::Create(OpCode::Create, create)).expect("it serves").ok().expect("it is created");
    client.create("/right-again", b"", CreateMode::Persistent).expect("it serves");
    client.close().expect("it serves");
    until("it has come to it", || mismatches(&cluster, 3) == Some(1));
    let log = cluster.log(3);
    let told = log.lines().filter(|line| line.contains("the digest that the Java leader predicts")).count();
    assert_eq!(told, 1, "{log}");
    // What is in its log does not hold it up, and is handed on when it leads.
    cluster.kill9(3);
    cluster.start(3);
    cluster.await_serving();
    cluster.kill9(2);
    until("it leads", || cluster.leads() == Some(3));
    cluster.start(2);
    cluster.await_serving();
    trees_agree(&cluster);
    cluster.stop_all();
}
