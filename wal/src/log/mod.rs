//! The log's writing end: gather, commit, seal; roll, purge. See the crate's page for the rules. How the history turns is in `turns.rs`.
//!
//! Owned by one thread at a time. Whoever may block calls `commit`, which returns when the group is durable; what arrives meanwhile
//! waits in the caller's queue and makes up the next group (group commit with no timer). Whoever must not block calls
//! `start_commit` and `poll_commit`, and gathers the next group meanwhile. One group is in flight at a time; every other call waits
//! for it first.

mod turns;

use std::{os::fd::BorrowedFd, sync::Arc};

use crate::{
    AlignedBuf, Disk, Error, Options, Prepared, Reader, TornTail, Wait,
    catalog::{End, PathEntry, Segment, inspect_for_start, segment_name},
    closed::Closed,
    format::{Generation, HEADER_BYTES, Link, LogPosition, SegmentHeader, SegmentSeq, to_usize},
    group::GatheringGroup,
    spares::Spares,
};

/// The log of one directory.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    options: Options,
    /// The history, oldest first. The last is the head, its end is where the next group goes.
    path: Vec<PathEntry>,
    head_file: D::File,
    /// The last group of the head is a seal.
    sealed: bool,
    group: GatheringGroup,
    flying: Flying,
    header_block: AlignedBuf,
    dead: Vec<Arc<Segment>>,
    spares: Spares<D::File>,
    next_seq: SegmentSeq,
    newest_generation: Generation,
    last_appended: u64,
    torn_tail: Option<TornTail>,
    /// The first failure; every later call returns it (law 8).
    poison: Option<Error>,
}

/// The group in flight.
#[derive(Debug)]
struct Flying {
    group: GatheringGroup,
    /// Where the head ends once it is durable; `None` if nothing is in flight.
    end: Option<End>,
}

/// What `start_commit` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// Nothing: no record is gathered, or a group is in flight already.
    Nothing,
    /// The group is on its way to the disk; `poll_commit` tells when it is durable.
    InFlight,
    /// Nothing: the group needs the next segment, which only `commit` makes, since that blocks.
    NeedsSegment,
}

/// What `append` says about the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gathered {
    /// The record was taken; more fit.
    Room,
    /// The record was taken; commit before the next one.
    Full,
}

impl<D: Disk> Log<D> {
    /// Opens the log of a directory, or begins one where there is no segment at all, and returns it with a reader of
    /// the records after `options.replay_after`. The reader must be read to its end before the records count: damage
    /// in older segments shows there.
    ///
    /// What is read as the end of the log is made durable before this returns, and a seal is written behind it.
    pub fn open(mut disk: D, options: Options) -> Result<(Log<D>, Reader<D::Read>), Error> {
        options.check()?;
        let read = disk.read_side();
        let history = inspect_for_start(&read, &options)?;
        // Gone for good with the sync of the directory that every way from here to the first write has.
        Closed::remove(&mut disk)?;
        if let Some(torn) = history.torn_tail() {
            tracing::warn!(
                file = torn.file,
                offset = torn.position.offset,
                after_zxid = torn.after_zxid,
                "log: a torn tail is cut; it was never acknowledged"
            );
        }
        let mut spares = Spares::adopt(&mut disk, &history.spares, options.segment_bytes)?;
        let group = GatheringGroup::new(&options);
        let mut header_block = AlignedBuf::zeroed(to_usize(options.block_bytes.into()));
        let mut next_seq = history.next_seq;
        let torn_tail = history.torn_tail;
        let mut path = history.path;
        let head_file = match path.last() {
            Some(head) => open_head(&mut disk, &head.segment.name)?,
            None => {
                let base =
                    Beginning { generation: options.generation, previous: None, base_zxid: options.replay_after };
                let begun = begin_segment(&mut disk, &mut spares, &mut header_block, &options, next_seq, &base)?;
                next_seq = SegmentSeq(next_seq.0 + 1);
                path.push(PathEntry { end: begun.0.begin(), segment: Arc::new(begun.0) });
                begun.1
            }
        };
        let last_appended = path.last().map_or(0, |head| head.end.zxid);
        let mut log = Log {
            disk,
            options,
            path,
            head_file,
            sealed: false,
            group,
            flying: Flying { group: GatheringGroup::new(&options), end: None },
            header_block,
            dead: history.dead,
            spares,
            next_seq,
            newest_generation: history.newest_generation.max(options.generation),
            last_appended,
            torn_tail,
            poison: None,
        };
        log.seal_at_open()?;
        let reader = log.reader(options.replay_after)?;
        Ok((log, reader))
    }

    /// Copies a record into the gathering group. `zxid` must be greater than every one before it (else it panics: our
    /// own bug), and the group must not have been reported full.
    pub fn append(&mut self, zxid: u64, data: &[u8]) -> Result<Gathered, Error> {
        self.check()?;
        assert!(zxid > self.last_appended, "zxid {zxid:#x} does not follow {:#x}", self.last_appended);
        if data.len() > self.options.max_record_bytes {
            return Err(Error::RecordTooLarge { zxid, bytes: data.len(), max: self.options.max_record_bytes });
        }
        self.group.push(zxid, data);
        self.last_appended = zxid;
        Ok(if self.group.is_full() { Gathered::Full } else { Gathered::Room })
    }

    /// Writes what was gathered as one group and returns the last zxid that is durable. Without anything gathered it
    /// does nothing.
    ///
    /// [`Error::NoSpace`] while the next segment could not be made leaves the group gathered and the log usable: call
    /// again when space has returned. Every other error, and every error of the write itself, poisons the log.
    pub fn commit(&mut self) -> Result<u64, Error> {
        self.make_room()?;
        if !self.group.is_empty() {
            self.write_group()?;
        }
        Ok(self.durable_zxid())
    }

    /// Begins the next segment if the gathered group does not fit into this one: the part of [`Log::commit`] that may meet
    /// [`Error::NoSpace`] without harm, for whoever goes on otherwise then.
    pub fn make_room(&mut self) -> Result<(), Error> {
        self.settle()?;
        if self.needs_segment() { self.roll() } else { Ok(()) }
    }

    /// Starts to write what was gathered as one group, without waiting for the disk. Records that are appended from
    /// here on go into the next group.
    pub fn start_commit(&mut self) -> Result<Started, Error> {
        self.check()?;
        if self.group.is_empty() || self.is_in_flight() {
            return Ok(Started::Nothing);
        }
        if !self.group_fits() {
            return Ok(Started::NeedsSegment);
        }
        let (end, bytes) = self.finish_group();
        let offset = self.head().end.offset;
        let started = self.disk.start_durable(&mut self.head_file, offset, &mut self.group.buf, bytes);
        if let Err(e) = started {
            return Err(self.poison_head(e));
        }
        self.flying.end = Some(end);
        self.group.clear();
        std::mem::swap(&mut self.group, &mut self.flying.group);
        Ok(Started::InFlight)
    }

    /// Looks after the group in flight: the last durable zxid if it has just become durable, `None` if it has not or
    /// there is none. Errors are those of `commit`.
    pub fn poll_commit(&mut self) -> Result<Option<u64>, Error> {
        self.check()?;
        Ok(self.land(Wait::No)?.then(|| self.durable_zxid()))
    }

    /// Waits for the group in flight, if there is one, and returns the last zxid that is durable. Every call that is not about that
    /// group begins with it.
    pub fn settle(&mut self) -> Result<u64, Error> {
        self.check()?;
        self.land(Wait::UntilDone)?;
        Ok(self.durable_zxid())
    }

    /// Whether a started group is not yet known to be durable.
    pub fn is_in_flight(&self) -> bool {
        self.flying.end.is_some()
    }

    /// From now on this eventfd is written when a started group has come to its end, and may be at other times.
    pub fn notify(&mut self, eventfd: BorrowedFd<'_>) -> Result<(), Error> {
        self.settle()?;
        self.disk.notify(eventfd).map_err(|e| Error::io("watch the writes of", "the log", e))
    }

    /// Commits what is gathered and writes a seal, unless the log ends with one: for a clean shutdown and an idle log.
    /// From then on all before it is known to have been durable, and what does not read is damage.
    pub fn seal(&mut self) -> Result<(), Error> {
        self.commit()?;
        if !self.sealed {
            self.write_group()?;
        }
        Ok(())
    }

    /// For a clean stop: commits and seals, and notes where the log ends, so that the next open does not look behind that. Nothing can be
    /// written afterwards.
    pub fn close(&mut self) -> Result<(), Error> {
        self.seal()?;
        let head = self.head();
        let closed = Closed::new(&head.segment, head.end);
        // Whatever becomes of the note: a group behind it would be taken for none.
        self.poison = Some(Error::Closed);
        closed.write(&mut self.disk)
    }

    /// Zeroes up to about `bytes_max` bytes of the next segment; call it when idle, and between groups when there is
    /// no idle time. A segment that is not ready when it is needed is finished then, while the group waits.
    pub fn prepare_step(&mut self, bytes_max: u64) -> Result<Prepared, Error> {
        self.settle()?;
        let step = self.spares.step(&mut self.disk, bytes_max);
        step.map_err(|error| self.poison_unless_no_space(error))
    }

    /// Recycles or removes the oldest segments of which every record is `<= zxid`. Segments that a reader uses, and
    /// the head, stay. Returns the number of segments that went.
    pub fn purge_below(&mut self, zxid: u64) -> Result<usize, Error> {
        self.purge_some_below(zxid, usize::MAX)
    }

    /// As [`Log::purge_below`], but the oldest `count_max` segments at the most: freeing a file takes a while, and a group may wait.
    pub fn purge_some_below(&mut self, zxid: u64, count_max: usize) -> Result<usize, Error> {
        self.settle()?;
        let mut count = 0;
        let mut next_base = self.path.iter().skip(1).map(|next| next.segment.header.base_zxid);
        let candidates = self.path.iter().take_while(|_| next_base.next().is_some_and(|base| base <= zxid));
        count += candidates.take(count_max).take_while(|entry| Arc::strong_count(&entry.segment) == 1).count();
        let purged: Vec<Arc<Segment>> = self.path.drain(..count).map(|entry| entry.segment).collect();
        self.recycle(&purged)?;
        Ok(count)
    }

    /// A reader of the durable records after `after`, for this or another thread.
    pub fn reader(&self, after: u64) -> Result<Reader<D::Read>, Error> {
        Reader::new(self.disk.read_side(), &self.path, after)
    }

    /// The last zxid that is durable; the base if there is no record.
    pub fn durable_zxid(&self) -> u64 {
        self.head().end.zxid
    }

    /// The last zxid that was appended.
    pub fn last_appended_zxid(&self) -> u64 {
        self.last_appended
    }

    /// The history holds all records after this zxid, and none up to it need be there.
    pub fn history_begins_after(&self) -> u64 {
        self.path.first().map_or(0, |oldest| oldest.segment.header.base_zxid)
    }

    /// Where the next group goes, if it fits.
    pub fn position(&self) -> LogPosition {
        LogPosition { segment: self.head().segment.header.seq, offset: self.head().end.offset }
    }

    /// Bytes gathered and not yet committed, header included; 0 if there is no record.
    pub fn gathered_bytes(&self) -> usize {
        if self.group.is_empty() { 0 } else { self.group.bytes() }
    }

    /// Bytes that can be written without asking the file system for space: the rest of the head and the spares.
    pub fn reserved_bytes(&self) -> u64 {
        self.head().segment.header.segment_bytes.saturating_sub(self.head().end.offset) + self.spares.ready_bytes()
    }

    /// Bytes of groups, padding and seals included, that certainly fit without asking the file system for space, however they are cut:
    /// a group that does not fit the rest of a segment leaves that unused. As of the last group that is known to be durable.
    pub fn room_bytes(&self) -> u64 {
        let head = &self.head().segment.header;
        // The last block is kept for a seal.
        let rest = head.segment_bytes.saturating_sub(self.head().end.offset + u64::from(head.block_bytes));
        let unusable = self.options.group_capacity() as u64 + 3 * u64::from(self.options.block_bytes);
        let spare = self.options.segment_bytes.saturating_sub(unusable);
        rest.saturating_add(spare.saturating_mul(self.spares.ready_count()))
    }

    /// Whether the next segment is being filled. There was space for it when that began.
    pub const fn is_making_segment(&self) -> bool {
        self.spares.is_filling()
    }

    /// Whether the gathered group waits for the next segment.
    pub fn needs_segment(&self) -> bool {
        !self.group.is_empty() && !self.group_fits()
    }

    /// Bytes of a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// Whether the next segment is ready.
    pub fn has_spare(&self) -> bool {
        self.spares.ready_bytes() > 0
    }

    /// Number of segments in the history.
    pub fn segment_count(&self) -> usize {
        self.path.len()
    }

    /// The generation that is written now.
    pub fn generation(&self) -> Generation {
        self.head().segment.header.generation
    }

    /// A generation that no segment on disk has.
    pub fn next_generation(&self) -> Generation {
        Generation(self.newest_generation.0 + 1)
    }

    /// The torn tail that was cut at open.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn_tail.as_ref()
    }

    /// The disk, to be looked at.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    fn head(&self) -> &PathEntry {
        self.path.last().expect("an open log has a head")
    }

    fn check(&self) -> Result<(), Error> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    fn poison(&mut self, error: Error) -> Error {
        tracing::error!(%error, "log: failed, nothing more will be written");
        self.poison.get_or_insert(error).clone()
    }

    fn poison_unless_no_space(&mut self, error: Error) -> Error {
        if error.is_no_space() { error } else { self.poison(error) }
    }

    /// Whether the gathered group fits into the head with a seal behind it.
    fn group_fits(&self) -> bool {
        let header = &self.head().segment.header;
        let bytes = self.group.padded_bytes(header.block_bytes) as u64;
        self.head().end.offset + bytes + u64::from(header.block_bytes) <= header.segment_bytes
    }

    /// Makes durable what recovery took for the end, by a seal that also keeps any torn group behind it from ever
    /// counting. A head of other sizes than the options' (or without room) is left for a new segment instead.
    fn seal_at_open(&mut self) -> Result<(), Error> {
        let header = &self.head().segment.header;
        let same_sizes = header.block_bytes == self.options.block_bytes
            && header.segment_bytes == self.options.segment_bytes
            && (header.ensemble_id == self.options.ensemble_id || self.options.ensemble_id == 0);
        let block = u64::from(header.block_bytes);
        if same_sizes && self.head().end.offset + block <= header.segment_bytes {
            self.write_group()
        } else {
            self.roll()
        }
    }

    /// Writes the gathered group (or, if it is empty, a seal) at the end of the head, where it must fit.
    fn write_group(&mut self) -> Result<(), Error> {
        let (end, bytes) = self.finish_group();
        let offset = self.head().end.offset;
        let written = self.disk.write_durable(&mut self.head_file, offset, &mut self.group.buf, bytes);
        if let Err(e) = written {
            return Err(self.poison_head(e));
        }
        self.sealed = self.group.is_empty();
        self.group.clear();
        self.set_end(end);
        Ok(())
    }

    /// Pads the gathered group for the end of the head: where the head will end then, and the group's bytes.
    fn finish_group(&mut self) -> (End, usize) {
        let head = self.path.last().expect("an open log has a head");
        let end = head.end;
        let zxid = if self.group.is_empty() { end.zxid } else { self.group.last_zxid() };
        let (crc, bytes) = self.group.finish(&head.segment.identity(), end.offset, end.crc, end.zxid);
        (End { offset: end.offset + bytes as u64, crc, zxid }, bytes)
    }

    /// Takes note of the group in flight if it has come to its end; true if it is durable now.
    fn land(&mut self, wait: Wait) -> Result<bool, Error> {
        let Some(end) = self.flying.end else { return Ok(false) };
        match self.disk.finish_durable(&mut self.flying.group.buf, wait) {
            None => return Ok(false),
            Some(Err(e)) => return Err(self.poison_head(e)),
            Some(Ok(())) => {}
        }
        self.flying.end = None;
        self.sealed = false;
        self.set_end(end);
        Ok(true)
    }

    fn set_end(&mut self, end: End) {
        self.path.last_mut().expect("an open log has a head").end = end;
    }

    fn poison_head(&mut self, e: std::io::Error) -> Error {
        let error = Error::io("make durable", &self.head().segment.name, e);
        self.poison(error)
    }

    /// Begins the next segment of the same generation.
    fn roll(&mut self) -> Result<(), Error> {
        let head = self.head();
        let previous = Some(link_to(head, &head.end));
        self.begin_unchecked(&Beginning { generation: self.generation(), previous, base_zxid: head.end.zxid })
    }

    fn begin_unchecked(&mut self, beginning: &Beginning) -> Result<(), Error> {
        // Only making the spare may fail for lack of space without harm.
        if let Err(error) = self.spares.finish(&mut self.disk) {
            return Err(self.poison_unless_no_space(error));
        }
        let begun = begin_segment(
            &mut self.disk,
            &mut self.spares,
            &mut self.header_block,
            &self.options,
            self.next_seq,
            beginning,
        );
        let (segment, file) = begun.map_err(|error| self.poison(error))?;
        self.next_seq = SegmentSeq(self.next_seq.0 + 1);
        self.path.push(PathEntry { end: segment.begin(), segment: Arc::new(segment) });
        self.head_file = file;
        self.sealed = false;
        Ok(())
    }

    fn recycle(&mut self, segments: &[Arc<Segment>]) -> Result<(), Error> {
        if segments.is_empty() {
            return Ok(());
        }
        for segment in segments {
            let recycled = self.spares.recycle(&mut self.disk, &segment.name, segment.header.segment_bytes);
            recycled.map_err(|error| self.poison(error))?;
        }
        // Before a spare is used its former name must be gone for good.
        self.disk.sync_dir().map_err(|e| Error::io("sync", "the log directory", e)).map_err(|error| self.poison(error))
    }
}

/// How a segment begins.
#[derive(Debug)]
struct Beginning {
    generation: Generation,
    previous: Option<Link>,
    base_zxid: u64,
}

fn link_to(entry: &PathEntry, end: &End) -> Link {
    let position = LogPosition { segment: entry.segment.header.seq, offset: end.offset };
    Link { end: position, crc: end.crc }
}

/// Opens the head for writing and makes durable what was read: after a crash of the process alone it may not be.
fn open_head<D: Disk>(disk: &mut D, name: &str) -> Result<D::File, Error> {
    let mut file = disk.open_write(name).map_err(|e| Error::io("open", name, e))?;
    disk.sync_file(&mut file).map_err(|e| Error::io("sync", name, e))?;
    disk.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
    Ok(file)
}

/// Turns a spare into a segment: header durable, then the name, then the directory. So every file that has a
/// segment's name has a header.
fn begin_segment<D: Disk>(
    disk: &mut D,
    spares: &mut Spares<D::File>,
    block: &mut AlignedBuf,
    options: &Options,
    seq: SegmentSeq,
    beginning: &Beginning,
) -> Result<(Segment, D::File), Error> {
    let mut spare = spares.take(disk)?;
    let header = SegmentHeader {
        ensemble_id: options.ensemble_id,
        generation: beginning.generation,
        seq,
        salt: mix(options.salt ^ mix(seq.0) ^ mix(mix(beginning.generation.0))),
        base_zxid: beginning.base_zxid,
        previous: beginning.previous,
        block_bytes: options.block_bytes,
        segment_bytes: options.segment_bytes,
    };
    let crc = header.encode(block);
    let bytes = block.len();
    assert!(bytes >= HEADER_BYTES, "the header block has a block's size");
    disk.write_durable(&mut spare.file, 0, block, bytes).map_err(|e| Error::io("make durable", &spare.name, e))?;
    let name = segment_name(seq);
    disk.rename(&spare.name, &name).map_err(|e| Error::io("rename", &spare.name, e))?;
    disk.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
    Ok((Segment { name, header, crc }, spare.file))
}

/// splitmix64's finalizer: spreads the salt's bits.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
