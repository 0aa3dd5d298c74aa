//! A naive tree beside the base: what the tests put into images of version 2, and what must come out again.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proto::acl::{Acl, Perms};
use proto::stat::EphemeralOwner;
use proto::{SessionId, StatPersisted, Zxid};
use ringkeeper_snapshot::base::{
    Base, BaseNode, BaseOptions, BaseTables, BaseWriter, CarryPlan, NodeChange, NodeEntry, Place, Presence,
    PublishedBase, Run,
};
use ringkeeper_snapshot::disk::{Disk, RealDisk};
use ringkeeper_snapshot::image::{ImageTotals, SessionRecord};
use ringkeeper_snapshot::{ImageRef, Result};

/// Segments of a few records.
pub(crate) const SMALL: BaseOptions = BaseOptions { segment_bytes: 2048, ensemble_id: None };

/// A znode that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) stat: StatPersisted,
    pub(crate) acl_id: u32,
    pub(crate) content_crc: u32,
    /// The run other than the znodes' that lists it too, and its key there.
    pub(crate) entry: Option<(Run, i64)>,
}

/// The tree, and what changed in it since the last image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) nodes: BTreeMap<String, Node>,
    children: BTreeMap<String, BTreeSet<String>>,
    touched: BTreeSet<String>,
    touched_entries: BTreeSet<(usize, i64, String)>,
    changes: u64,
}

/// The same numbers in every run (xorshift).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap() % bound
    }
}

impl Model {
    /// A tree with its root.
    pub(crate) fn new() -> Model {
        let mut model = Model::default();
        model.put("/", None, None);
        model
    }

    /// Creates a znode or changes one; its parent is there.
    pub(crate) fn put(&mut self, path: &str, data: Option<Vec<u8>>, entry: Option<(Run, i64)>) {
        self.changes += 1;
        if let Some(old) = self.nodes.get(path) {
            self.touch_entry(old.entry, path);
        }
        self.touch_entry(entry, path);
        let number = i64::try_from(self.changes).unwrap();
        let owner = match entry {
            Some((Run::Ephemerals, session)) => session,
            Some((Run::Ttls, _)) => 0xff00_0000_0000_03e8_u64.cast_signed(),
            Some((Run::Containers, _)) => i64::MIN,
            _ => 0,
        };
        let stat = StatPersisted {
            czxid: Zxid(self.changes),
            mzxid: Zxid(self.changes + 1),
            pzxid: Zxid(self.changes + 2),
            ctime: number,
            mtime: -number,
            version: i32::try_from(number % 100).unwrap(),
            cversion: 7,
            aversion: -1,
            ephemeral_owner: EphemeralOwner(owner),
        };
        let acl_id = u32::try_from(self.changes % 5).unwrap();
        let content_crc = u32::try_from(self.changes).unwrap() ^ 0x5555;
        self.nodes.insert(path.to_owned(), Node { data, stat, acl_id, content_crc, entry });
        self.touched.insert(path.to_owned());
        if let Some((parent, name)) = proto::path::split(path) {
            assert!(self.nodes.contains_key(parent), "{parent} is there");
            // Its record has the count.
            if self.children.entry(parent.to_owned()).or_default().insert(name.to_owned()) {
                self.touched.insert(parent.to_owned());
            }
        }
    }

    /// Deletes a znode without children; what has some stays.
    pub(crate) fn delete(&mut self, path: &str) -> bool {
        if path == "/" || self.child_count(path) > 0 {
            return false;
        }
        let Some(old) = self.nodes.remove(path) else { return false };
        self.touch_entry(old.entry, path);
        let (parent, name) = proto::path::split(path).unwrap();
        self.children.get_mut(parent).unwrap().remove(name);
        self.touched.extend([path.to_owned(), parent.to_owned()]);
        true
    }

    pub(crate) fn child_count(&self, path: &str) -> u32 {
        self.children.get(path).map_or(0, |names| u32::try_from(names.len()).unwrap())
    }

    /// So many random changes: creates, new data, deletes, recreates; some large directories, names that are prefixes of others.
    pub(crate) fn change_at_random(&mut self, random: &mut Random, changes: usize) {
        for _ in 0..changes {
            let known = |random: &mut Random| -> String {
                let at = random.below(self.nodes.len());
                self.nodes.keys().nth(at).unwrap().clone()
            };
            let path = known(random);
            let data = match random.below(6) {
                0 => None,
                1 => Some(Vec::new()),
                5 if random.below(40) == 0 => Some(vec![7; 5_000]),
                _ => Some(random.next().to_string().repeat(random.below(6)).into_bytes()),
            };
            let entry = match random.below(8) {
                0 => Some((Run::Ephemerals, i64::try_from(random.below(5)).unwrap() - 2)),
                1 => Some((Run::Ttls, i64::try_from(random.below(1_000)).unwrap() - 3)),
                2 => Some((Run::Containers, 0)),
                _ => None,
            };
            match random.below(10) {
                0..4 => {
                    let parent = if random.below(2) == 0 { "/".to_owned() } else { path };
                    let separator = if parent == "/" { "" } else { "/" };
                    let name = ["a", "ab", "abc", "ä", "zoo"][random.below(5)].repeat(1 + random.below(4));
                    let path = format!("{parent}{separator}{name}{}", random.below(50));
                    self.put(&path, data, entry);
                }
                4..7 => {
                    let entry = self.nodes[&path].entry;
                    self.put(&path, data, entry);
                }
                7..9 => {
                    self.delete(&path);
                }
                _ => {
                    if self.delete(&path) {
                        self.put(&path, data, entry);
                    }
                }
            }
        }
    }

    pub(crate) fn totals(&self, zxid: Zxid) -> ImageTotals {
        let data = |(path, node): (&String, &Node)| path.len() + node.data.as_ref().map_or(0, Vec::len);
        ImageTotals {
            zxid,
            time_ms: 1_700_000_000_000,
            node_count: self.nodes.len() as u64,
            data_bytes: self.nodes.iter().map(data).sum::<usize>() as u64,
            ephemeral_count: self.entries(Run::Ephemerals).count() as u64,
            tree_digest: 0x0123_4567_89ab_cdef ^ self.changes,
        }
    }

    /// Publishes what the tree is now, from the base and what changed since, or (without a base) from all of it.
    pub(crate) fn publish(
        &mut self,
        dir: &Path,
        zxid: Zxid,
        options: BaseOptions,
        base: Option<&Base>,
    ) -> PublishedBase {
        self.publish_on(Box::new(RealDisk), dir, zxid, options, base).unwrap()
    }

    pub(crate) fn publish_on(
        &mut self,
        disk: Box<dyn Disk>,
        dir: &Path,
        zxid: Zxid,
        options: BaseOptions,
        base: Option<&Base>,
    ) -> Result<PublishedBase> {
        if base.is_none() {
            let entries =
                |(path, node): (&String, &Node)| node.entry.map(|(run, key)| (number(run), key, path.clone()));
            self.touched = self.nodes.keys().cloned().collect();
            self.touched_entries = self.nodes.iter().filter_map(entries).collect();
        }
        self.publish_planned(disk, dir, zxid, options, CarryPlan::new(base))
    }

    /// As [`Model::publish`], with more in the plan than what changed.
    pub(crate) fn publish_plan(
        &mut self,
        dir: &Path,
        zxid: Zxid,
        options: BaseOptions,
        plan: CarryPlan<'_>,
    ) -> PublishedBase {
        self.publish_planned(Box::new(RealDisk), dir, zxid, options, plan).unwrap()
    }

    fn publish_planned(
        &mut self,
        disk: Box<dyn Disk>,
        dir: &Path,
        zxid: Zxid,
        options: BaseOptions,
        mut plan: CarryPlan<'_>,
    ) -> Result<PublishedBase> {
        let mut paths: Vec<&str> = self.touched.iter().map(String::as_str).collect();
        paths.sort_by(|a, b| Place::of_node(a).cmp(&Place::of_node(b)));
        // In another order than they are written.
        self.touched.iter().for_each(|path| plan.touch_node(path));
        self.touched_entries.iter().for_each(|(run, key, path)| plan.touch_entry(Run::ALL[*run], *key, path));
        let mut writer = BaseWriter::create_on(disk, dir, zxid, options, plan)?;
        for path in paths {
            writer.node(self.change(path))?;
        }
        for (run, key, path) in &self.touched_entries {
            let run = Run::ALL[*run];
            let is_there = self.nodes.get(path).is_some_and(|node| node.entry == Some((run, *key)));
            writer.entry(run, *key, path, if is_there { Presence::There } else { Presence::Gone })?;
        }
        let (acls, quotas) = (acls(), self.quotas());
        let tables = BaseTables {
            acls: acls.iter().map(|(id, entries)| (*id, entries.as_slice())).collect(),
            sessions: self.sessions(),
            quotas: quotas.iter().map(String::as_str).collect(),
        };
        let published = writer.finish(&tables, self.totals(zxid))?;
        self.touched.clear();
        self.touched_entries.clear();
        Ok(published)
    }

    /// That the base is this tree: every way of asking it.
    pub(crate) fn check(&self, base: &Base) {
        assert_eq!(base.totals(), &self.totals(base.totals().zxid));
        for (path, node) in &self.nodes {
            let found = base.find(path).unwrap().unwrap_or_else(|| panic!("{path} is not found"));
            self.check_node(&found, path, node);
            self.check_children(base, path);
            for missing in [format!("{path}~"), format!("{path}/~")] {
                assert!(base.find(&missing).unwrap().is_none(), "{missing} is found");
            }
        }
        let mut walked: Vec<_> = base.nodes().map(|node| node.unwrap().path().to_owned()).collect();
        assert!(walked.is_sorted_by(|a, b| Place::of_node(a) < Place::of_node(b)));
        walked.sort_unstable();
        assert!(walked.iter().eq(self.nodes.keys()), "the walk over all znodes");
        self.check_entries(base);
        self.check_tables(base);
    }

    pub(crate) fn check_node(&self, found: &BaseNode<'_>, path: &str, node: &Node) {
        assert_eq!((found.path(), found.stat(), found.acl_id()), (path, node.stat, node.acl_id));
        assert_eq!(found.name(), proto::path::split(path).map_or("/", |(_, name)| name));
        assert_eq!((found.content_crc(), found.child_count()), (node.content_crc, self.child_count(path)), "{path}");
        assert_eq!(found.data_len(), node.data.as_ref().map_or(0, Vec::len));
        assert_eq!(found.data().unwrap(), node.data);
    }

    fn check_children(&self, base: &Base, path: &str) {
        let none = BTreeSet::new();
        let expected = self.children.get(path).unwrap_or(&none);
        let names: Vec<_> = base.children(path).unwrap().map(|child| child.unwrap().name().to_owned()).collect();
        assert!(names.iter().eq(expected), "children of {path}: {names:?} and {expected:?}");
        let mut visited = Vec::new();
        let see = |child: &BaseNode<'_>| {
            self.check_node(child, child.path(), &self.nodes[child.path()]);
            visited.push(child.name().to_owned());
        };
        base.children(path).unwrap().visit(see).unwrap();
        assert!(visited.iter().eq(expected), "visited children of {path}: {visited:?} and {expected:?}");
        if let Some(middle) = expected.iter().nth(expected.len() / 2) {
            let from: Vec<_> =
                base.children_from(path, middle).unwrap().map(|child| child.unwrap().name().to_owned()).collect();
            assert!(from.iter().eq(expected.range(middle.clone()..)), "children of {path} from {middle}");
        }
    }

    fn check_entries(&self, base: &Base) {
        let read = |entries: ringkeeper_snapshot::base::Entries<'_>| -> Vec<(i64, String)> {
            entries.map(|entry| entry.map(|(key, path)| (key, path.into())).unwrap()).collect()
        };
        for (run, found) in [
            (Run::Ephemerals, read(base.ephemerals())),
            (Run::Ttls, read(base.ttls())),
            (Run::Containers, read(base.containers())),
        ] {
            let expected: BTreeSet<_> = self.entries(run).collect();
            assert!(found.iter().eq(&expected), "{run:?}: {found:?} and {expected:?}");
        }
        let mut owners = BTreeMap::<i64, Vec<String>>::new();
        self.entries(Run::Ephemerals).for_each(|(session, path)| owners.entry(session).or_default().push(path));
        let counts: Vec<_> = base.ephemeral_owners().iter().map(|owner| (owner.session.0, owner.count)).collect();
        assert!(counts.into_iter().eq(owners.iter().map(|(&session, paths)| (session, paths.len() as u64))));
        for session in -4..5 {
            let mut expected = owners.remove(&session).unwrap_or_default();
            expected.sort();
            let found: Vec<String> = base.ephemerals_of(SessionId(session)).map(|path| path.unwrap().into()).collect();
            assert_eq!(found, expected);
        }
        assert_eq!(base.ttl_count(), self.entries(Run::Ttls).count() as u64);
        assert_eq!(base.container_count(), self.entries(Run::Containers).count() as u64);
    }

    fn check_tables(&self, base: &Base) {
        for (acl, (id, entries)) in base.acls().iter().zip(acls()) {
            let uses = self.nodes.values().filter(|node| node.acl_id == id).count() as u64;
            assert_eq!((acl.id, acl.uses, &acl.entries), (id, uses, &entries));
        }
        assert_eq!(base.acls().len(), acls().len());
        assert_eq!(base.sessions(), self.sessions());
        assert!(base.quotas().iter().map(|path| &**path).eq(self.quotas().iter()));
    }

    pub(crate) fn entries(&self, run: Run) -> impl Iterator<Item = (i64, String)> {
        self.nodes
            .iter()
            .filter_map(move |(path, node)| node.entry.filter(|(of, _)| *of == run).map(|(_, key)| (key, path.clone())))
    }

    fn change<'m>(&'m self, path: &'m str) -> NodeChange<'m> {
        let Some(node) = self.nodes.get(path) else { return NodeChange::Gone(path) };
        NodeChange::Put(NodeEntry {
            path,
            data: node.data.as_deref(),
            stat: node.stat,
            acl_id: node.acl_id,
            content_crc: node.content_crc,
            child_count: self.child_count(path),
        })
    }

    fn touch_entry(&mut self, entry: Option<(Run, i64)>, path: &str) {
        if let Some((run, key)) = entry {
            self.touched_entries.insert((number(run), key, path.to_owned()));
        }
    }

    fn sessions(&self) -> Vec<SessionRecord> {
        let session = |id| SessionRecord { id: SessionId(id), timeout_ms: 4_000 };
        (-2..3).map(session).collect()
    }

    fn quotas(&self) -> Vec<String> {
        self.nodes.keys().take(3).cloned().collect()
    }
}

/// Opens the image at this zxid.
pub(crate) fn open(dir: &Path, zxid: Zxid) -> Base {
    Base::open(dir, &ImageRef::at(zxid)).unwrap()
}

fn number(run: Run) -> usize {
    Run::ALL.iter().position(|&other| other == run).unwrap()
}

fn acls() -> Vec<(u32, Vec<Acl>)> {
    let entry = |n: i32| Acl { perms: Perms(n), scheme: "digest".into(), id: format!("user-{n}:hash").into() };
    (0..6).map(|id| (id, (0..i32::try_from(id).unwrap()).map(entry).collect())).collect()
}
