//! An opened image of version 2.

use std::path::{Path, PathBuf};

use proto::acl::Acl;
use proto::{SessionId, StatPersisted, Zxid};

use crate::image::{ImageTotals, SessionRecord};
use crate::{ImageRef, Result};

/// An opened image of version 2: its newest file and those it points into, mapped. `Send + Sync`.
#[derive(Debug)]
pub struct Base {}

/// An image file that a [`Base`] refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFile {
    /// The zxid in its name.
    pub zxid: Zxid,
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub file_bytes: u64,
    /// Bytes of its segments that the image uses.
    pub live_bytes: u64,
}

/// An ACL, stored once for all znodes that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseAcl {
    /// What znodes name it by.
    pub id: u32,
    /// How many znodes of the image name it.
    pub uses: u64,
    /// Its entries, in order.
    pub entries: Vec<Acl>,
}

/// A session that owns ephemerals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EphemeralOwnerCount {
    /// The session.
    pub session: SessionId,
    /// How many znodes go with it.
    pub count: u64,
}

/// A piece of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which of [`Base::files`].
    pub file: usize,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Base {
    /// Maps an image and every file it refers to; checks headers, footers, directory and small tables. Records are checked
    /// when they are read. Constant time but for directory and tables.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::NewerFormat`], [`crate::Error::OlderFormat`], [`crate::Error::Damaged`].
    pub fn open(_dir: &Path, _image: &ImageRef) -> Result<Base> {
        todo!()
    }

    /// As [`Base::open`], sharing the mappings of files that `former` has open too.
    ///
    /// # Errors
    /// As [`Base::open`].
    pub fn open_after(_dir: &Path, _image: &ImageRef, _former: &Base) -> Result<Base> {
        todo!()
    }

    /// What it names itself by.
    #[must_use]
    pub fn image(&self) -> ImageRef {
        todo!()
    }

    /// What is in it, without counting.
    #[must_use]
    pub fn totals(&self) -> &ImageTotals {
        todo!()
    }

    /// The id of the ensemble that wrote it; `None` if it was unknown then.
    #[must_use]
    pub fn ensemble_id(&self) -> Option<u128> {
        todo!()
    }

    /// Its ACLs, by id.
    #[must_use]
    pub fn acls(&self) -> &[BaseAcl] {
        todo!()
    }

    /// Its sessions, by id.
    #[must_use]
    pub fn sessions(&self) -> &[SessionRecord] {
        todo!()
    }

    /// The paths that have a quota, ascending.
    #[must_use]
    pub fn quotas(&self) -> &[Box<str>] {
        todo!()
    }

    /// The sessions that own ephemerals, by id.
    #[must_use]
    pub fn ephemeral_owners(&self) -> &[EphemeralOwnerCount] {
        todo!()
    }

    /// How many TTL znodes there are.
    #[must_use]
    pub fn ttl_count(&self) -> u64 {
        todo!()
    }

    /// How many containers there are.
    #[must_use]
    pub fn container_count(&self) -> u64 {
        todo!()
    }

    /// The image files that it refers to, itself first.
    #[must_use]
    pub fn files(&self) -> &[BaseFile] {
        todo!()
    }

    /// The znode at this path, if there is one.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`].
    pub fn find(&self, _path: &str) -> Result<Option<BaseNode<'_>>> {
        todo!()
    }

    /// The children of a znode, names ascending. Their data is not read.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`].
    pub fn children(&self, parent: &str) -> Result<Children<'_>> {
        self.children_from(parent, "")
    }

    /// As [`Base::children`], from this name on.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`].
    pub fn children_from(&self, _parent: &str, _first_name: &str) -> Result<Children<'_>> {
        todo!()
    }

    /// The paths of a session's ephemerals, ascending. It ends after an error.
    pub fn ephemerals_of(&self, _session: SessionId) -> impl Iterator<Item = Result<&str>> {
        std::iter::empty()
    }

    /// The TTL znodes: key (expiry in ms) and path, ascending. It ends after an error.
    #[must_use]
    pub fn ttls(&self) -> Entries<'_> {
        todo!()
    }

    /// The containers: 0 and path, ascending. It ends after an error.
    #[must_use]
    pub fn containers(&self) -> Entries<'_> {
        todo!()
    }

    /// All ephemerals: session and path, ascending. It ends after an error.
    #[must_use]
    pub fn ephemerals(&self) -> Entries<'_> {
        todo!()
    }

    /// All znodes in the run's order. It ends after an error.
    #[must_use]
    pub fn nodes(&self) -> Nodes<'_> {
        todo!()
    }

    /// The segment where this path would lie: what must be in memory for [`Base::find`]. `None`: no segment has to be read to
    /// know that it is not there.
    #[must_use]
    pub fn extent(&self, _path: &str) -> Option<Extent> {
        todo!()
    }

    /// The segment where the children of this path begin: what must be in memory for the first of [`Base::children`].
    #[must_use]
    pub fn children_extent(&self, _parent: &str) -> Option<Extent> {
        todo!()
    }

    /// Whether all of an extent is in memory, as the kernel says (`mincore`).
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn is_resident(&self, _extent: &Extent) -> Result<bool> {
        todo!()
    }

    /// Reads an extent into the page cache, without touching the mapping; a read error is an error and no SIGBUS.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn bring_in(&self, _extent: &Extent) -> Result<()> {
        todo!()
    }
}

/// A znode in an image. Everything but the data has been verified.
#[derive(Debug, Clone, Copy)]
pub struct BaseNode<'b> {
    path: &'b str,
}

impl<'b> BaseNode<'b> {
    /// Its full path, `/` for the root.
    #[must_use]
    pub fn path(&self) -> &'b str {
        self.path
    }

    /// The last part of its path; of the root `/`.
    #[must_use]
    pub fn name(&self) -> &'b str {
        todo!()
    }

    /// Its data, verified by this call; null is not the same as empty.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`].
    pub fn data(&self) -> Result<Option<&'b [u8]>> {
        todo!()
    }

    /// Bytes of its data, 0 for null; reads no data.
    #[must_use]
    pub fn data_len(&self) -> usize {
        todo!()
    }

    /// Its stored `Stat`.
    #[must_use]
    pub fn stat(&self) -> StatPersisted {
        todo!()
    }

    /// The [`BaseAcl`] that governs it.
    #[must_use]
    pub fn acl_id(&self) -> u32 {
        todo!()
    }

    /// What the writer was given: the engine's zlib CRC of path and data. Opaque here.
    #[must_use]
    pub fn content_crc(&self) -> u32 {
        todo!()
    }

    /// How many children it has.
    #[must_use]
    pub fn child_count(&self) -> u32 {
        todo!()
    }
}

/// The children of a znode, names ascending. It ends after an error.
#[derive(Debug)]
pub struct Children<'b> {
    base: &'b Base,
}

impl<'b> Iterator for Children<'b> {
    type Item = Result<BaseNode<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.base;
        todo!()
    }
}

/// Znodes in the run's order. It ends after an error.
#[derive(Debug)]
pub struct Nodes<'b> {
    base: &'b Base,
}

impl<'b> Iterator for Nodes<'b> {
    type Item = Result<BaseNode<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.base;
        todo!()
    }
}

/// Keys and paths of a run other than [`super::Run::Nodes`], ascending. It ends after an error.
#[derive(Debug)]
pub struct Entries<'b> {
    base: &'b Base,
}

impl<'b> Iterator for Entries<'b> {
    type Item = Result<(i64, &'b str)>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.base;
        todo!()
    }
}
