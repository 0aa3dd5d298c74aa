//! The committed image of format version 1: where it lies, what is in it, and how that is read.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};

use proto::acl::{Acl, Perms};
use proto::stat::EphemeralOwner;
use proto::{SessionId, StatPersisted, Zxid};
use ringkeeper_snapshot::image::{AclRecord, Image, ImageTotals, NodeRecord, SessionRecord};

/// Its zxid.
pub(crate) const ZXID: Zxid = Zxid(0x2_0000_0003);
/// The ensemble that wrote it.
pub(crate) const ENSEMBLE_ID: Option<u128> = Some(0xfeed_0000_0000_0000_0000_beef);

/// A znode that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) acl_id: u32,
    pub(crate) stat: StatPersisted,
}

/// Everything in an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    pub(crate) nodes: Vec<Node>,
    pub(crate) acls: Vec<AclRecord>,
    pub(crate) sessions: Vec<SessionRecord>,
}

/// A committed file.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

impl Contents {
    /// What is in it.
    pub(crate) fn committed() -> Contents {
        Contents {
            nodes: (0..60).map(sample_node).collect(),
            acls: (0..3).map(sample_acl).collect(),
            sessions: (0..5).map(sample_session).collect(),
        }
    }

    pub(crate) fn totals(&self) -> ImageTotals {
        let data = |node: &Node| node.data.as_ref().map_or(0, |data| data.len() as u64);
        ImageTotals {
            zxid: ZXID,
            time_ms: 1_700_000_000_000,
            node_count: self.nodes.len() as u64,
            data_bytes: self.nodes.iter().map(data).sum(),
            ephemeral_count: self.nodes.iter().filter(|node| node.stat.ephemeral_owner.0 != 0).count() as u64,
            tree_digest: 0x0123_4567_89ab_cdef,
        }
    }
}

impl Node {
    pub(crate) fn record(&self) -> NodeRecord<'_> {
        NodeRecord { path: &self.path, data: self.data.as_deref(), acl_id: self.acl_id, stat: self.stat }
    }

    pub(crate) fn of(record: NodeRecord<'_>) -> Node {
        let NodeRecord { path, data, acl_id, stat } = record;
        Node { path: path.to_owned(), data: data.map(<[u8]>::to_vec), acl_id, stat }
    }
}

/// Opens an image and reads everything.
pub(crate) fn read(path: &Path) -> ringkeeper_snapshot::Result<Contents> {
    let image = Image::open(path)?;
    let mut contents = Contents {
        nodes: Vec::new(),
        acls: image.acls().collect::<ringkeeper_snapshot::Result<_>>()?,
        sessions: image.sessions().collect::<ringkeeper_snapshot::Result<_>>()?,
    };
    let mut nodes = image.nodes();
    while let Some(node) = nodes.next_node()? {
        contents.nodes.push(Node::of(node));
    }
    Ok(contents)
}

fn sample_node(i: i32) -> Node {
    let long = i64::from(i);
    let zxid = |n: i64| Zxid(u64::try_from(n).unwrap() << 8);
    let path = if i == 0 { "/".to_owned() } else { format!("/sample/größe-{i}") };
    let data = match i % 4 {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(format!("data of {i} ").repeat(usize::try_from(i % 17).unwrap()).into_bytes()),
    };
    let stat = StatPersisted {
        czxid: zxid(long),
        mzxid: zxid(long + 1),
        pzxid: zxid(long + 2),
        ctime: 1_700_000_000_000 + long,
        mtime: 1_700_000_000_001 + long,
        version: i,
        cversion: -i,
        aversion: i / 3,
        ephemeral_owner: EphemeralOwner(if i % 5 == 0 { 0 } else { 0x100_0000_0000 + long }),
    };
    Node { path, data, acl_id: i.unsigned_abs() % 7, stat }
}

fn sample_acl(i: i32) -> AclRecord {
    let entry = |n: i32| Acl { perms: Perms(n % 32), scheme: "digest".into(), id: format!("user-{i}-{n}:hash").into() };
    AclRecord { id: i.unsigned_abs(), acls: (0..=i % 3).map(entry).collect() }
}

fn sample_session(i: i32) -> SessionRecord {
    SessionRecord { id: SessionId(0x100_0000_0000 + i64::from(i)), timeout_ms: 4_000 + i }
}
