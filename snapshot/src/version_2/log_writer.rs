//! Writes a log file that ZooKeeper reads (`FileTxnLog.append`).

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use proto::jute::Writer;

use super::snapshot_writer::sync_parent;
use super::{Error, FORMAT_VERSION, LOG_MAGIC, RECORD_END, Result};

/// A log file that is being written. For exports and tests: nothing is durable before [`LogWriter::finish`].
#[derive(Debug)]
pub struct LogWriter {
    out: BufWriter<File>,
    file: PathBuf,
    record: Vec<u8>,
}

impl LogWriter {
    /// Begins a log file, in the place of an old one of that name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<LogWriter> {
        let file = File::create(path).map_err(|source| Error::io("make", path, source))?;
        let mut writer = LogWriter { out: BufWriter::new(file), file: path.to_path_buf(), record: Vec::new() };
        let mut w = Writer::new(&mut writer.record);
        w.int(LOG_MAGIC);
        w.int(FORMAT_VERSION);
        w.long(0);
        writer.put()?;
        Ok(writer)
    }

    /// A txn, as [`proto::txn::TxnRecord::encode`] makes it.
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// Above 2^31 - 1 bytes.
    pub fn append(&mut self, payload: &[u8]) -> Result<()> {
        self.record.clear();
        let mut w = Writer::new(&mut self.record);
        w.long(i64::from(adler2::adler32_slice(payload)));
        w.buffer(Some(payload));
        w.raw(&[RECORD_END]);
        self.put()
    }

    /// Makes the file durable, with so many zeros behind the records.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self, zeros: u64) -> Result<()> {
        let io = |action, source| Error::io(action, &self.file, source);
        self.out.flush().map_err(|source| io("write", source))?;
        let file = self.out.get_ref();
        let bytes = file.metadata().map_err(|source| io("look at", source))?.len();
        file.set_len(bytes + zeros).map_err(|source| io("lengthen", source))?;
        file.sync_all().map_err(|source| io("make durable", source))?;
        sync_parent(&self.file)
    }

    fn put(&mut self) -> Result<()> {
        self.out.write_all(&self.record).map_err(|source| Error::io("write", &self.file, source))
    }
}
