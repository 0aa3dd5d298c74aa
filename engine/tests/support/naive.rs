//! A naive ZooKeeper: a sorted map of znodes on which every operation is executed at once.
//!
//! It is written from ZooKeeper's rules (`PrepRequestProcessor`, `DataTree`, `DigestCalculator` of 3.9.5), not from the engine: nothing is kept
//! that can be counted, children are found by scanning every path, the digest is summed from nothing. It shares with the engine
//! only the wire types. This file is the state and how it is compared; `naive_ops.rs` executes.

use proto::jute::StrVec;
use proto::stat::EphemeralOwner;
use proto::{Acl, ErrorCode, Reader, SessionId, Stat, StatPersisted, Writer, Zxid};
use ringkeeper_engine::tree::{FrozenTree, Listing, Node, Tree};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What a znode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Persistent,
    Ephemeral(i64),
    Container,
    Ttl(i64),
}

impl Kind {
    /// As Java stores it.
    pub(crate) fn stored(self) -> i64 {
        match self {
            Kind::Persistent => 0,
            Kind::Ephemeral(session) => session,
            Kind::Container => i64::MIN,
            Kind::Ttl(ttl_ms) => ttl_ms - (1 << 56),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Znode {
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) acl: Vec<Acl>,
    pub(crate) kind: Kind,
    pub(crate) czxid: u64,
    pub(crate) mzxid: u64,
    pub(crate) pzxid: u64,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    pub(crate) version: i32,
    pub(crate) creates: i32,
    pub(crate) aversion: i32,
}

impl Znode {
    fn reserved(acl: Acl, aversion: i32) -> Znode {
        let (data, kind) = (Some(Vec::new()), Kind::Persistent);
        let (czxid, mzxid, pzxid, ctime, mtime, version, creates) = (0, 0, 0, 0, 0, 0, 0);
        Znode { data, acl: vec![acl], kind, czxid, mzxid, pzxid, ctime, mtime, version, creates, aversion }
    }

    fn persisted(&self) -> StatPersisted {
        StatPersisted {
            czxid: Zxid(self.czxid),
            mzxid: Zxid(self.mzxid),
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.creates,
            aversion: self.aversion,
            ephemeral_owner: EphemeralOwner(self.kind.stored()),
            pzxid: Zxid(self.pzxid),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.acl == [Acl::open()]
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) nodes: BTreeMap<String, Znode>,
    /// Sessions with their timeouts in ms, as the txns have them.
    pub(crate) sessions: BTreeMap<i64, i32>,
    pub(crate) zxid: u64,
    pub(crate) extended_types: bool,
}

impl Naive {
    pub(crate) fn new(extended_types: bool) -> Naive {
        let mut nodes = BTreeMap::new();
        for path in ["/", "/zookeeper", "/zookeeper/quota"] {
            nodes.insert(path.to_owned(), Znode::reserved(Acl::open(), 0));
        }
        nodes.insert("/zookeeper/config".to_owned(), Znode::reserved(Acl::world_read(), -1));
        Naive { nodes, sessions: BTreeMap::new(), zxid: 0, extended_types }
    }

    pub(crate) fn node(&self, path: &str) -> Result<&Znode, ErrorCode> {
        self.nodes.get(path).ok_or(ErrorCode::NoNode)
    }

    pub(crate) fn children(&self, path: &str) -> BTreeSet<String> {
        let of_path = |other: &&String| *other != "/" && parent_of(other) == path;
        self.nodes.keys().filter(of_path).map(|child| child.rsplit('/').next().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        let children = i32::try_from(self.children(path).len()).expect("few");
        Stat {
            czxid: Zxid(node.czxid),
            mzxid: Zxid(node.mzxid),
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            cversion: node.creates.wrapping_mul(2).wrapping_sub(children),
            aversion: node.aversion,
            ephemeral_owner: SessionId(if let Kind::Ephemeral(session) = node.kind { session } else { 0 }),
            data_length: i32::try_from(node.data.as_ref().map_or(0, Vec::len)).expect("small"),
            num_children: children,
            pzxid: Zxid(node.pzxid),
        }
    }

    pub(crate) fn paths_where(&self, test: impl Fn(&Znode) -> bool) -> BTreeSet<String> {
        self.nodes.iter().filter(|(_, node)| test(node)).map(|(path, _)| path.clone()).collect()
    }

    pub(crate) fn ephemerals_of(&self, session: i64) -> BTreeSet<String> {
        self.paths_where(|node| node.kind == Kind::Ephemeral(session))
    }

    /// `DigestCalculator`, from nothing.
    pub(crate) fn digest(&self) -> u64 {
        let mut sum = 0_u64;
        for (path, node) in &self.nodes {
            if path.starts_with("/zookeeper/") {
                continue;
            }
            let mut bytes = if path == "/" { Vec::new() } else { path.clone().into_bytes() };
            bytes.extend_from_slice(node.data.as_deref().unwrap_or_default());
            for long in [node.czxid, node.mzxid, node.pzxid, node.ctime.cast_unsigned(), node.mtime.cast_unsigned()] {
                bytes.extend_from_slice(&long.to_be_bytes());
            }
            for int in [node.version, node.creates, node.aversion] {
                bytes.extend_from_slice(&int.to_be_bytes());
            }
            bytes.extend_from_slice(&node.kind.stored().to_be_bytes());
            sum = sum.wrapping_add(u64::from(crc32fast::hash(&bytes)));
        }
        sum
    }

    /// Every field of every znode and everything that the tree counts.
    pub(crate) fn assert_same(&self, tree: &Tree, when: &str) {
        assert_eq!(tree.last_zxid(), Zxid(self.zxid), "zxid {when}");
        assert_eq!(tree.node_count(), self.nodes.len(), "count of znodes {when}");
        for (path, node) in &self.nodes {
            let found = tree.get(path).unwrap_or_else(|| panic!("{path} is missing {when}"));
            assert_eq!(found.path(), path, "{when}");
            assert_eq!(found.data().as_deref(), node.data.as_deref(), "data of {path} {when}");
            assert_eq!(found.acl().to_vec(), node.acl, "ACL of {path} {when}");
            assert_eq!(found.persisted(), node.persisted(), "what is stored of {path} {when}");
            assert_eq!(found.stat(), self.stat(path), "Stat of {path} {when}");
            let children = found.children().map(|name| name.to_string()).collect::<BTreeSet<_>>();
            assert_eq!(children, self.children(path), "children of {path} {when}");
            assert_eq!(found.child_count(), children.len(), "count of children of {path} {when}");
            assert_eq!(written_children(&found), children, "written children of {path} {when}");
            let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
            let below = self.nodes.keys().filter(|other| *other != "/" && other.starts_with(&prefix)).count();
            assert_eq!(tree.descendant_count(path), below, "znodes below {path} {when}");
            assert_eq!(names_of(&found.listing()), children, "listing of {path} {when}");
        }
        let sessions: BTreeMap<i64, i32> = tree.sessions().map(|(id, timeout_ms)| (id.0, timeout_ms)).collect();
        assert_eq!(sessions, self.sessions, "sessions {when}");
        let owners: BTreeSet<i64> = self
            .nodes
            .values()
            .filter_map(|node| if let Kind::Ephemeral(session) = node.kind { Some(session) } else { None })
            .chain(sessions.keys().copied())
            .collect();
        for owner in owners {
            let expected = self.ephemerals_of(owner);
            let found: Vec<_> = tree.ephemerals_of(SessionId(owner)).collect();
            assert_eq!(found.len(), expected.len(), "no ephemeral of {owner} is told twice {when}");
            assert_eq!(found.into_iter().map(Cow::into_owned).collect::<BTreeSet<_>>(), expected, "of {owner} {when}");
            let (mut in_pieces, mut after) = (Vec::new(), None);
            loop {
                let piece = tree.ephemerals_after(SessionId(owner), after.as_deref(), 2);
                in_pieces.extend(piece.iter().map(|path| path.to_string()));
                after = piece.get(1).cloned();
                if after.is_none() {
                    break;
                }
            }
            assert!(in_pieces.iter().eq(&expected), "ephemerals of {owner} in pieces {when}");
        }
        let ephemerals = self.paths_where(|node| matches!(node.kind, Kind::Ephemeral(_)));
        assert_eq!(tree.ephemeral_count(), ephemerals.len(), "count of ephemerals {when}");
        let containers: BTreeSet<String> = tree.empty_containers().map(|node| node.path().to_string()).collect();
        let mut expected = self.paths_where(|node| node.kind == Kind::Container);
        expected.retain(|path| self.children(path).is_empty());
        assert_eq!(containers, expected, "containers without children {when}");
        let newest = self.nodes.values().map(|node| node.mtime).max().unwrap_or_default();
        for now_ms in [newest, newest + 301, newest + 601] {
            let due: BTreeSet<String> = tree.ttls_due(now_ms).map(|node| node.path().to_string()).collect();
            let is_due = |node: &Znode| matches!(node.kind, Kind::Ttl(ttl_ms) if node.mtime + ttl_ms < now_ms);
            assert_eq!(due, self.paths_where(is_due), "TTL znodes due at {now_ms} {when}");
        }
        let bytes = |(path, node): (&String, &Znode)| (path.len() + node.data.as_ref().map_or(0, Vec::len)) as u64;
        assert_eq!(tree.data_bytes(), self.nodes.iter().map(bytes).sum::<u64>(), "bytes {when}");
        assert_eq!(tree.digest(), self.digest(), "digest {when}");
    }

    /// A frozen tree is this one, and so is the tree that is loaded from it.
    pub(crate) fn assert_frozen(&self, frozen: &FrozenTree, when: &str) {
        assert_eq!(frozen.node_count, self.nodes.len(), "count of frozen znodes {when}");
        assert_eq!(frozen.digest, self.digest(), "frozen digest {when}");
        let mut loader = Tree::loader();
        frozen.for_each_node(|node| {
            let at = frozen.acls().binary_search_by_key(&node.acl_id, |(id, _)| id.0).expect("its ACL is there");
            loader.node(node.path, node.data, &frozen.acls()[at].1, node.stat).expect("once");
        });
        for (session, timeout_ms) in frozen.sessions() {
            loader.session(*session, *timeout_ms);
        }
        let tree = loader.finish(frozen.zxid, frozen.digest).expect("a whole tree");
        assert_eq!((frozen.data_bytes, frozen.ephemeral_count), (tree.data_bytes(), tree.ephemeral_count()), "{when}");
        self.assert_same(&tree, when);
    }
}

/// The names that are written of a znode's children, none of them twice.
fn written_children(node: &Node<'_>) -> BTreeSet<String> {
    let mut bytes = Vec::new();
    node.write_children(&mut Writer::new(&mut bytes));
    let written = StrVec::read_or_null(&mut Reader::new(&bytes)).expect("a vector of strings").expect("is not null");
    let names: BTreeSet<String> = written.iter().map(str::to_owned).collect();
    assert_eq!(names.len(), written.len(), "a name is written once");
    names
}

/// The names that a listing tells, none of them twice.
pub(crate) fn names_of(listing: &Listing) -> BTreeSet<String> {
    let (mut names, mut told) = (BTreeSet::new(), 0);
    listing.for_each_name(|name| {
        told += 1;
        names.insert(name.to_owned());
    });
    assert_eq!(names.len(), told, "a name is told once");
    names
}

/// The parent's path of a path that is valid and not the root.
pub(crate) fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(slash) => &path[..slash],
    }
}
