//! What a request touches of the image is brought into memory first: whoever serves it then meets no page that the disk must be asked for.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

mod support;

use proto::jute::StrVec;
use proto::request::{
    CreateMode, CreateRequest, MultiOp, MultiRequest, PathVersion, ReadRequest, Request, SetDataRequest,
    SetWatchesRequest,
};
use proto::stat::EphemeralOwner;
use proto::{Acl, AclVec, OpCode, Reader, SessionId, StatPersisted, Writer, Zxid, path};
use ringkeeper_engine::tree::{LoadError, RESERVED_PATHS, Tree};
use rustix::fs::{Advice, fadvise};
use snapshot::base::{Base, BaseOptions};
use std::fs::File;
use std::path::Path;
use support::image::publish_with;

const SESSION: SessionId = SessionId(7);
const DIRS: usize = 20;
const CHILDREN: usize = 60;
/// How often a connection waits at the most.
const WAITS_MAX: usize = 3;

fn load(digest: u64) -> Result<Tree, LoadError> {
    let (fresh, mut loader) = (Tree::new(), Tree::loader());
    loader.session(SESSION, 30_000);
    for path in RESERVED_PATHS {
        let node = fresh.get(path).expect("reserved");
        loader.node(path, node.data().as_deref(), node.acl(), node.persisted())?;
    }
    let stat = |owner| StatPersisted::created(Zxid(1), 1, owner);
    for dir in 0..DIRS {
        let children = i32::try_from(CHILDREN).unwrap();
        let stat_of_dir = StatPersisted { cversion: children, ..stat(EphemeralOwner::NONE) };
        loader.node(&format!("/d{dir:02}"), None, &[Acl::open()], stat_of_dir)?;
        for child in 0..CHILDREN {
            let owner = if child == 5 { EphemeralOwner::session_of(SESSION) } else { EphemeralOwner::NONE };
            loader.node(&format!("/d{dir:02}/n{child:010}"), Some(&[7; 1_500]), &[Acl::open()], stat(owner))?;
        }
    }
    loader.finish(Zxid(1), digest)
}

/// An image of about 2 MB on a disk: in a directory in memory nothing could be cold.
fn image(dir: &Path) -> snapshot::ImageRef {
    // A wrong digest is told together with the right one.
    let mut tree = match load(0) {
        Err(LoadError::Digest { found, .. }) => load(found).unwrap(),
        other => panic!("{other:?}"),
    };
    publish_with(&tree.freeze(), dir, BaseOptions { segment_bytes: 16 << 10, ..BaseOptions::default() }).image()
}

/// The tree on an image of which nothing but what a start needs is in memory.
fn cold_tree(dir: &Path, image: &snapshot::ImageRef) -> Tree {
    let file = File::open(dir.join(&image.file_name)).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    Tree::on_base(Base::open(dir, image).unwrap().into()).unwrap()
}

/// Pages that this thread has waited for the disk for.
fn major_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    behind_name.split_whitespace().nth(9).unwrap().parse().unwrap()
}

/// What serving a request looks at.
fn touch(tree: &Tree, paths: &[&str]) {
    for path in paths {
        if let Some(node) = tree.get(path) {
            assert!(node.data().is_none_or(|data| data.iter().all(|byte| *byte == 7)), "{path}");
            assert_eq!(**node.acl(), [Acl::open()]);
        }
    }
}

#[test]
fn what_a_request_touches_is_in_memory_once_it_was_brought_in() {
    let (dir, open) = (tempfile::tempdir().unwrap(), open_acl());
    let image = image(dir.path());
    let acl = AclVec::read(&mut Reader::new(&open)).unwrap();
    let read = |path| ReadRequest { path, watch: false };
    let create = |path, mode: CreateMode| CreateRequest { path, data: None, acl, flags: mode as i32, ttl_ms: None };
    let plain = create("/d04/new", CreateMode::Persistent);
    let sequential = create("/d05/n", CreateMode::PersistentSequential);
    let strings = |paths: &[&str]| {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.strings(paths.iter().copied());
        bytes
    };
    let (data, exist) = (strings(&["/d01/n0000000001", "/d02/n0000000002"]), strings(&["/d03/missing"]));
    let watches = SetWatchesRequest {
        relative_zxid: Zxid(1),
        data: StrVec::read_or_null(&mut Reader::new(&data)).unwrap().unwrap(),
        exist: StrVec::read_or_null(&mut Reader::new(&exist)).unwrap().unwrap(),
        child: StrVec::EMPTY,
        persistent: StrVec::EMPTY,
        persistent_recursive: StrVec::EMPTY,
    };
    let multi = MultiRequest {
        ops: vec![
            MultiOp::Create(OpCode::Create, plain),
            MultiOp::Delete(PathVersion { path: "/d06/n0000000006", version: -1 }),
            MultiOp::Check(PathVersion { path: "/d07/n0000000007", version: -1 }),
        ],
    };
    let mine: Vec<String> = (0..DIRS).map(|dir| format!("/d{dir:02}/n0000000005")).collect();
    let with_parents = |paths: &[&str]| -> Vec<String> {
        paths.iter().flat_map(|path| [*path, path::split(path).unwrap().0]).map(str::to_owned).collect()
    };
    let cases: Vec<(Request<'_>, Vec<String>, Option<&str>)> = vec![
        (Request::GetData(read("/d01/n0000000017")), vec!["/d01/n0000000017".into()], None),
        (Request::Exists(read("/d01/missing")), vec!["/d01/missing".into()], None),
        (Request::GetChildren(read("/d02")), vec!["/d02".into()], Some("/d02")),
        (Request::Create(OpCode::Create, plain), with_parents(&["/d04/new"]), None),
        (Request::Create(OpCode::Create, sequential), with_parents(&["/d05/n0000000060"]), None),
        (
            Request::Delete(PathVersion { path: "/d08/n0000000008", version: -1 }),
            with_parents(&["/d08/n0000000008"]),
            None,
        ),
        (
            Request::SetData(SetDataRequest { path: "/d09/n0000000009", data: None, version: -1 }),
            vec!["/d09/n0000000009".into()],
            None,
        ),
        (Request::Multi(multi), with_parents(&["/d04/new", "/d06/n0000000006", "/d07/n0000000007"]), None),
        (
            Request::SetWatches(watches),
            vec!["/d01/n0000000001".into(), "/d02/n0000000002".into(), "/d03/missing".into()],
            None,
        ),
        (Request::GetEphemerals(None), Vec::new(), None),
        (Request::CloseSession, mine, None),
    ];
    // The first round brings in the code of this test itself.
    for is_counted in [false, true] {
        for (request, paths, listed) in &cases {
            let tree = cold_tree(dir.path(), &image);
            let mut waits = 0;
            while let Some(cold) = tree.cold_for(SESSION, request) {
                assert!(cold.bytes() > 0);
                cold.bring_in().unwrap();
                waits += 1;
                assert!(waits <= WAITS_MAX, "{request:?}");
            }
            // The few ephemerals lie beside what a start reads.
            let is_near = matches!(request, Request::GetEphemerals(_));
            assert!(waits > 0 || is_near, "nothing of {request:?} was cold");
            let before = major_faults();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            touch(&tree, &paths);
            assert_eq!(listed.map_or(CHILDREN, |path| tree.get(path).unwrap().children().count()), CHILDREN);
            if matches!(request, Request::GetEphemerals(_) | Request::CloseSession) {
                assert_eq!(tree.ephemerals_of(SESSION).count(), DIRS);
            }
            let faults = major_faults() - before;
            assert!(!is_counted || faults == 0, "{request:?} has waited {faults} times");
        }
    }
}

#[test]
fn what_has_changed_since_the_image_is_never_cold() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path());
    let tree = cold_tree(dir.path(), &image);
    let request = Request::GetData(ReadRequest { path: "/d01/n0000000017", watch: false });
    tree.cold_for(SESSION, &request).expect("cold").bring_in().unwrap();
    assert!(tree.cold_for(SESSION, &request).is_none());
    assert!(Tree::new().cold_for(SESSION, &request).is_none(), "without an image");
}

fn open_acl() -> Vec<u8> {
    let mut bytes = Vec::new();
    Acl::write_vec(&[Acl::open()], &mut Writer::new(&mut bytes));
    bytes
}
