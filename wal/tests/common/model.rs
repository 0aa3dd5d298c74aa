//! A log's history as a test knows it, and scripts that are run against log and model together.

use ringkeeper_wal::{Error, Log, Options, ReadDisk, Started, sim_disk::SimDisk};

use super::{Record, data, open, small};
use Step::{Close, Commit, Overlap, Prepare, Purge, RemoveDead, Reopen, Seal, Truncate};

/// What the run knows, outside the disk: the model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    /// Everything appended to the history that counts.
    pub(crate) appended: Vec<Record>,
    pub(crate) acknowledged: usize,
    /// The control file.
    generation: u64,
    /// The base image's zxid.
    replay_after: u64,
    /// zxids given out, so that none is used twice for other data.
    next_zxid: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Records of this many bytes each, then a commit.
    Commit(&'static [usize]),
    /// Two groups of records; the second is gathered while the first is in flight.
    Overlap(&'static [usize], &'static [usize]),
    Seal,
    Prepare(u64),
    /// Purge up to the record this many before the last acknowledged one (the image's zxid).
    Purge(usize),
    /// Truncate this many records off the end, then replace the control file.
    Truncate(usize),
    RemoveDead,
    /// A clean stop and a start.
    Close,
    /// The process dies alone and the log is opened again.
    Reopen,
}

impl Model {
    pub(crate) fn new() -> Model {
        Model { generation: 1, next_zxid: 1, ..Model::default() }
    }

    fn options(&self, salt: u64) -> Options {
        Options {
            replay_after: self.replay_after,
            segment_bytes: 40 << 10,
            group_bytes: 12 << 10,
            ..small(self.generation, salt)
        }
    }

    /// Runs the script until the disk fails.
    pub(crate) fn run(&mut self, disk: &SimDisk, script: &[Step], salt: u64) -> Result<(), Error> {
        let mut log = self.reopen(disk, salt)?;
        for (step, salt) in script.iter().zip(salt + 1..) {
            match *step {
                Commit(sizes) => self.commit(&mut log, sizes)?,
                Overlap(first, second) => self.overlap(&mut log, first, second)?,
                Seal => log.seal()?,
                Prepare(bytes) => drop(log.prepare_step(bytes)?),
                Purge(kept) => self.purge(&mut log, kept)?,
                Truncate(records) => self.truncate(&mut log, records)?,
                RemoveDead => drop(log.remove_dead()?),
                Close => {
                    log.close()?;
                    log = self.reopen(disk, salt)?;
                }
                Reopen => {
                    disk.kill_process();
                    log = self.reopen(disk, salt)?;
                }
            }
        }
        Ok(())
    }

    /// Opens, compares, and goes on from what is there.
    pub(crate) fn reopen(&mut self, disk: &SimDisk, salt: u64) -> Result<Log<SimDisk>, Error> {
        let (log, records) = open(disk.clone(), self.options(salt))?;
        let expected: Vec<&Record> = self.appended.iter().filter(|r| r.0 > self.replay_after).collect();
        let purged = self.appended.len() - expected.len();
        assert!(records.len() + purged >= self.acknowledged, "an acknowledged record is missing");
        assert!(records.len() <= expected.len(), "there are records that were not appended");
        assert!(records.iter().eq(expected.into_iter().take(records.len())), "the records are not those appended");
        self.appended.truncate(purged + records.len());
        // Recovered records are the history now: they may be reported, so they must stay.
        self.acknowledged = self.appended.len();
        Ok(log)
    }

    fn append(&mut self, log: &mut Log<SimDisk>, sizes: &[usize]) -> Result<(), Error> {
        for &bytes in sizes {
            let mut record = (self.next_zxid, data(self.next_zxid, bytes));
            // Data that holds what could pass for a group: an old block of this log.
            if bytes == 4000 {
                record.1 = log.reader(self.replay_after).map(|_| first_block_of_groups(log)).unwrap_or_default();
            }
            self.next_zxid += 1;
            log.append(record.0, &record.1)?;
            self.appended.push(record);
        }
        Ok(())
    }

    fn commit(&mut self, log: &mut Log<SimDisk>, sizes: &[usize]) -> Result<(), Error> {
        self.append(log, sizes)?;
        assert_eq!(log.commit()?, self.appended.last().unwrap().0);
        self.acknowledged = self.appended.len();
        Ok(())
    }

    fn overlap(&mut self, log: &mut Log<SimDisk>, first: &[usize], second: &[usize]) -> Result<(), Error> {
        self.append(log, first)?;
        let in_flight = self.appended.len();
        let before = log.durable_zxid();
        if log.start_commit()? == Started::NeedsSegment {
            log.commit()?;
            self.acknowledged = in_flight;
            return self.commit(log, second);
        }
        self.append(log, second)?;
        assert!(log.is_in_flight() && log.durable_zxid() == before, "not reported before the disk has said so");
        assert_eq!(log.start_commit()?, Started::Nothing, "one group in flight at a time");
        let durable = log.poll_commit()?;
        assert_eq!(durable, Some(self.appended[in_flight - 1].0), "the first group, and nothing of the second");
        self.acknowledged = in_flight;
        assert_eq!(log.poll_commit()?, None);
        match log.start_commit()? {
            // Whatever comes next waits for it.
            Started::InFlight => {}
            Started::NeedsSegment => drop(log.commit()?),
            Started::Nothing => panic!("the second group waits"),
        }
        assert_eq!(log.settle()?, self.appended.last().unwrap().0);
        self.acknowledged = self.appended.len();
        Ok(())
    }

    fn purge(&mut self, log: &mut Log<SimDisk>, kept: usize) -> Result<(), Error> {
        let Some(image) = self.acknowledged.checked_sub(1 + kept) else { return Ok(()) };
        // The image's zxid is durable in the control file before anything is purged.
        self.replay_after = self.replay_after.max(self.appended[image].0);
        log.purge_below(self.replay_after)?;
        Ok(())
    }

    fn truncate(&mut self, log: &mut Log<SimDisk>, records: usize) -> Result<(), Error> {
        let kept = self.acknowledged.saturating_sub(records);
        let zxid = kept.checked_sub(1).map_or(0, |last| self.appended[last].0);
        if zxid < self.replay_after {
            return Ok(()); // Below the base: the server takes a full sync instead.
        }
        let generation = log.next_generation();
        log.truncate_after(zxid, generation)?;
        // The control file is replaced: from here on the cut counts.
        self.generation = generation.0;
        self.appended.truncate(kept);
        self.acknowledged = kept;
        Ok(())
    }
}

/// 4000 bytes from the beginning of the newest segment's groups.
fn first_block_of_groups(log: &Log<SimDisk>) -> Vec<u8> {
    let disk = log.disk();
    let mut names = disk.list().unwrap();
    names.retain(|name| name.starts_with("segment-"));
    names.sort();
    let file = disk.open_read(names.last().unwrap()).unwrap();
    let mut block = vec![0; 4000];
    disk.read_at(&file, 4096, &mut block).unwrap();
    block
}

/// The run up to a power failure at `step`; false if it ended before.
pub(crate) fn run_until(model: &mut Model, disk: &SimDisk, script: &[Step], step: u64, salt: u64) -> bool {
    disk.freeze_at(disk.steps() + step);
    let result = model.run(disk, script, salt);
    assert_eq!(result.is_err(), disk.is_frozen(), "{result:?}");
    disk.is_frozen()
}
