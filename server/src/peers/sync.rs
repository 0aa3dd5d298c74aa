//! Sends a learner what it lacks, on a thread of its own: txns of the log, or the whole state from an image.
//!
//! Owns the thread's work and the way of its chunks to the core: a bounded queue, behind which it waits. It ends when the core drops the [`SyncJob`]. It must
//! never touch what the log's writer owns: it reads the segments as a tool does. A state is that of an image; where the newest is too old, the thread
//! asks for one and waits. It fails by a word in the log and [`SyncProgress::Failed`]; the learner comes back.

use crate::hub::Hub;
use crate::image::ImageRequest;
use engine::turn::SyncProgress;
use engine::turn::sync::{LogSource, Records, SnapSource, SourceState};
use proto::Zxid;
use snapshot::control::ControlFile;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};
use wal::{DirReadDisk, Generation, LogView, Reader};
use zab::Sync;

/// Where what a learner lacks is read.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) hub: Arc<Hub>,
    pub(super) log_dir: PathBuf,
    pub(super) images: ImageRequest,
    /// Names the generation of the log that counts.
    pub(super) control: ControlFile,
}

/// Work for one learner.
#[derive(Debug)]
pub(super) struct SyncJob {
    chunks: Receiver<Chunk>,
    /// Tells the thread while it waits for an image; else it sees by the queue that nobody wants its chunks.
    is_given_up: Arc<AtomicBool>,
}

impl Drop for SyncJob {
    fn drop(&mut self) {
        self.is_given_up.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
enum Chunk {
    Bytes(Vec<u8>),
    Done(Zxid),
}

impl SyncJob {
    /// Starts the thread. Without one the job fails at its first look.
    pub(super) fn start(sources: &Sources, sync: Sync) -> SyncJob {
        let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
        let sources = sources.clone();
        let is_given_up = Arc::<AtomicBool>::default();
        let its_end = Arc::clone(&is_given_up);
        let thread = std::thread::Builder::new().name("rk-sync".into()).spawn(move || {
            let worker = Worker { sources: &sources, chunks: &sender, is_given_up: &its_end };
            if let Err(why) = worker.work(sync) {
                tracing::warn!(
                    ?sync,
                    why,
                    "a learner cannot be sent what it lacks: its link is closed, and it comes back"
                );
            }
            drop(sender);
            sources.hub.ring_core();
        });
        if let Err(error) = thread {
            tracing::error!(%error, "there is no thread to send a learner what it lacks");
        }
        SyncJob { chunks, is_given_up }
    }

    /// Appends the next chunk.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> SyncProgress {
        match self.chunks.try_recv() {
            Ok(Chunk::Bytes(bytes)) => {
                out.extend_from_slice(&bytes);
                SyncProgress::Appended
            }
            Ok(Chunk::Done(to)) => SyncProgress::Done(to),
            Err(TryRecvError::Empty) => SyncProgress::Waits,
            Err(TryRecvError::Disconnected) => SyncProgress::Failed,
        }
    }
}

struct Worker<'a> {
    sources: &'a Sources,
    chunks: &'a SyncSender<Chunk>,
    is_given_up: &'a AtomicBool,
}

impl Worker<'_> {
    fn work(&self, sync: Sync) -> Result<(), String> {
        match sync {
            Sync::Log { after, to, epoch } => {
                let generation = Generation(self.sources.control.get().log_generation);
                let records = log_after(&self.sources.log_dir, generation, after)?;
                let mut source = LogSource::new(records, after, to, epoch);
                self.send_all(|out| source.next_chunk(out, CHUNK_BYTES))
            }
            Sync::Snap { zxid } => {
                let mut source = self.state_from(zxid)?;
                tracing::info!(zxid = %source.zxid(), "sending a learner the whole state");
                self.send_all(|out| source.next_chunk(out, CHUNK_BYTES))
            }
        }
    }

    fn send_all<E: Display>(&self, mut next: impl FnMut(&mut Vec<u8>) -> Result<SourceState, E>) -> Result<(), String> {
        loop {
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            let state = next(&mut bytes).map_err(|error| error.to_string())?;
            if !bytes.is_empty() && !self.give(Chunk::Bytes(bytes)) {
                return Ok(());
            }
            if let SourceState::Done { to } = state {
                self.give(Chunk::Done(to));
                return Ok(());
            }
        }
    }

    /// False: nobody wants it any more.
    fn give(&self, chunk: Chunk) -> bool {
        let given = self.chunks.send(chunk).is_ok();
        self.sources.hub.ring_core();
        given
    }

    /// A state that is at least at `zxid`, once there is an image of one.
    fn state_from(&self, zxid: Zxid) -> Result<SnapSource, String> {
        let since = Instant::now();
        loop {
            let base = self.sources.hub.read_tree().base().cloned();
            match SnapSource::at_least(zxid, base.as_ref()) {
                Some(source) => return Ok(source),
                _ if since.elapsed() > IMAGE_WAIT_MAX => {
                    return Err(format!("there was no image at {zxid} within {} s", IMAGE_WAIT_MAX.as_secs()));
                }
                _ if self.is_given_up.load(Ordering::Acquire) => return Err("its link has ended".to_owned()),
                _ if self.sources.hub.is_stopping() => return Err("the server stops".to_owned()),
                _ => {}
            }
            // It is asked for again: one that was under way is older.
            self.sources.images.ask();
            std::thread::sleep(IMAGE_LOOK_EVERY);
        }
    }
}

/// The records of a log behind `after`, read beside its writer.
fn log_after(dir: &Path, generation: Generation, after: Zxid) -> Result<LogRecords, String> {
    let disk = DirReadDisk::new(dir);
    let view = LogView::open(disk, Some(generation)).map_err(|error| error.to_string())?;
    let reader = view.reader(after.0).map_err(|error| error.to_string())?;
    Ok(LogRecords(reader))
}

struct LogRecords(Reader<DirReadDisk>);

impl Records for LogRecords {
    type Error = wal::Error;

    fn next_record(&mut self) -> Result<Option<(u64, &[u8])>, wal::Error> {
        self.0.next_record()
    }
}

/// Bytes that the thread reads at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait for room on the link.
const CHUNKS_AHEAD: usize = 4;
/// How long an image may take until a learner is told to come back.
const IMAGE_WAIT_MAX: Duration = Duration::from_secs(600);
const IMAGE_LOOK_EVERY: Duration = Duration::from_millis(10);
