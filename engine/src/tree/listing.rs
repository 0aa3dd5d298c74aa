//! The children of a znode as they were at one moment, to be read after the tree has been let go of.
//!
//! A listing of a million children takes a tenth of a second and more, and nobody may hold the tree for so long: the core could not write. What lies
//! below the top layer does not change, so a listing shares it; of the top layer it takes the pieces that [`super::names`] shares. Taking a listing
//! thus takes a pointer for every few hundred children that changed since the last image. It is of one state, and later changes do not touch it:
//! `tests/model.rs` compares listings with a naive tree, also after the tree has gone on.

use super::layer::{Entry, Layer, NodeId};
use super::names::Names;
use super::{Node, unbroken};
use ahash::RandomState;
use snapshot::base::{Base, BaseNode};
use std::collections::HashSet;
use std::sync::Arc;

/// Children from which on a listing is long. So many take about a millisecond.
pub const LISTING_LONG: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub struct Listing {
    dir: Arc<str>,
    count: usize,
    /// What the top layer adds to those below, and what it takes.
    added: Names,
    gone: Names,
    /// The layer below it with the directory's entry, if it says anything of the directory.
    frozen: Option<(Arc<Layer>, NodeId)>,
    /// `None`, too, where the directory has been gone since.
    base: Option<Arc<Base>>,
}

impl Node<'_> {
    /// Its children, to be read when the tree has gone on.
    #[must_use]
    pub fn listing(&self) -> Listing {
        let tree = self.tree();
        let (dir, count) = (self.shared_path(), self.child_count());
        let (added, gone) = tree.top.find(&dir).map(|id| tree.top.share_children(id)).unwrap_or_default();
        let in_frozen = tree.frozen.as_ref().and_then(|frozen| Some((frozen, frozen.find(&dir)?)));
        let mut listing = Listing { dir, count, added, gone, frozen: None, base: tree.base.clone() };
        if let Some((frozen, id)) = in_frozen {
            match frozen.entry(id) {
                Entry::There(_) => listing.frozen = Some((Arc::clone(frozen), id)),
                Entry::Gone(_) => listing.base = None,
            }
        }
        listing
    }
}

impl Listing {
    /// Count of the children.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Are there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Reads what of it lies in the image and is not in memory. Waits for the disk. False: `goes_on` has said no.
    ///
    /// # Errors
    /// The disk cannot read: [`snapshot::Error::Io`].
    pub fn bring_in(&self, goes_on: impl Fn() -> bool) -> Result<bool, snapshot::Error> {
        if let Some(base) = &self.base {
            for extent in base.children_extents(&self.dir) {
                if !goes_on() {
                    return Ok(false);
                }
                if !base.is_warm(&extent)? {
                    base.bring_in(&extent)?;
                }
            }
        }
        Ok(goes_on())
    }

    /// Tells the names, in no order. Waits for the disk where they are not in memory.
    ///
    /// # Panics
    /// If they are not as many as there should be (law 11: a record was lost), or the image is damaged.
    pub fn for_each_name(&self, mut tell: impl FnMut(&str)) {
        let prefix = if self.dir.len() == 1 { 1 } else { self.dir.len() + 1 };
        self.for_each_path(|path| tell(path.get(prefix..).unwrap_or_default()));
    }

    fn for_each_path(&self, mut tell: impl FnMut(&str)) {
        let mut found = 0;
        let mut tell = |path: &str| {
            found += 1;
            tell(path);
        };
        self.added.iter().for_each(|child| tell(&child.path));
        let gone: HashSet<&str, RandomState> = self.gone.iter().map(|child| &*child.path).collect();
        if let Some((layer, dir)) = &self.frozen {
            let added = layer.all_added(*dir).filter(|child| !gone.contains(&*child.path));
            added.for_each(|child| tell(&child.path));
        }
        let frozen = self.frozen.as_ref().filter(|(layer, dir)| layer.has_gone(*dir));
        let is_gone = |path: &str| {
            gone.contains(path) || frozen.is_some_and(|(layer, _)| matches!(layer.look(path), Some(Entry::Gone(_))))
        };
        if let Some(base) = &self.base {
            let see = |node: &BaseNode<'_>| {
                if !is_gone(node.path()) {
                    tell(node.path())
                }
            };
            unbroken(base.children(&self.dir).and_then(|children| children.visit(see)));
        }
        assert!(found == self.count, "{} has {} children, and {found} are found", self.dir, self.count);
    }
}
