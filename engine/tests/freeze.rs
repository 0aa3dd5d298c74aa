//! Freezing a tree, and putting it onto the image of what was frozen, copies nothing however many sessions, ACLs and quotas there are.
//!
//! The allocator counts: one test, since its counters are the process's.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

#[path = "../../snapshot/tests/common/counting.rs"]
mod counting;
mod support;

use proto::stat::EphemeralOwner;
use proto::{Acl, OpCode, SessionId, StatPersisted, Zxid};
use ringkeeper_engine::tree::{FrozenTree, LoadError, RESERVED_PATHS, Tree};
use std::sync::Arc;
use support::image::publish;
use support::naive_ops::{CreateOp, Op, RawAcl};
use support::world::{PERSISTENT, World, create, delete};

/// So many of each.
const COUNT: usize = 20_000;
/// Bytes that freezing and rebasing may allocate: an empty layer.
const BYTES_MAX: usize = 16 << 10;

fn own_acl(number: usize) -> Acl {
    Acl { scheme: "digest".into(), id: format!("user-{number}:hash").into(), ..Acl::open() }
}

fn load(digest: u64) -> Result<Tree, LoadError> {
    let (fresh, mut loader) = (Tree::new(), Tree::loader());
    for path in RESERVED_PATHS {
        let node = fresh.get(path).expect("reserved");
        loader.node(path, node.data().as_deref(), node.acl(), node.persisted())?;
    }
    let stat = StatPersisted::created(Zxid(1), 1, EphemeralOwner::NONE);
    let mut node = |path: String, acl| loader.node(&path, None, &[acl], stat);
    for number in 0..COUNT {
        node(format!("/n{number}"), own_acl(number))?;
        node(format!("/zookeeper/quota/n{number}"), Acl::open())?;
        node(format!("/zookeeper/quota/n{number}/zookeeper_limits"), Acl::open())?;
    }
    (0..COUNT).for_each(|number| loader.session(SessionId(1_000_000 + number as i64), 30_000));
    loader.finish(Zxid(1), digest)
}

/// Freezes, and tells how many bytes that allocated at the most.
fn freeze(tree: &mut Tree) -> (FrozenTree, usize) {
    let before = counting::start();
    let frozen = tree.freeze();
    (frozen, counting::peak() - before)
}

fn has_quota(frozen: &FrozenTree, path: &str) -> bool {
    frozen.quotas().iter().any(|quota| **quota == *path)
}

fn has_acl(frozen: &FrozenTree, acl: &Acl) -> bool {
    frozen.acls().iter().any(|(_, list)| **list == [acl.clone()])
}

#[test]
fn freezing_and_rebasing_allocate_nothing_to_speak_of_and_the_tables_are_whole() {
    // A wrong digest is told together with the right one.
    let mut tree = match load(0) {
        Err(LoadError::Digest { found, .. }) => load(found).unwrap(),
        other => panic!("{other:?}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let (frozen, bytes) = freeze(&mut tree);
    assert!(bytes < BYTES_MAX, "freezing a new tree allocated {bytes} bytes");
    assert_eq!((frozen.sessions().len(), frozen.quotas().len()), (COUNT, COUNT));
    assert_eq!(frozen.acls().len(), COUNT + 2, "and the open one, and the one of /zookeeper/config");
    let base = publish(&frozen, dir.path());
    let before = counting::start();
    let replaced = tree.rebase(base);
    assert!(
        counting::peak() - before < BYTES_MAX && counting::now() == before,
        "rebasing allocated or freed something"
    );
    drop((replaced, frozen));
    // Above the image some of each go and others come.
    let mut world = World::over(tree, 2);
    let acl = Some(vec![RawAcl { perms: 31, scheme: Some("digest"), id: Some("new:hash") }]);
    let with_acl =
        CreateOp { code: OpCode::Create, flags: PERSISTENT, path: "/new".into(), data: None, acl, ttl_ms: 0 };
    for op in [
        Op::Create(with_acl),
        delete("/n7"),
        delete("/zookeeper/quota/n8/zookeeper_limits"),
        create("/zookeeper/quota/new", PERSISTENT),
        create("/zookeeper/quota/new/zookeeper_limits", PERSISTENT),
    ] {
        assert_eq!(world.done(0, &op).0, 0, "{op:?}");
    }
    world.done(1, &Op::Close);
    let (frozen, bytes) = freeze(&mut world.h.tree);
    assert!(bytes < BYTES_MAX, "freezing a tree on its image allocated {bytes} bytes");
    assert_eq!(frozen.sessions(), world.h.tree.sessions().collect::<Vec<_>>());
    assert_eq!(frozen.sessions().len(), COUNT + 1, "one of two has closed");
    assert_eq!((frozen.quotas().len(), has_quota(&frozen, "/n8"), has_quota(&frozen, "/new")), (COUNT, false, true));
    let came = Acl { id: "new:hash".into(), ..own_acl(0) };
    assert_eq!(
        (has_acl(&frozen, &own_acl(7)), has_acl(&frozen, &came), has_acl(&frozen, &own_acl(8))),
        (false, true, true)
    );
    assert_eq!(frozen.acls().len(), COUNT + 2);
    let image = publish(&frozen, dir.path());
    let tables = (image.sessions().len(), image.quotas().len(), image.acls().len());
    assert_eq!(tables, (COUNT + 1, COUNT, COUNT + 2));
    drop(world.h.tree.rebase(Arc::clone(&image)));
    assert_eq!(Tree::on_base(image).unwrap().digest(), world.h.tree.digest());
}
