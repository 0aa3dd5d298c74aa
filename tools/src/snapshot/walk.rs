//! The znodes of a subtree: in the order of the tree where the format has one, else in the file's order.

use std::collections::HashMap;

use proto::path::is_within;
use snapshot::base::{Base, Children};

use super::source::{Kind, Source};
use super::znode::Znode;
use crate::failure::Failure;
use crate::log::source::Go;

/// Which znodes are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subtree<'a> {
    /// This one and what lies below it.
    pub(crate) top: &'a str,
    /// How far below it; `None`: all.
    pub(crate) depth: Option<usize>,
}

impl Subtree<'_> {
    /// Whether this znode is wanted.
    pub(crate) fn holds(&self, path: &str) -> bool {
        is_within(path, self.top) && self.depth.is_none_or(|depth| levels(path) - levels(self.top) <= depth)
    }
}

/// Visits them; each knows its count of children. In memory are a place on each level of an image of format 2, else the paths of all parents.
///
/// # Errors
/// [`Failure::NoZnode`]; as [`Source::scan`].
pub(crate) fn walk(
    source: &Source,
    subtree: Subtree<'_>,
    visit: &mut dyn FnMut(&Znode<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Kind::Mapped(base) = &source.kind else {
        let counts = source.child_counts()?;
        return filter(source, subtree, &counts, visit);
    };
    walk_mapped(source, base, subtree, visit)
}

fn walk_mapped(
    source: &Source,
    base: &Base,
    subtree: Subtree<'_>,
    visit: &mut dyn FnMut(&Znode<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // None before the first.
    let mut last = String::new();
    let damaged = |error: snapshot::Error, last: &str| source.locate(error.into(), Some(last.to_owned()));
    let top = base.find(subtree.top).map_err(|error| damaged(error, ""))?;
    let mut next = Some(top.ok_or_else(|| Failure::NoZnode(subtree.top.to_owned()))?);
    let mut levels: Vec<Children<'_>> = Vec::new();
    loop {
        if let Some(node) = next.take() {
            visit(&Znode::mapped(&node))?;
            last.clear();
            last.push_str(node.path());
            if node.child_count() > 0 && subtree.depth.is_none_or(|depth| levels.len() < depth) {
                bring_in(base, node.path()).map_err(|error| damaged(error, &last))?;
                levels.push(base.children(node.path()).map_err(|error| damaged(error, &last))?);
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        match level.next() {
            Some(node) => next = Some(node.map_err(|error| damaged(error, &last))?),
            None => drop(levels.pop()),
        }
    }
}

/// Reads where the children begin at once, and not page by page: what a directory of the usual size has.
fn bring_in(base: &Base, parent: &str) -> snapshot::Result<()> {
    for extent in base.children_extents(parent).take(SEGMENTS_MAX) {
        if !base.is_warm(&extent)? {
            base.bring_in(&extent)?;
        }
    }
    Ok(())
}

fn filter(
    source: &Source,
    subtree: Subtree<'_>,
    counts: &HashMap<Box<str>, u32>,
    visit: &mut dyn FnMut(&Znode<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut is_there = false;
    source.scan(&mut |znode| {
        if subtree.holds(znode.facts.path) {
            is_there = true;
            let mut znode = *znode;
            znode.facts.children = Some(counts.get(znode.facts.path).copied().unwrap_or(0));
            visit(&znode)?;
        }
        Ok(Go::On)
    })?;
    if is_there { Ok(()) } else { Err(Failure::NoZnode(subtree.top.to_owned())) }
}

/// Names in a path.
fn levels(path: &str) -> usize {
    if path == "/" { 0 } else { path.matches('/').count() }
}

/// About a MiB.
const SEGMENTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depth_counts_from_the_top() {
        let holds = |top, depth, path: &str| Subtree { top, depth }.holds(path);
        assert!(holds("/", Some(0), "/") && !holds("/", Some(0), "/a") && holds("/", Some(1), "/a"));
        assert!(holds("/a", Some(1), "/a/b") && !holds("/a", Some(1), "/a/b/c") && holds("/a", None, "/a/b/c"));
        assert!(!holds("/a", None, "/ab") && !holds("/a", None, "/"));
    }
}
