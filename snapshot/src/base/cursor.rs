//! Walks over a run, from any place on.
//!
//! Owns the way from segment to segment. It must never skip what it cannot read, and never touch a segment in which nothing that is
//! asked for can be. It fails with [`crate::Error::Damaged`]; `tests/base_round_trip.rs` and `tests/base_flips.rs` would catch a mistake.

use rkyv::util::AlignedVec;

use super::node::BaseNode;
use super::place::{Place, Run, split};
use super::reader::Base;
use super::record::{Record, RowRef};
use super::segment::SegmentWalk;
use crate::Result;

/// A place between two records of a run.
#[derive(Debug)]
pub(crate) struct Cursor<'b> {
    base: &'b Base,
    run: Run,
    /// Segments that begin with a larger key are not touched.
    last_key: u64,
    /// The next segment to be opened.
    next: usize,
    /// In the opened segment, before `next`.
    walk: Option<SegmentWalk<'b>>,
    ended: bool,
    /// It goes through all of the run.
    is_of_all: bool,
}

impl<'b> Cursor<'b> {
    /// Before the first record.
    pub(crate) fn at_start(base: &'b Base, run: Run) -> Cursor<'b> {
        Cursor { base, run, last_key: u64::MAX, next: 0, walk: None, ended: false, is_of_all: false }
    }

    /// Before the first record with the key of `place` that does not lie before `place`; where the
    /// key ends, the caller ends.
    pub(crate) fn at_place(base: &'b Base, run: Run, place: &Place<'_>) -> Result<Cursor<'b>> {
        let mut cursor = Cursor { last_key: place.key, ..Cursor::at_start(base, run) };
        let Some(number) = base.run(run).containing(place) else { return Ok(cursor) };
        cursor.next = number + 1;
        let ends_before =
            base.run(run).segments().get(number).is_some_and(|segment| segment.shape.last_key < place.key);
        if !ends_before {
            cursor.walk = Some(base.view(run, number)?.walk_from(place)?);
        }
        Ok(cursor)
    }

    /// There is nothing more.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// The next znode, in [`Run::Nodes`], for which it takes this memory. After an error there is none.
    pub(crate) fn next_node(&mut self, memory: &mut AlignedVec) -> Option<Result<BaseNode<'b>>> {
        let record = self.next_record(memory)?;
        Some(record.map(|(segment, record)| BaseNode::new(self.base, segment, record)))
    }

    /// The next record, for which it takes this memory, and the number of its segment. After an error there is none.
    pub(crate) fn next_record(&mut self, memory: &mut AlignedVec) -> Option<Result<(usize, Record<'b>)>> {
        if self.ended {
            return None;
        }
        let record = self.try_next(memory).transpose();
        self.ended = matches!(record, Some(Err(_)));
        record
    }

    fn try_next(&mut self, memory: &mut AlignedVec) -> Result<Option<(usize, Record<'b>)>> {
        loop {
            if let Some(walk) = &mut self.walk
                && let Some(record) = walk.next(memory)?
            {
                return Ok(Some((self.next - 1, record)));
            }
            let segment = self.base.run(self.run).segments().get(self.next);
            if segment.is_none_or(|segment| segment.shape.first_key > self.last_key) {
                return Ok(None);
            }
            let open = if self.is_of_all { Base::view_in_turn } else { Base::view };
            self.walk = Some(open(self.base, self.run, self.next)?.walk());
            self.next += 1;
        }
    }
}

/// The children of a znode, names ascending. It ends after an error.
#[derive(Debug)]
pub struct Children<'b> {
    cursor: Cursor<'b>,
    /// The next child where it has been read already.
    first: Option<BaseNode<'b>>,
    /// The parent's path; `None` when there are no more.
    parent: Option<Box<str>>,
}

impl<'b> Children<'b> {
    pub(crate) fn new(base: &'b Base, parent: &str, first_name: &str) -> Result<Children<'b>> {
        let mut cursor = Cursor::at_place(base, Run::Nodes, &Place::of_children(parent, first_name))?;
        let first = cursor.next_node(&mut AlignedVec::new()).transpose()?.filter(|node| split(node.path()).0 == parent);
        let parent = first.is_some().then(|| parent.into());
        Ok(Children { cursor, first, parent })
    }

    /// Shows them one after the other, all in the same memory: for who keeps none.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`]; those before it were shown.
    pub fn visit(mut self, mut see: impl FnMut(&BaseNode<'b>)) -> Result<()> {
        let mut memory = AlignedVec::new();
        while let Some(node) = self.step(&mut memory).transpose()? {
            see(&node);
            memory = node.into_memory();
        }
        Ok(())
    }

    fn step(&mut self, memory: &mut AlignedVec) -> Option<Result<BaseNode<'b>>> {
        let parent = self.parent.as_deref()?;
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let node = self.cursor.next_node(memory);
        if let Some(Ok(node)) = &node
            && split(node.path()).0 != parent
        {
            self.parent = None;
            return None;
        }
        node
    }
}

impl<'b> Iterator for Children<'b> {
    type Item = Result<BaseNode<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(&mut AlignedVec::new())
    }
}

/// Znodes in the run's order. It ends after an error.
#[derive(Debug)]
pub struct Nodes<'b> {
    cursor: Cursor<'b>,
}

impl<'b> Nodes<'b> {
    pub(crate) fn new(base: &'b Base) -> Nodes<'b> {
        Nodes { cursor: Cursor { is_of_all: true, ..Cursor::at_start(base, Run::Nodes) } }
    }
}

impl<'b> Iterator for Nodes<'b> {
    type Item = Result<BaseNode<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next_node(&mut AlignedVec::new())
    }
}

/// Keys and paths of a run other than [`Run::Nodes`], ascending. It ends after an error.
#[derive(Debug)]
pub struct Entries<'b> {
    cursor: Cursor<'b>,
    /// It ends where another key begins.
    only: Option<i64>,
    /// Of one record after the other.
    memory: AlignedVec,
}

impl<'b> Entries<'b> {
    pub(crate) fn new(base: &'b Base, run: Run) -> Entries<'b> {
        Entries { cursor: Cursor::at_start(base, run), only: None, memory: AlignedVec::new() }
    }

    /// Those with this key, from this path on.
    pub(crate) fn with_key(base: &'b Base, run: Run, key: i64, first: &str) -> Result<Entries<'b>> {
        let cursor = Cursor::at_place(base, run, &Place::of_entry(key, first))?;
        Ok(Entries { cursor, only: Some(key), memory: AlignedVec::new() })
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Result<(i64, Box<str>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let record: Record<'b> = match self.cursor.next_record(&mut self.memory)? {
            Ok((_, record)) => record,
            Err(error) => return Some(Err(error)),
        };
        let RowRef::Entry(row) = record.row() else { panic!("only the znodes' run holds znodes") };
        let key = row.key.to_native();
        if self.only.is_some_and(|only| only != key) {
            self.cursor.end();
            return None;
        }
        let path = row.path.get().into();
        self.memory = record.into_memory();
        Some(Ok((key, path)))
    }
}
