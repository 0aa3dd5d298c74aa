//! The whole tree of a server, as the super user sees it.

use client::{AclList, ConnectOptions, Connection, Operations};
use proto::reply::Reply;
use proto::request::{ReadRequest, Request};
use proto::{Acl, Stat};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The znodes by their paths.
pub type Tree = BTreeMap<String, Znode>;

/// All that a client can know of a znode.
#[derive(Clone, Debug, PartialEq)]
pub struct Znode {
    pub data: Option<Vec<u8>>,
    pub stat: Stat,
    pub acl: Vec<Acl>,
    pub children: Vec<String>,
}

/// Reads everything.
pub fn tree_of(address: SocketAddr) -> Tree {
    let mut client = Connection::connect(address, &ConnectOptions::default()).unwrap();
    client.auth("digest", b"super:test").unwrap();
    let mut tree = Tree::new();
    let mut ahead = vec!["/".to_owned()];
    while let Some(path) = ahead.pop() {
        let read = client.call(&Request::GetData(ReadRequest { path: &path, watch: false })).unwrap();
        let Reply::DataStat(data, stat) = read.record().unwrap() else { panic!("getData {path}: {read:?}") };
        let (acl, _) = client.get_acl(&path).unwrap();
        let mut children = client.children(&path, false).unwrap();
        children.sort();
        let prefix = if path == "/" { "" } else { &path };
        ahead.extend(children.iter().map(|name| format!("{prefix}/{name}")));
        tree.insert(path, Znode { data: data.map(<[u8]>::to_vec), stat, acl, children });
    }
    client.close().unwrap();
    tree
}

/// Compares two trees and names the first difference.
pub fn assert_same(expected: &Tree, found: &Tree) {
    for (path, node) in expected {
        assert_eq!(Some(node), found.get(path), "{path}");
    }
    let more: Vec<&String> = found.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(more.is_empty(), "more than there should be: {more:?}");
    assert!(expected.len() > 15, "a tree of {} znodes proves little", expected.len());
}

/// An ACL that only `bob` and a reading world have.
pub fn bobs() -> AclList {
    let bob = Acl { scheme: "digest".into(), id: "bob:H/yrfl/C+vCUzEKsO8w9SZPJ7Nc=".into(), ..Acl::open() };
    AclList::new(&[bob, Acl::world_read()])
}
