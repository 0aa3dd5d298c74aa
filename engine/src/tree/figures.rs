//! What freezing and the ways beside it take: figures for the documents, no tests. Run them alone:
//! `cargo test --profile ci -p ringkeeper-engine --lib -- --ignored --nocapture figures`.
#![allow(clippy::cast_precision_loss, reason = "figures")]

use super::{NewNode, Tree};
use proto::stat::EphemeralOwner;
use proto::{Acl, SessionId, Zxid};
use std::hint::black_box;
use std::time::Instant;

const COUNT: i64 = 100_000;

/// Times `f` over so many turns, in ns each.
fn ns_each(turns: i64, mut f: impl FnMut(i64)) -> f64 {
    let started = Instant::now();
    (0..turns).for_each(&mut f);
    started.elapsed().as_nanos() as f64 / turns as f64
}

fn own_acl(number: i64) -> [Acl; 1] {
    [Acl { scheme: "digest".into(), id: format!("user-{number}:hash").into(), ..Acl::open() }]
}

/// A tree with so many sessions and, below one directory, as many znodes with an ACL each of their own.
fn tree_with(count: i64) -> Tree {
    let mut tree = Tree::new();
    (0..count).for_each(|id| tree.put_session(SessionId(id), 30_000));
    create(&mut tree, "/d", &[Acl::open()], 1);
    (0..count).for_each(|number| create(&mut tree, &format!("/d/n{number:010}"), &own_acl(number), number));
    tree
}

fn create(tree: &mut Tree, path: &str, acl: &[Acl], cversion: i64) {
    let new = NewNode { path, data: None, acl, owner: EphemeralOwner::NONE };
    tree.create(&new, i32::try_from(cversion).unwrap(), Zxid(1), 1);
}

#[test]
#[ignore = "measures"]
fn what_freezing_takes() {
    for count in [0, 1_000, COUNT] {
        let mut tree = tree_with(count);
        let started = Instant::now();
        let frozen = tree.freeze();
        println!("freeze with {count} sessions and ACLs: {} ns", started.elapsed().as_nanos());
        black_box(frozen);
    }
}

#[test]
#[ignore = "measures"]
fn what_sessions_and_acls_take() {
    for round in 0..3 {
        let mut tree = tree_with(COUNT);
        let create_ns = ns_each(COUNT, |id| tree.put_session(SessionId(COUNT + id * 7_919 % COUNT), 30_000));
        let close_ns = ns_each(COUNT, |id| tree.remove_session(SessionId(COUNT + id * 104_729 % COUNT)));
        println!("round {round}: session create {create_ns:.0} ns, close {close_ns:.0} ns");
        let known = own_acl(7);
        let with_known = ns_each(COUNT, |n| create(&mut tree, &format!("/d/a{n:010}"), &known, n));
        let with_open = ns_each(COUNT, |n| create(&mut tree, &format!("/d/b{n:010}"), &[Acl::open()], n));
        let acls: Vec<_> = (0..COUNT).map(|n| own_acl(COUNT + n)).collect();
        let mut acls = acls.iter();
        let with_new = ns_each(COUNT, |n| create(&mut tree, &format!("/d/c{n:010}"), acls.next().unwrap(), n));
        println!(
            "round {round}: create with the open ACL {with_open:.0} ns, a known one {with_known:.0}, a new one {with_new:.0}"
        );
        let delete = ns_each(COUNT, |n| drop(tree.delete(&format!("/d/c{:010}", n * 7_919 % COUNT), Zxid(2))));
        println!("round {round}: delete with the last use of an ACL {delete:.0} ns");
    }
}

/// Processor time of this thread in ns, which other processes do not change much.
fn cpu_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[test]
#[ignore = "measures"]
fn what_the_longest_creates_take() {
    const CREATES: i64 = 2_000_000;
    let mut tree = Tree::new();
    create(&mut tree, "/d", &[Acl::open()], 1);
    let mut each: Vec<(i64, i64)> = Vec::with_capacity(2_000_000);
    for number in 0..CREATES {
        let path = format!("/d/n{number:010}");
        let started = cpu_ns();
        create(&mut tree, &path, &[Acl::open()], number);
        each.push((cpu_ns() - started, number));
    }
    each.sort_unstable();
    println!("{:?} ns and numbers of the longest creates of {CREATES}", each.iter().rev().take(12).collect::<Vec<_>>());
}
