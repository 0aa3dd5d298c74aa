//! A znode to be read, wherever it lies, and the children of one.

use super::acl_table::{AclId, AclList};
use super::layer::{Entry, Layer, NodeId, Record};
use super::{Tree, unbroken};
use crate::digest::ContentCrc;
use proto::jute::Writer;
use proto::{Stat, StatPersisted};
use snapshot::base::{BaseNode, Children as BaseChildren};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A znode, to be read. Of one in the base this is a copy, which was checked: what is mapped may change underneath.
#[derive(Clone, Debug)]
pub struct Node<'t> {
    tree: &'t Tree,
    at: At<'t>,
}

#[derive(Clone, Debug)]
enum At<'t> {
    Layer(&'t Record),
    Base(BaseNode<'t>),
}

impl<'t> Node<'t> {
    pub(super) const fn of_layer(tree: &'t Tree, record: &'t Record) -> Node<'t> {
        Node { tree, at: At::Layer(record) }
    }

    pub(super) fn of_base(tree: &'t Tree, node: BaseNode<'t>) -> Node<'t> {
        Node { tree, at: At::Base(node) }
    }

    /// The tree that it stands in.
    pub(super) const fn tree(&self) -> &'t Tree {
        self.tree
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &str {
        match &self.at {
            At::Layer(record) => &record.path,
            At::Base(node) => node.path(),
        }
    }

    /// Its path, to be kept.
    #[must_use]
    pub fn shared_path(&self) -> Arc<str> {
        match &self.at {
            At::Layer(record) => Arc::clone(&record.path),
            At::Base(node) => node.path().into(),
        }
    }

    /// Its data; null stays null. Of the base a copy.
    #[must_use]
    pub fn data(&self) -> Option<Cow<'t, [u8]>> {
        match &self.at {
            At::Layer(record) => record.data.as_deref().map(Cow::Borrowed),
            At::Base(node) => unbroken(node.data()).map(Cow::Owned),
        }
    }

    /// Writes its data as a buffer; null stays null.
    pub fn write_data(&self, w: &mut Writer<'_>) {
        match &self.at {
            At::Layer(record) => w.buffer(record.data.as_deref()),
            At::Base(node) if node.is_null() => w.buffer(None),
            // It is checked where it is then.
            At::Base(node) => w.buffer_with(node.data_len(), |out| unbroken(node.append_data(out))),
        }
    }

    /// Bytes of its data.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        match &self.at {
            At::Layer(record) => record.data_len(),
            At::Base(node) => node.data_len(),
        }
    }

    /// What clients see of it.
    #[must_use]
    pub fn stat(&self) -> Stat {
        self.persisted().to_stat(self.data_bytes(), self.child_count())
    }

    /// What is stored of it.
    #[must_use]
    pub fn persisted(&self) -> StatPersisted {
        match &self.at {
            At::Layer(record) => record.stat,
            At::Base(node) => node.stat(),
        }
    }

    /// Its ACL.
    #[must_use]
    pub fn acl(&self) -> &'t AclList {
        self.tree.acls.get(self.acl_id())
    }

    /// The number of its ACL: [`AclId::OPEN`] needs no look.
    #[must_use]
    pub fn acl_id(&self) -> AclId {
        match &self.at {
            At::Layer(record) => record.acl,
            At::Base(node) => AclId(node.acl_id()),
        }
    }

    /// CRC of its path and data.
    #[must_use]
    pub fn content_crc(&self) -> ContentCrc {
        match &self.at {
            At::Layer(record) => record.crc,
            At::Base(node) => ContentCrc::from_stored(node.content_crc()),
        }
    }

    /// Count of its children.
    #[must_use]
    pub fn child_count(&self) -> usize {
        match &self.at {
            At::Layer(record) => record.child_count as usize,
            At::Base(node) => node.child_count() as usize,
        }
    }

    /// The names of its children, in no order.
    #[must_use]
    pub fn children(&self) -> Children<'t> {
        Children { nodes: ChildNodes::new(self), prefix: prefix_len(self.path()) }
    }

    /// Writes the names of its children as a vector of strings, in no order. Cheaper than [`Node::children`], which keeps each child for itself.
    pub fn write_children(&self, w: &mut Writer<'_>) {
        let prefix = prefix_len(self.path());
        w.length(self.child_count());
        ChildNodes::new(self).for_each_path(|path| w.string(path.get(prefix..).unwrap_or_default()));
    }

    /// Its children, in no order, each as it is now.
    pub(super) fn child_nodes(&self) -> impl Iterator<Item = Node<'t>> + use<'t> {
        let tree = self.tree;
        ChildNodes::new(self).map(move |node| tree.as_it_is_now(node))
    }

    /// A copy for the top layer.
    pub(super) fn to_record(&self) -> Record {
        match &self.at {
            At::Layer(record) => (*record).clone(),
            At::Base(node) => Record {
                path: node.path().into(),
                data: unbroken(node.shared_data()),
                acl: AclId(node.acl_id()),
                crc: ContentCrc::from_stored(node.content_crc()),
                child_count: node.child_count(),
                stat: node.stat(),
            },
        }
    }
}

/// The names of a znode's children.
#[derive(Debug)]
pub struct Children<'t> {
    nodes: ChildNodes<'t>,
    /// Bytes of the path before a child's name.
    prefix: usize,
}

impl<'t> Iterator for Children<'t> {
    type Item = ChildName<'t>;

    fn next(&mut self) -> Option<ChildName<'t>> {
        Some(ChildName { node: self.nodes.next()?, prefix: self.prefix })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.nodes.remaining, Some(self.nodes.remaining))
    }
}

impl ExactSizeIterator for Children<'_> {}

/// The name of a znode's child.
#[derive(Debug)]
pub struct ChildName<'t> {
    node: Node<'t>,
    prefix: usize,
}

impl Deref for ChildName<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.node.path().get(self.prefix..).unwrap_or_default()
    }
}

impl fmt::Display for ChildName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl AsRef<str> for ChildName<'_> {
    fn as_ref(&self) -> &str {
        self
    }
}

/// The children of a znode as the layer has them that first had each: of one that changed since only the path is right.
#[derive(Debug)]
struct ChildNodes<'t> {
    tree: &'t Tree,
    dir: Box<str>,
    /// The znode's entries in the layers, from the top, and how many of the added children were given out.
    added: [Option<Added<'t>>; 2],
    base: BaseStage<'t>,
    remaining: usize,
}

#[derive(Debug)]
struct Added<'t> {
    layer: &'t Layer,
    dir: NodeId,
    given: usize,
}

#[derive(Debug)]
enum BaseStage<'t> {
    NotYet,
    Open(Box<BaseChildren<'t>>),
    /// The znode was gone, or has not been there, before the layers.
    Nothing,
}

impl<'t> ChildNodes<'t> {
    fn new(node: &Node<'t>) -> ChildNodes<'t> {
        let (tree, dir) = (node.tree, node.path());
        let mut added = [None, None];
        let mut base = BaseStage::NotYet;
        for (place, (_, layer)) in added.iter_mut().zip(tree.layers()) {
            match layer.find(dir) {
                Some(id) if matches!(layer.entry(id), Entry::There(_)) => {
                    *place = Some(Added { layer, dir: id, given: 0 })
                }
                Some(_) => base = BaseStage::Nothing,
                None => {}
            }
        }
        ChildNodes { tree, dir: dir.into(), added, base, remaining: node.child_count() }
    }

    /// A child that lies at this depth is gone by one of the layers above it.
    fn is_gone(&self, path: &str, depth: usize) -> bool {
        let above = self.added.iter().take(depth).flatten();
        let mut with_gone = above.filter(|added| added.layer.has_gone(added.dir));
        with_gone.any(|added| matches!(added.layer.look(path), Some(Entry::Gone(_))))
    }

    fn next_added(&mut self, depth: usize) -> Option<Node<'t>> {
        loop {
            let added = self.added.get_mut(depth)?.as_mut()?;
            let record = added.layer.added(added.dir, added.given)?;
            added.given += 1;
            if !self.is_gone(&record.path, depth) {
                return Some(Node::of_layer(self.tree, record));
            }
        }
    }

    /// Tells the paths of all.
    fn for_each_path(mut self, mut tell: impl FnMut(&str)) {
        let mut found = 0;
        for depth in 0..self.added.len() {
            while let Some(node) = self.next_added(depth) {
                found += 1;
                tell(node.path());
            }
        }
        // So that the base is not asked where the layers have all.
        let base = self.tree.base.as_ref().filter(|_| matches!(self.base, BaseStage::NotYet) && found < self.remaining);
        if let Some(base) = base {
            let see = |node: &BaseNode<'_>| {
                if !self.is_gone(node.path(), usize::MAX) {
                    found += 1;
                    tell(node.path());
                }
            };
            unbroken(base.children(&self.dir).and_then(|children| children.visit(see)));
        }
        // Law 11, as in `next`.
        assert!(found == self.remaining, "{} has {} children, and {found} are found", self.dir, self.remaining);
    }

    fn next_of_base(&mut self) -> Option<Node<'t>> {
        if matches!(self.base, BaseStage::NotYet) {
            self.base = match &self.tree.base {
                None => BaseStage::Nothing,
                Some(base) => BaseStage::Open(Box::new(unbroken(base.children(&self.dir)))),
            };
        }
        loop {
            let BaseStage::Open(children) = &mut self.base else { return None };
            let node = unbroken(children.next()?);
            if !self.is_gone(node.path(), usize::MAX) {
                return Some(Node::of_base(self.tree, node));
            }
        }
    }
}

impl<'t> Iterator for ChildNodes<'t> {
    type Item = Node<'t>;

    fn next(&mut self) -> Option<Node<'t>> {
        // So that the base is not asked where the layers have all.
        if self.remaining == 0 {
            return None;
        }
        let node = self.next_added(0).or_else(|| self.next_added(1)).or_else(|| self.next_of_base());
        // Law 11: a listing that ends early, because a record was lost, is not served.
        let Some(node) = node else { panic!("{} has {} children more than are found", self.dir, self.remaining) };
        self.remaining -= 1;
        Some(node)
    }
}

/// Bytes of the path of a child before its name.
fn prefix_len(path: &str) -> usize {
    if path == "/" { 1 } else { path.len() + 1 }
}
