//! Segments ahead of use: a file that was filled with zeroes bit by bit, or a recycled segment.
//!
//! Writing into blocks that have been written before is what makes a durable write one device write; into unwritten
//! extents it takes two to three times as long, and on a full disk it fails. A recycled segment's stale groups are
//! told by salt and checksum, so it is not zeroed again.
//!
//! A spare that cannot be made because the disk is full is removed and [`Error::NoSpace`] reported; it can be tried
//! again, since nothing of the log was in it. Where the file system tells how much is free, that is looked at first.

use crate::{
    Disk, Error,
    catalog::{spare_name, spare_number},
};

/// Whether the next segment is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// It is: there is nothing to prepare.
    Ready,
    /// Call again.
    More,
}

/// Recycled segments kept for use; more are removed. Two cover a burst between two purges.
const SPARES_MAX: usize = 2;

#[derive(Debug)]
pub(crate) struct Spares<F> {
    segment_bytes: u64,
    next_number: u64,
    ready: Vec<Spare<F>>,
    /// The one being filled, and how far it is.
    filling: Option<(Spare<F>, u64)>,
}

#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) name: String,
    pub(crate) file: F,
}

impl<F> Spares<F> {
    /// Adopts the spares of an earlier run that are complete, and removes the others.
    pub(crate) fn adopt<D: Disk<File = F>>(
        disk: &mut D,
        names: &[String],
        segment_bytes: u64,
    ) -> Result<Spares<F>, Error> {
        let next_number = names.iter().filter_map(|name| spare_number(name)).max().map_or(1, |n| n + 1);
        let mut spares = Spares { segment_bytes, next_number, ready: Vec::new(), filling: None };
        for name in names {
            spares.adopt_one(disk, name)?;
        }
        Ok(spares)
    }

    /// Zeroes up to `bytes_max` further bytes of the next segment.
    pub(crate) fn step<D: Disk<File = F>>(&mut self, disk: &mut D, bytes_max: u64) -> Result<Prepared, Error> {
        if !self.ready.is_empty() {
            return Ok(Prepared::Ready);
        }
        let (mut spare, begin) = match self.filling.take() {
            Some(filling) => filling,
            None => (self.create(disk)?, 0),
        };
        let bytes = bytes_max.max(STEP_BYTES_MIN).next_multiple_of(STEP_BYTES_MIN).min(self.segment_bytes - begin);
        if let Err(e) = disk.write_zeroes(&mut spare.file, begin, bytes) {
            let error = Error::io("prepare", &spare.name, e);
            drop(spare.file);
            disk.remove(&spare.name).map_err(|e| Error::io("remove", &spare.name, e))?;
            return Err(error);
        }
        if begin + bytes < self.segment_bytes {
            self.filling = Some((spare, begin + bytes));
            return Ok(Prepared::More);
        }
        disk.sync_file(&mut spare.file).map_err(|e| Error::io("sync", &spare.name, e))?;
        self.ready.push(spare);
        Ok(Prepared::Ready)
    }

    /// Finishes a spare now if none is ready.
    pub(crate) fn finish<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<(), Error> {
        while self.step(disk, FORCED_STEP_BYTES)? == Prepared::More {}
        Ok(())
    }

    /// Takes a ready spare, finishing one now if there is none.
    pub(crate) fn take<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<Spare<F>, Error> {
        self.finish(disk)?;
        Ok(self.ready.pop().expect("a finished step leaves a spare"))
    }

    /// Makes a spare of a segment that is no longer needed, or removes it. The caller syncs the directory before the
    /// spare is used.
    pub(crate) fn recycle<D: Disk<File = F>>(&mut self, disk: &mut D, segment: &str, bytes: u64) -> Result<(), Error> {
        if self.ready.len() >= SPARES_MAX || bytes != self.segment_bytes {
            return disk.remove(segment).map_err(|e| Error::io("remove", segment, e));
        }
        let name = self.next_name();
        disk.rename(segment, &name).map_err(|e| Error::io("rename", segment, e))?;
        let file = disk.open_write(&name).map_err(|e| Error::io("open", &name, e))?;
        self.ready.push(Spare { name, file });
        Ok(())
    }

    /// Bytes of the segments that are ready.
    pub(crate) fn ready_bytes(&self) -> u64 {
        self.ready_count() * self.segment_bytes
    }

    /// Is one being filled?
    pub(crate) const fn is_filling(&self) -> bool {
        self.filling.is_some()
    }

    /// How many segments are ready.
    pub(crate) fn ready_count(&self) -> u64 {
        self.ready.len() as u64
    }

    fn create<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<Spare<F>, Error> {
        let name = self.next_name();
        if disk.free_bytes().is_some_and(|free| free < self.segment_bytes) {
            return Err(Error::NoSpace { action: "prepare", file: name });
        }
        let file = disk.create(&name).map_err(|e| Error::io("create", &name, e))?;
        Ok(Spare { name, file })
    }

    fn next_name(&mut self) -> String {
        let name = spare_name(self.next_number);
        self.next_number += 1;
        name
    }

    fn adopt_one<D: Disk<File = F>>(&mut self, disk: &mut D, name: &str) -> Result<(), Error> {
        let complete = self.ready.len() < SPARES_MAX && file_bytes(disk, name)? == self.segment_bytes;
        if !complete {
            return disk.remove(name).map_err(|e| Error::io("remove", name, e));
        }
        let mut file = disk.open_write(name).map_err(|e| Error::io("open", name, e))?;
        disk.sync_file(&mut file).map_err(|e| Error::io("sync", name, e))?;
        self.ready.push(Spare { name: name.to_owned(), file });
        Ok(())
    }
}

fn file_bytes<D: Disk>(disk: &D, name: &str) -> Result<u64, Error> {
    use crate::ReadDisk;
    let read = disk.read_side();
    let file = read.open_read(name).map_err(|e| Error::io("open", name, e))?;
    read.file_bytes(&file).map_err(|e| Error::io("read the size of", name, e))
}

/// Zero-filling is done in multiples of this.
const STEP_BYTES_MIN: u64 = 4096;
/// Bytes per write when a segment must be finished now.
const FORCED_STEP_BYTES: u64 = 4 << 20;
