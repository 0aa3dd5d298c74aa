//! Checks everything about an image that can be checked without the tree's rules.
//!
//! Owns the whole check: every byte of the segments that the image uses, in this file and older ones, and that its parts agree with
//! each other. It must never say that an image is good when a walk or look-up could go wrong. It fails with [`crate::Error::Damaged`];
//! `tests/base_flips.rs` would catch a mistake.

use std::collections::BTreeMap;
use std::path::Path;

use super::place::{Run, split};
use super::reader::Base;
use super::segment::{Record, RowRef};
use crate::image::ImageTotals;
use crate::{Damage, Error, ImageRef, Result};

/// Reads all of an image: segments against their checksums, each record, the order, the tables, and that these agree: parents are
/// there and count their children, entries of ephemerals name znodes, uses of ACLs and owners add up. Returns what is in it.
///
/// # Errors
/// As [`Base::open`].
pub fn verify(dir: &Path, image: &ImageRef) -> Result<ImageTotals> {
    let base = Base::open(dir, image)?;
    let check = Check { base: &base };
    let counted = check.nodes()?;
    check.uses(&counted)?;
    for run in [Run::Ephemerals, Run::Ttls, Run::Containers] {
        check.entries(run)?;
    }
    Ok(*base.totals())
}

#[derive(Debug)]
struct Check<'b> {
    base: &'b Base,
}

/// What the znodes add up to.
#[derive(Debug, Default)]
struct Counted {
    /// Znodes by ACL.
    uses: BTreeMap<u32, u64>,
}

impl<'b> Check<'b> {
    /// Every znode; the children of each parent stand together.
    fn nodes(&self) -> Result<Counted> {
        let mut counted = Counted::default();
        let mut family = Family { base: self.base, parent: None, children: 0, in_families: 0 };
        let mut children = 0_u64;
        self.records(Run::Nodes, |record| {
            let RowRef::Node(row) = record.row else { panic!("the znodes' run holds znodes") };
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
    fn entries(&self, run: Run) -> Result<()> {
        let mut owners: Vec<(i64, u64)> = Vec::new();
        self.records(run, |record| {
            let RowRef::Entry(row) = record.row else { panic!("only the znodes' run holds znodes") };
            let (key, path) = (row.key.to_native(), row.path.get());
            let node = self.base.find(path)?.ok_or_else(|| self.damaged("that an entry names a znode"))?;
            if run == Run::Ephemerals {
                if node.stat().ephemeral_owner.0 != key {
                    return Err(self.damaged("that an ephemeral's entry names its session"));
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

    /// Every record of a run, after its segment.
    fn records(&self, run: Run, mut each: impl FnMut(&Record<'b>) -> Result<()>) -> Result<()> {
        for number in 0..self.base.run(run).segments().len() {
            let view = self.base.view_in_turn(run, number)?;
            view.check_whole()?;
            view.check_records(&mut each)?;
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
    parent: Option<&'b str>,
    children: u32,
    /// Children of all parents so far.
    in_families: u64,
}

impl<'b> Family<'b> {
    fn add(&mut self, parent: &'b str) -> Result<()> {
        if self.parent != Some(parent) {
            self.end()?;
            self.parent = Some(parent);
        }
        self.children += 1;
        Ok(())
    }

    /// The parent has to be there, and to know how many there are. The root has none.
    fn end(&mut self) -> Result<()> {
        let children = std::mem::take(&mut self.children);
        let Some(parent) = self.parent.filter(|parent| !parent.is_empty()) else { return Ok(()) };
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
