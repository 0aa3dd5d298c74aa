//! Which segments of the base are carried over into the next image.
//!
//! Owns that decision: a segment in which something changes is written anew, and so are the segments of a file of which too little is
//! used still, or that is one too many. It must never carry over a segment in which something changes (`merge` asserts it).
//! `tests/base_carry.rs` would catch a mistake.

use super::file::FileIdentity;
use super::layout::FILES_MAX;
use super::place::{Place, Run};
use super::reader::Base;
use crate::header::HEADER_BYTES;

/// Decides which segments of the base are carried over: told of every change, in any order, before the writing begins.
#[derive(Debug)]
pub struct CarryPlan<'b> {
    base: Option<&'b Base>,
    /// By [`Run::number`], of each segment of the base whether something in it changes.
    dirty: [Vec<bool>; 4],
}

impl<'b> CarryPlan<'b> {
    /// Nothing has changed. Without a base everything is written.
    #[must_use]
    pub fn new(base: Option<&'b Base>) -> CarryPlan<'b> {
        let clean = |run| vec![false; base.map_or(0, |base| base.run(run).segments().len())];
        CarryPlan { base, dirty: Run::ALL.map(clean) }
    }

    /// The znode at this path changes: a [`super::NodeChange`] of it will be given.
    pub fn touch_node(&mut self, path: &str) {
        self.touch(Run::Nodes, &Place::of_node(path));
    }

    /// An entry of a run other than the znodes' changes.
    pub fn touch_entry(&mut self, run: Run, key: i64, path: &str) {
        self.touch(run, &Place::of_entry(key, path));
    }

    /// Everything is written anew, as for a copy that stands alone.
    pub fn touch_all(&mut self) {
        self.dirty.iter_mut().flatten().for_each(|dirty| *dirty = true);
    }

    fn touch(&mut self, run: Run, place: &Place<'_>) {
        let Some(base) = self.base else { return };
        // What lies before the first segment goes into it.
        let number = base.run(run).containing(place).unwrap_or(0);
        if let Some(dirty) = self.dirty.get_mut(run.number()).and_then(|run| run.get_mut(number)) {
            *dirty = true;
        }
    }

    /// The last word.
    pub(crate) fn decide(self) -> Carried<'b> {
        let CarryPlan { base: Some(base), dirty } = self else {
            return Carried { base: None, carried: Default::default(), files: Vec::new(), numbers: Vec::new() };
        };
        let mut live = vec![0_u64; base.files().len()];
        for (run, dirty) in Run::ALL.iter().zip(&dirty) {
            for (segment, _) in base.run(*run).segments().iter().zip(dirty).filter(|(_, dirty)| !**dirty) {
                if let Some(live) = live.get_mut(segment.file) {
                    *live += segment.shape.frame_bytes();
                }
            }
        }
        let identities = base.mapped().iter().map(|file| *file.identity());
        let segments_bytes = |file: &super::file::MappedFile| {
            let [first, ..] = &file.footer().parts;
            first.offset - HEADER_BYTES as u64
        };
        let all = base.mapped().iter().map(|file| segments_bytes(file));
        let mut files: Vec<(usize, u64, FileIdentity)> = live
            .iter()
            .zip(all)
            .zip(identities)
            .enumerate()
            .filter(|(_, ((live, all), _))| **live > 0 && **live >= all / USED_PART_MIN)
            .map(|(number, ((live, _), identity))| (number, *live, identity))
            .collect();
        // Where there are too many, those go of which least is used.
        files.sort_by_key(|&(_, live, _)| std::cmp::Reverse(live));
        files.truncate(FILES_MAX - 1);
        files.sort_by_key(|(_, _, identity)| identity.zxid);
        let number_of = |file| files.iter().position(|&(number, ..)| number == file);
        let numbers: Vec<_> =
            (0..live.len()).map(|file| number_of(file).and_then(|at| u32::try_from(at + 1).ok())).collect();
        let is_carried = |run: Run, number: usize, dirty: bool| {
            let file = base.run(run).segments().get(number).map(|segment| segment.file);
            !dirty && file.and_then(|file| numbers.get(file)).is_some_and(Option::is_some)
        };
        let mut carried = dirty;
        for (run, segments) in Run::ALL.iter().zip(&mut carried) {
            for (number, segment) in segments.iter_mut().enumerate() {
                *segment = is_carried(*run, number, *segment);
            }
        }
        let files = files.into_iter().map(|(_, _, identity)| identity).collect();
        Carried { base: Some(base), carried, files, numbers }
    }
}

/// What is carried over.
#[derive(Debug)]
pub(crate) struct Carried<'b> {
    pub(crate) base: Option<&'b Base>,
    /// By [`Run::number`], of each segment of the base.
    carried: [Vec<bool>; 4],
    /// The files that the next image may point into, oldest first.
    files: Vec<FileIdentity>,
    /// Of each of the base's files its number in the next image's directory: 1 for the first of `files`.
    numbers: Vec<Option<u32>>,
}

impl Carried<'_> {
    /// The number of the file, in the next image's directory, from which a segment is carried over; `None`: it is written anew.
    pub(crate) fn file_of(&self, run: Run, number: usize) -> Option<u32> {
        let carried = self.carried.get(run.number()).and_then(|run| run.get(number)).copied().unwrap_or(false);
        let segment = self.base?.run(run).segments().get(number)?;
        if carried { *self.numbers.get(segment.file)? } else { None }
    }

    /// See the field.
    pub(crate) fn files(&self) -> &[FileIdentity] {
        &self.files
    }
}

/// A file is left when less than one part in so many of it is used.
const USED_PART_MIN: u64 = 2;
