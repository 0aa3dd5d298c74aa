//! Which bytes of which file an answer takes, and whether they are in memory.
//!
//! Owns the question, for who must not wait for the disk. It must never touch the mapping: a page that is not there would be waited for, and one
//! that cannot be read is a fault. It fails with [`crate::Error::Io`]; `engine/tests/cold.rs` would catch a mistake.

use proto::SessionId;

use super::place::{Place, Run};
use super::reader::Base;
use super::resident;
use crate::Result;

/// A piece of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which of [`Base::files`].
    pub file: usize,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Which segment of the znodes' run it is, if it is one of that run.
    pub(crate) node_segment: Option<usize>,
}

impl Base {
    /// The segment where this path would lie: what must be in memory for [`Base::find`]. `None`: no segment has to be read to
    /// know that it is not there.
    #[must_use]
    pub fn extent(&self, path: &str) -> Option<Extent> {
        self.extent_of(Run::Nodes, self.segment_with(&Place::of_node(path))?)
    }

    /// The segment where the children of this path begin: what must be in memory for the first of [`Base::children`]. `None`: no
    /// segment has to be read to know that there are none.
    #[must_use]
    pub fn children_extent(&self, parent: &str) -> Option<Extent> {
        self.extent_of(Run::Nodes, self.segment_with(&Place::of_children(parent, ""))?)
    }

    /// The segments where the children of this path lie, in their order: what must be in memory for all of [`Base::children`].
    pub fn children_extents(&self, parent: &str) -> impl Iterator<Item = Extent> {
        self.extents_with(Run::Nodes, &Place::of_children(parent, ""))
    }

    /// The segments where the paths of a session's ephemerals lie: what must be in memory for all of [`Base::ephemerals_of`].
    pub fn ephemerals_extents(&self, session: SessionId) -> impl Iterator<Item = Extent> {
        self.extents_with(Run::Ephemerals, &Place::of_entry(session.0, ""))
    }

    /// The segments of a run that may hold records with the key of this place, which is the first with it.
    fn extents_with(&self, run: Run, place: &Place<'_>) -> impl Iterator<Item = Extent> + use<'_> {
        let (key, segments) = (place.key, self.run(run));
        // The one in which they would begin may end before them.
        let first = segments.containing(place).unwrap_or(0);
        let from_first = (first..).zip(segments.segments().get(first..).unwrap_or_default());
        let in_reach = from_first.take_while(move |(_, segment)| segment.shape.first_key <= key);
        let theirs = in_reach.filter(move |(_, segment)| segment.shape.last_key >= key);
        theirs.filter_map(move |(number, _)| self.extent_of(run, number))
    }

    /// Whether all of an extent is in memory, as the kernel says.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn is_resident(&self, extent: &Extent) -> Result<bool> {
        let Some(file) = self.mapped().get(extent.file) else { return Ok(false) };
        Ok(resident::of_range(file, extent.offset, extent.bytes)?.is_whole())
    }

    /// As [`Base::is_resident`], without asking the kernel again about what was in memory since [`Base::forget_warm`].
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn is_warm(&self, extent: &Extent) -> Result<bool> {
        let Some(segment) = extent.node_segment else { return self.is_resident(extent) };
        if self.warm().was_seen(segment) {
            return Ok(true);
        }
        let is_warm = self.is_resident(extent)?;
        if is_warm {
            self.warm().see(segment);
        }
        Ok(is_warm)
    }

    /// Whether all of the files that it refers to is in memory.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn is_all_resident(&self) -> Result<bool> {
        for file in self.mapped() {
            if !resident::of_range(file, 0, file.footer().file_bytes)?.is_whole() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the disk for an extent, once until [`Base::forget_warm`], and does not wait for it. Best effort.
    pub fn ask_for(&self, extent: &Extent) {
        if let (Some(file), Some(segment)) = (self.mapped().get(extent.file), extent.node_segment)
            && !self.warm().was_seen(segment)
        {
            self.warm().see(segment);
            file.will_need(extent.offset, extent.bytes);
        }
    }

    /// What was in memory may not be any more: to be called once in a while.
    pub fn forget_warm(&self) {
        self.warm().forget();
    }

    /// Reads an extent into the page cache, without touching the mapping; a read error is an error and no fault.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn bring_in(&self, extent: &Extent) -> Result<()> {
        let Some(file) = self.mapped().get(extent.file) else { return Ok(()) };
        resident::read_through(file, extent.offset, extent.bytes, &mut |_| ())
    }

    fn extent_of(&self, run: Run, number: usize) -> Option<Extent> {
        let segment = self.run(run).segments().get(number)?;
        let (offset, bytes) = (segment.shape.offset, segment.shape.frame_bytes());
        Some(Extent { file: segment.file, offset, bytes, node_segment: (run == Run::Nodes).then_some(number) })
    }
}
