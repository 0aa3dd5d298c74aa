//! Law 7 for replies that are made beside the shards: a listing of thousands shows one state, however the tree goes on meanwhile.

use crate::{connect, create_all, server};
use client::{AclList, Connection, Operations};
use proto::OpCode;
use proto::request::{CreateMode, CreateRequest, MultiOp, PathVersion};
use std::sync::mpsc::{self, Receiver, Sender};

/// More than from which on a listing is made beside the shard (`engine::tree::LISTING_LONG`).
const CHILDREN: usize = 12_000;
/// Each of a later state than the one before.
const LISTINGS: usize = 40;
/// Creates in one multi.
const IN_MULTI: usize = 500;

fn create<'a>(path: &'a str, acl: &'a AclList) -> MultiOp<'a> {
    let flags = CreateMode::Persistent as i32;
    MultiOp::Create(OpCode::Create, CreateRequest { path, data: None, acl: acl.as_vec(), flags, ttl_ms: None })
}

fn create_children(writer: &mut Connection, numbers: std::ops::Range<usize>) {
    let (acl, paths) = (AclList::open(), numbers.map(|number| format!("/d/{number:05}")).collect::<Vec<_>>());
    for paths in paths.chunks(IN_MULTI) {
        writer.multi(paths.iter().map(|path| create(path, &acl)).collect()).unwrap();
    }
}

/// In one txn each: the pair of children of this number comes, and the one before it goes. Tells each number that was written, until nobody
/// listens.
fn write_pairs(writer: &mut Connection, written: &Sender<usize>) {
    let acl = AclList::open();
    let pair = |number: usize| [format!("/d/a{number}"), format!("/d/b{number}")];
    let mut number = 0;
    while written.send(number).is_ok() {
        let (before, after) = (pair(number), pair(number + 1));
        let deletes = before.iter().map(|path| MultiOp::Delete(PathVersion { path, version: -1 }));
        writer.multi(after.iter().map(|path| create(path, &acl)).chain(deletes).collect()).unwrap();
        number += 1;
    }
}

#[test]
fn a_listing_of_thousands_is_of_one_state_and_so_is_its_stat() {
    for shards in [1, 2] {
        let server = server(shards);
        let mut writer = connect(&server);
        create_all(&mut writer, &["/d", "/d/a0", "/d/b0"]);
        create_children(&mut writer, 0..CHILDREN / 2);
        // Half of them lie in the image, and some of these are gone again.
        server.take_image();
        create_children(&mut writer, CHILDREN / 2..CHILDREN);
        writer.delete("/d/00007", -1).unwrap();
        let (writes, written) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || write_pairs(&mut writer, &writes));
            list(&mut connect(&server), written);
        });
    }
}

/// Lists, and counts, which is done by the shard, each time as soon as there is another state than the last one that it has seen.
fn list(reader: &mut Connection, written: Receiver<usize>) {
    let mut seen = None;
    for round in 0..LISTINGS {
        let number = written.iter().find(|&number| seen.is_none_or(|seen| number > seen)).expect("it is being written");
        let (names, stat) = reader.children2("/d", round % 2 == 0).unwrap();
        assert_eq!(i32::try_from(names.len()), Ok(stat.num_children));
        assert_eq!(names.len(), CHILDREN + 1, "all but one, and a pair");
        let of = |letter: char| names.iter().filter_map(move |name| name.strip_prefix(letter)).collect::<Vec<_>>();
        let (a, b) = (of('a'), of('b'));
        assert_eq!((a.len(), &a), (1, &b), "half of a multi");
        let shown: usize = a[0].parse().unwrap();
        assert!(shown >= number, "{shown} is shown after {number} was acknowledged");
        seen = Some(shown);
        assert_eq!(reader.all_children_number("/d").unwrap(), stat.num_children);
    }
}
