//! The records of the runs: blocks of bytes with their checksums, and in them an rkyv archive each.
//!
//! Owns the block around an archive, the archived types, and (with `tables`) all that is known of rkyv. What it gives out is a copy, and
//! the copy is what was checked ([`super::copied`] says why): it must never give out an archive whose checksum and structure have not
//! held, nor data whose checksum has not. It fails with [`Damage`]; `tests/base_flips.rs` and `tests/base_changes.rs` would catch a mistake. rkyv's
//! derives write unsafe code, which is why this file may hold it; its own is in [`Record::row`].
//!
//! Record, at a multiple of 8 within the segment's records:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | crc32c of what follows up to the archive's end, begun with the segment's salt and the record's place |
//! | 4 | 4 | bytes of the archive, a multiple of 8 |
//! | 8 | 4 | bytes of the data; 2³² − 1: null |
//! | 12 | 4 | crc32c of the data, begun in the same way |
//! | 16 | | the archive, a [`NodeRow`] or an [`EntryRow`]; its root stands at its end |
//! | | | the data, padded with zeros to 8 |

#![allow(unsafe_code, reason = "rkyv's derives implement unsafe traits")]

use std::hint::black_box;
use std::sync::Arc;

use proto::stat::EphemeralOwner;
use proto::{StatPersisted, Zxid};
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Portable, Serialize};

use super::copied::{append, copied};
use super::place::{Place, Run, entry_key};
use crate::Damage;

/// A checked record: what its head and archive say is a copy of its own. Its data is in the mapping, and copied and checked when it is
/// asked for.
#[derive(Debug, Clone)]
pub(crate) struct Record<'b> {
    block: Block<'b>,
    /// Which of the rows is archived in it.
    run: Run,
    place: u16,
}

/// The row of a record, by the run's kind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowRef<'r> {
    /// Of [`Run::Nodes`].
    Node(&'r ArchivedNodeRow),
    /// Of the other runs.
    Entry(&'r ArchivedEntryRow),
}

impl<'b> Record<'b> {
    /// Copies the record at `place` of a segment's records, into this memory, and checks the copy.
    pub(crate) fn open(
        records: &'b [u8],
        salt: u32,
        place: u16,
        run: Run,
        memory: AlignedVec,
    ) -> Result<Record<'b>, Damage> {
        let block = Block::open(records, salt, place, memory)?;
        match run {
            Run::Nodes => access::<NodeRow>(block.archive()).map(|_| ()),
            Run::Ephemerals | Run::Ttls | Run::Containers => access::<EntryRow>(block.archive()).map(|_| ()),
        }?;
        Ok(Record { block, run, place })
    }

    /// Its head, archive and data.
    pub(crate) fn block(&self) -> &Block<'b> {
        &self.block
    }

    /// Its memory, for another record.
    pub(crate) fn into_memory(self) -> AlignedVec {
        self.block.bytes.0
    }

    /// Its place within its segment's records.
    pub(crate) fn place(&self) -> u16 {
        self.place
    }

    /// What is archived in it.
    #[inline]
    pub(crate) fn row(&self) -> RowRef<'_> {
        let archive = self.block.archive();
        match self.run {
            // SAFETY: `open` has found the structure of an archived `NodeRow` in these bytes. They are the record's own, nothing changes
            // them, and they lie at a multiple of 16 wherever the record is moved or cloned to; an archive's pointers are relative.
            Run::Nodes => RowRef::Node(unsafe { rkyv::access_unchecked(archive) }),
            // SAFETY: as above, of an `EntryRow`.
            Run::Ephemerals | Run::Ttls | Run::Containers => RowRef::Entry(unsafe { rkyv::access_unchecked(archive) }),
        }
    }

    pub(crate) fn path(&self) -> &str {
        match self.row() {
            RowRef::Node(row) => row.path.get(),
            RowRef::Entry(row) => row.path.get(),
        }
    }

    /// Where it lies, by what it says itself.
    pub(crate) fn position(&self) -> Place<'_> {
        match self.row() {
            RowRef::Node(row) => Place::of_node(row.path.get()),
            RowRef::Entry(row) => Place { key: entry_key(row.key.to_native()), head: row.path.get(), tail: "" },
        }
    }
}

/// A record's head and archive, copied and then checked, and where its data is, which is neither.
#[derive(Debug, Clone)]
pub(crate) struct Block<'b> {
    bytes: BlockBytes,
    /// In the mapping. `None`: null.
    data: Option<&'b [u8]>,
    data_crc: u32,
    seed: u32,
}

impl<'b> Block<'b> {
    /// Copies head and archive of the record at `place` of a segment's records, into this memory, and checks the copy.
    #[inline]
    pub(crate) fn open(records: &'b [u8], salt: u32, place: u16, memory: AlignedVec) -> Result<Block<'b>, Damage> {
        let at = records.get(usize::from(place) * PLACE_BYTES..);
        let (head, rest) = at.and_then(|at| at.split_first_chunk::<HEAD_BYTES>()).ok_or(OUTSIDE)?;
        let head = copied(head);
        let word = |n: usize| head.as_chunks::<4>().0.get(n).map_or(0, |word| u32::from_le_bytes(*word));
        let (found, archive_bytes, data_bytes, data_crc) = (word(0), word(1), word(2), word(3));
        let (archive, rest) = rest.split_at_checked(archive_bytes as usize).ok_or(OUTSIDE)?;
        let bytes = BlockBytes::copied(&head, archive, memory);
        let seed = salt.wrapping_add(u32::from(place));
        let computed = crc32c::crc32c_append(seed, bytes.get().get(CRC_BYTES..).unwrap_or_default());
        if found != computed {
            return Err(Damage::Checksum { found, computed });
        }
        let data = match data_bytes {
            DATA_NULL => None,
            bytes => Some(rest.get(..bytes as usize).ok_or(OUTSIDE)?),
        };
        Ok(Block { bytes, data, data_crc, seed })
    }

    /// Its archive.
    #[inline]
    pub(crate) fn archive(&self) -> &[u8] {
        self.bytes.get().get(HEAD_BYTES..).unwrap_or_default()
    }

    /// Appends its data to a buffer and checks what stands there then. After an error the buffer is as before.
    #[inline]
    pub(crate) fn append_data(&self, to: &mut Vec<u8>) -> Result<(), Damage> {
        let start = to.len();
        let checked = self.check_data(append(to, self.data.unwrap_or_default()));
        if checked.is_err() {
            to.truncate(start);
        }
        checked
    }

    /// A copy of its data, checked.
    pub(crate) fn data(&self) -> Result<Option<Vec<u8>>, Damage> {
        let mut copy = Vec::with_capacity(self.data_len());
        self.append_data(&mut copy)?;
        Ok((!self.is_null()).then_some(copy))
    }

    /// A copy of its data to be shared, checked.
    pub(crate) fn shared_data(&self) -> Result<Option<Arc<[u8]>>, Damage> {
        let copy: Option<Arc<[u8]>> = black_box(self.data.map(Arc::from));
        self.check_data(copy.as_deref().unwrap_or_default())?;
        Ok(copy)
    }

    /// That this is its data: to be asked of a copy, never of the mapping.
    fn check_data(&self, copy: &[u8]) -> Result<(), Damage> {
        let computed = data_crc(self.seed, copy);
        if computed == self.data_crc { Ok(()) } else { Err(Damage::Checksum { found: self.data_crc, computed }) }
    }

    /// Whether its data is null.
    pub(crate) fn is_null(&self) -> bool {
        self.data.is_none()
    }

    /// Bytes of its data, which is not read.
    pub(crate) fn data_len(&self) -> usize {
        self.data.map_or(0, <[u8]>::len)
    }

    /// Bytes that it takes with its data and padding.
    pub(crate) fn bytes(&self) -> usize {
        block_bytes(self.archive().len(), self.data_len())
    }

    /// The padding behind its data; the caller knows the records.
    pub(crate) fn padding_is_zero(&self, records: &[u8], place: u16) -> bool {
        let start = usize::from(place) * PLACE_BYTES;
        let padding = records.get(start + self.bytes.get().len() + self.data_len()..start + self.bytes());
        padding.is_some_and(|padding| padding.iter().all(|&byte| byte == 0))
    }
}

/// A copy of a record's head and archive, at a multiple of 16. It is moved often: so it lies on the heap, for a dozen ns; who goes through
/// many and keeps none has them in the same memory.
#[derive(Debug, Clone)]
struct BlockBytes(AlignedVec);

impl BlockBytes {
    #[inline]
    fn copied(head: &[u8; HEAD_BYTES], archive: &[u8], memory: AlignedVec) -> BlockBytes {
        let len = HEAD_BYTES + archive.len();
        let mut bytes = if memory.capacity() < len { AlignedVec::with_capacity(len) } else { memory };
        bytes.clear();
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(archive);
        black_box(&mut bytes);
        BlockBytes(bytes)
    }

    #[inline]
    fn get(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes of a record with its data and padding.
pub(crate) const fn block_bytes(archive_bytes: usize, data_bytes: usize) -> usize {
    (HEAD_BYTES + archive_bytes + data_bytes).next_multiple_of(PLACE_BYTES)
}

/// Appends a record to a segment's records and returns its place.
pub(crate) fn append_block(records: &mut Vec<u8>, salt: u32, archive: &[u8], data: Option<&[u8]>) -> u16 {
    let start = records.len();
    let Ok(place) = u16::try_from(start / PLACE_BYTES) else { panic!("a segment's records begin within 512 KiB") };
    let (Ok(archive_bytes), Ok(data_bytes)) =
        (u32::try_from(archive.len()), data.map_or(Ok(DATA_NULL), |data| u32::try_from(data.len())))
    else {
        panic!("a record is smaller than its limit")
    };
    let seed = salt.wrapping_add(u32::from(place));
    for word in [0, archive_bytes, data_bytes, data_crc(seed, data.unwrap_or_default())] {
        records.extend_from_slice(&word.to_le_bytes());
    }
    records.extend_from_slice(archive);
    let crc = crc32c::crc32c_append(seed, records.get(start + CRC_BYTES..).unwrap_or_default());
    if let Some(field) = records.get_mut(start..start + CRC_BYTES) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    records.extend_from_slice(data.unwrap_or_default());
    records.resize(records.len().next_multiple_of(PLACE_BYTES), 0);
    place
}

fn data_crc(seed: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(seed.wrapping_add(DATA_SEED), data)
}

/// Checks the structure of an archive and gives what is archived in it.
pub(crate) fn access<R>(archive: &[u8]) -> Result<&R::Archived, Damage>
where
    R: Archive<Archived: Portable + for<'b> CheckBytes<HighValidator<'b, Failure>>>,
{
    rkyv::access::<R::Archived, Failure>(archive).map_err(|_| Damage::Records)
}

/// Writes the archive of `row` over what `scratch` holds. `None` if it does not fit into what relative pointers reach.
pub(crate) fn archive<R>(row: &R, mut scratch: AlignedVec) -> Option<AlignedVec>
where
    R: for<'b> Serialize<HighSerializer<AlignedVec, ArenaHandle<'b>, Failure>>,
{
    scratch.clear();
    rkyv::api::high::to_bytes_in::<_, Failure>(row, scratch).ok()
}

/// A znode.
#[derive(Debug, Archive, Serialize)]
#[rkyv(derive(Debug))]
pub(crate) struct NodeRow {
    pub(crate) path: Box<str>,
    pub(crate) acl_id: u32,
    pub(crate) content_crc: u32,
    pub(crate) child_count: u32,
    version: i32,
    cversion: i32,
    aversion: i32,
    czxid: u64,
    mzxid: u64,
    pzxid: u64,
    ctime: i64,
    mtime: i64,
    ephemeral_owner: i64,
}

impl NodeRow {
    pub(crate) fn new(path: &str, acl_id: u32, content_crc: u32, child_count: u32, stat: &StatPersisted) -> NodeRow {
        NodeRow {
            path: path.into(),
            acl_id,
            content_crc,
            child_count,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            czxid: stat.czxid.0,
            mzxid: stat.mzxid.0,
            pzxid: stat.pzxid.0,
            ctime: stat.ctime,
            mtime: stat.mtime,
            ephemeral_owner: stat.ephemeral_owner.0,
        }
    }
}

impl ArchivedNodeRow {
    pub(crate) fn stat(&self) -> StatPersisted {
        StatPersisted {
            czxid: Zxid(self.czxid.to_native()),
            mzxid: Zxid(self.mzxid.to_native()),
            ctime: self.ctime.to_native(),
            mtime: self.mtime.to_native(),
            version: self.version.to_native(),
            cversion: self.cversion.to_native(),
            aversion: self.aversion.to_native(),
            ephemeral_owner: EphemeralOwner(self.ephemeral_owner.to_native()),
            pzxid: Zxid(self.pzxid.to_native()),
        }
    }
}

/// An entry of a run other than the znodes'.
#[derive(Debug, Archive, Serialize)]
#[rkyv(derive(Debug))]
pub(crate) struct EntryRow {
    pub(crate) path: Box<str>,
    pub(crate) key: i64,
}

/// What places count.
pub(crate) const PLACE_BYTES: usize = 8;
const HEAD_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
const DATA_NULL: u32 = u32::MAX;
/// Sets the sums of data apart from those of records.
const DATA_SEED: u32 = 0x4000_0000;
const OUTSIDE: Damage = Damage::Field("the record's place and length");

// The features that the bytes depend on. `unaligned` or `big_endian` would make other types of these.
const _: () = {
    assert!(size_of::<ArchivedNodeRow>() == 80 && align_of::<ArchivedNodeRow>() == 8);
    assert!(size_of::<ArchivedEntryRow>() == 16 && align_of::<ArchivedEntryRow>() == 8);
    // An archive behind a head that lies at a multiple of 16 lies at one, too.
    assert!(HEAD_BYTES.is_multiple_of(16) && AlignedVec::<16>::ALIGNMENT == 16);
};
