//! Writes a snapshot that ZooKeeper reads: 3.9 all of it, older servers up to the part that they know (`FileSnap.serialize`).

use std::fs::File;
use std::path::{Path, PathBuf};

use adler2::Adler32;
use proto::jute::Writer;
use proto::{Acl, SessionId};

use super::compression::Packer;
use super::{AclNumber, END_PATH, Error, FORMAT_VERSION, Node, Result, SNAPSHOT_MAGIC, SnapshotFile, Trailer};
use crate::disk::{Disk as _, RealDisk};

/// A snapshot that is being written, under a name that no server takes for a snapshot. Dropped before [`SnapshotWriter::finish`], it
/// leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {
    name: PathBuf,
    temp: PathBuf,
    out: Option<Packer>,
    sum: Adler32,
    record: Vec<u8>,
}

impl SnapshotWriter {
    /// Begins a snapshot with the sessions (id, timeout in ms) and the ACLs, which have numbers above 0.
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// Above 2^31 - 1 sessions or ACLs.
    pub fn create(
        file: &SnapshotFile,
        sessions: &[(SessionId, i32)],
        acls: &[(AclNumber, &[Acl])],
    ) -> Result<SnapshotWriter> {
        let name = file.path.clone();
        let temp = temp_name(&name);
        let made = File::create(&temp).map_err(|source| Error::io("make", &temp, source))?;
        let out = Some(file.compression.pack(made));
        let mut writer = SnapshotWriter { name, temp, out, sum: Adler32::new(), record: Vec::new() };
        writer.put(|w| {
            w.int(SNAPSHOT_MAGIC);
            w.int(FORMAT_VERSION);
            w.long(-1);
            w.length(sessions.len());
        })?;
        for (id, timeout_ms) in sessions {
            writer.put(|w| {
                w.long(id.0);
                w.int(*timeout_ms);
            })?;
        }
        writer.put(|w| w.length(acls.len()))?;
        for (number, acl) in acls {
            writer.put(|w| {
                w.long(number.0);
                Acl::write_vec(acl, w);
            })?;
        }
        Ok(writer)
    }

    /// A znode. Its parent must have been written before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn node(&mut self, node: &Node<'_>) -> Result<()> {
        self.put(|w| {
            w.string(if node.path == "/" { "" } else { node.path });
            w.buffer(node.data);
            w.long(node.acl.0);
            node.stat.write(w);
        })
    }

    /// Ends the snapshot, makes it durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::Io`]: then there is no snapshot of that name, or (if it was the directory's fsync) one that may go with the power.
    pub fn finish(mut self, trailer: &Trailer) -> Result<()> {
        self.put(|w| w.string(END_PATH))?;
        self.seal()?;
        if let Some(digest) = trailer.digest {
            self.put(|w| {
                w.long(digest.zxid.to_wire());
                w.int(digest.version);
                w.long(digest.digest.cast_signed());
            })?;
            self.seal()?;
        }
        if let Some(zxid) = trailer.last_zxid {
            self.put(|w| w.long(zxid.to_wire()))?;
            self.seal()?;
        }
        let packer = self.out.take().unwrap_or_else(|| unreachable!("only finish takes it"));
        let file = packer.finish().map_err(|source| Error::io("write", &self.temp, source));
        let synced =
            file.and_then(|file| file.sync_all().map_err(|source| Error::io("make durable", &self.temp, source)));
        let named = synced.and_then(|()| {
            RealDisk.rename(&self.temp, &self.name).map_err(|source| Error::io("rename", &self.temp, source))
        });
        if named.is_err() {
            // The first error is what counts.
            let _ = RealDisk.remove(&self.temp);
        }
        named?;
        sync_parent(&self.name)
    }

    fn seal(&mut self) -> Result<()> {
        let sum = i64::from(self.sum.checksum());
        self.put(|w| {
            w.long(sum);
            w.string(END_PATH);
        })
    }

    fn put(&mut self, record: impl FnOnce(&mut Writer<'_>)) -> Result<()> {
        self.record.clear();
        record(&mut Writer::new(&mut self.record));
        self.sum.write_slice(&self.record);
        let out = self.out.as_mut().unwrap_or_else(|| unreachable!("only finish takes it"));
        out.write_all(&self.record).map_err(|source| Error::io("write", &self.temp, source))
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if self.out.is_some() {
            // What was begun is worth nothing; that it stays is not worth an error either.
            let _ = RealDisk.remove(&self.temp);
        }
    }
}

/// What a file is called until it is whole: nothing that begins with `snapshot`.
fn temp_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("tmp-{name}"))
}

/// Makes the name of a file durable.
pub(super) fn sync_parent(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    RealDisk.sync_dir(dir).map_err(|source| Error::io("make durable", dir, source))
}
