//! Checks everything about an image that can be checked without the tree's rules.
//!
//! Owns the whole check: every byte of the segments that the image uses, in this file and older ones, and that its parts agree with
//! each other. It must never say that an image is good when a walk or look-up could go wrong. It fails with [`crate::Error::Damaged`];
//! `tests/base_flips.rs` would catch a mistake.

use std::collections::BTreeMap;
use std::path::Path;

use super::node::BaseNode;
use super::place::{Run, split};
use super::reader::Base;
use super::record::{Record, RowRef};
use crate::image::ImageTotals;
use crate::{Damage, Error, ImageRef, Result};

/// Reads all of an image: segments against their checksums, each record, the order, the tables, and that these agree: parents are
/// there and count their children, entries of ephemerals name znodes, uses of ACLs and owners add up. Returns what is in it.
///
/// # Errors
/// As [`Base::open`].
pub fn verify(dir: &Path, image: &ImageRef) -> Result<ImageTotals> {
    let base = Base::open(dir, image)?;
    verify_watched(&base, |_| ())?;
    Ok(*base.totals())
}

/// As [`verify`], of an image that is open; tells `watch` of each piece once it is known to be good.
///
/// # Errors
/// [`Error::Damaged`]. What `watch` was told before it still holds.
pub fn verify_watched<'b>(base: &'b Base, watch: impl FnMut(Checked<'b>)) -> Result<()> {
    let mut check = Check { base, watch };
    let counted = check.nodes()?;
    check.uses(&counted)?;
    for run in [Run::Ephemerals, Run::Ttls, Run::Containers] {
        check.entries(run)?;
    }
    Ok(())
}

/// A piece of an image that has been checked.
#[derive(Debug, Clone)]
pub enum Checked<'b> {
    /// A znode with its data, in the order of the run.
    Node(BaseNode<'b>),
    /// A segment, after its znodes.
    Segment {
        /// Its bytes; those of all add up to [`Base::live_bytes`].
        bytes: u64,
    },
}

#[derive(Debug)]
struct Check<'b, W> {
    base: &'b Base,
    watch: W,
}

/// What the znodes add up to.
#[derive(Debug, Default)]
struct Counted {
    /// Znodes by ACL.
    uses: BTreeMap<u32, u64>,
}

impl<'b, W: FnMut(Checked<'b>)> Check<'b, W> {
    /// Every znode; the children of each parent stand together.
    fn nodes(&mut self) -> Result<Counted> {
        let mut counted = Counted::default();
        let mut family = Family { base: self.base, parent: None, children: 0, in_families: 0 };
        let mut children = 0_u64;
        self.records(Run::Nodes, |record| {
            let RowRef::Node(row) = record.row() else { panic!("the znodes' run holds znodes") };
            *counted.uses.entry(row.acl_id.to_native()).or_default() += 1;
            children += u64::from(row.child_count.to_native());
            family.add(split(row.path.get()).0)
        })?;
        family.end()?;
        if children == family.in_families { Ok(counted) } else { Err(self.damaged("the counts of children")) }
    }

    /// The ACLs' uses.
    fn uses(&self, counted: &Counted) -> Result<()> {
        let named = self.base.acls().iter().filter(|acl| acl.uses > 0).map(|acl| (acl.id, acl.uses));
        let found = counted.uses.iter().map(|(&id, &uses)| (id, uses));
        if named.eq(found) { Ok(()) } else { Err(self.damaged("the uses of the ACLs")) }
    }

    /// The entries of a run; those of ephemerals name their znodes and add up to the owners.
    fn entries(&mut self, run: Run) -> Result<()> {
        let mut owners: Vec<(i64, u64)> = Vec::new();
        let base = self.base;
        self.records(run, |record| {
            let RowRef::Entry(row) = record.row() else { panic!("only the znodes' run holds znodes") };
            let (key, path) = (row.key.to_native(), row.path.get());
            let node = base.find(path)?.ok_or_else(|| damaged(base, "that an entry names a znode"))?;
            if run == Run::Ephemerals {
                if node.stat().ephemeral_owner.0 != key {
                    return Err(damaged(base, "that an ephemeral's entry names its session"));
                }
                match owners.last_mut() {
                    Some((owner, count)) if *owner == key => *count += 1,
                    _ => owners.push((key, 1)),
                }
            }
            Ok(())
        })?;
        let named = self.base.ephemeral_owners().iter().map(|owner| (owner.session.0, owner.count));
        let adds_up = run != Run::Ephemerals || owners.into_iter().eq(named);
        if adds_up { Ok(()) } else { Err(self.damaged("the owners of ephemerals")) }
    }

    /// Every record of a run, and then its segment as a whole: so damage is named by the record that it is in, where it is in one.
    fn records(&mut self, run: Run, mut each: impl FnMut(&Record<'b>) -> Result<()>) -> Result<()> {
        let base = self.base;
        for (number, segment) in base.run(run).segments().iter().enumerate() {
            let view = base.view_in_turn(run, number)?;
            view.check_records(|record| {
                if run == Run::Nodes {
                    (self.watch)(Checked::Node(BaseNode::new(base, number, record.clone())));
                }
                each(record)
            })?;
            view.check_whole()?;
            (self.watch)(Checked::Segment { bytes: segment.shape.frame_bytes() });
        }
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> Error {
        damaged(self.base, what)
    }
}

/// The znodes of one parent, which stand together.
#[derive(Debug)]
struct Family<'b> {
    base: &'b Base,
    parent: Option<String>,
    children: u32,
    /// Children of all parents so far.
    in_families: u64,
}

impl Family<'_> {
    fn add(&mut self, parent: &str) -> Result<()> {
        if self.parent.as_deref() != Some(parent) {
            self.end()?;
            self.parent = Some(parent.to_owned());
        }
        self.children += 1;
        Ok(())
    }

    /// The parent has to be there, and to know how many there are. The root has none.
    fn end(&mut self) -> Result<()> {
        let children = std::mem::take(&mut self.children);
        let Some(parent) = self.parent.as_deref().filter(|parent| !parent.is_empty()) else { return Ok(()) };
        self.in_families += u64::from(children);
        let found = self.base.find(parent)?;
        if found.is_some_and(|node| node.child_count() == children) {
            Ok(())
        } else {
            Err(damaged(self.base, "the count of a znode's children"))
        }
    }
}

/// Parts that contradict each other: told of the file as a whole.
fn damaged(base: &Base, what: &'static str) -> Error {
    let file = base.files().first().map(|file| file.path.clone()).unwrap_or_default();
    Error::damaged(&file, 0, Some(base.zxid()), Damage::Field(what))
}
