//! What the tests put into images, and how they get it out again.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;

use proto::acl::{Acl, Perms};
use proto::stat::EphemeralOwner;
use proto::{SessionId, StatPersisted, Zxid};
use ringkeeper_snapshot::image::{
    AclRecord, Image, ImageOptions, ImageTotals, ImageWriter, NodeRecord, PublishedImage, SessionRecord,
};

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

/// Segments of a few records.
pub(crate) const SMALL_SEGMENTS: ImageOptions =
    ImageOptions { segment_bytes: 4096, bytes_per_second: None, ensemble_id: None };

impl Contents {
    /// So many znodes, and ACLs and sessions in proportion; always the same ones.
    pub(crate) fn sample(nodes: u32) -> Contents {
        let number = i32::try_from(nodes).unwrap();
        Contents {
            nodes: (0..number).map(sample_node).collect(),
            acls: (0..number / 50 + 2).map(sample_acl).collect(),
            sessions: (0..number / 20 + 2).map(sample_session).collect(),
        }
    }

    pub(crate) fn totals(&self, zxid: Zxid) -> ImageTotals {
        let data = |node: &Node| node.data.as_ref().map_or(0, |data| data.len() as u64);
        ImageTotals {
            zxid,
            time_ms: 1_700_000_000_000,
            node_count: self.nodes.len() as u64,
            data_bytes: self.nodes.iter().map(data).sum(),
            ephemeral_count: self.nodes.iter().filter(|node| node.stat.ephemeral_owner.0 != 0).count() as u64,
            tree_digest: 0x0123_4567_89ab_cdef,
        }
    }

    pub(crate) fn add_to(&self, writer: &mut ImageWriter) -> ringkeeper_snapshot::Result<()> {
        self.acls.iter().try_for_each(|acl| writer.add_acl(acl.clone()))?;
        self.sessions.iter().try_for_each(|session| writer.add_session(*session))?;
        self.nodes.iter().try_for_each(|node| writer.add_node(node.record()))
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

/// A znode of no particular stat.
pub(crate) fn node(path: &str, data: Option<Vec<u8>>) -> Node {
    let stat = StatPersisted { czxid: Zxid(1), mzxid: Zxid(2), pzxid: Zxid(3), ..StatPersisted::default() };
    Node { path: path.to_owned(), data, acl_id: 1, stat }
}

/// Publishes an image of these contents.
pub(crate) fn write(dir: &Path, zxid: Zxid, options: ImageOptions, contents: &Contents) -> PublishedImage {
    let mut writer = ImageWriter::create(dir, zxid, options).unwrap();
    contents.add_to(&mut writer).unwrap();
    writer.finish(contents.totals(zxid)).unwrap()
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
