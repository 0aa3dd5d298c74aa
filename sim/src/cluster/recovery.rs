//! A start: what lies on a machine becomes a process, as `server/src/recovery` does it.
//!
//! Owns the order of reading and of what is noted. Whether a history may vote is [`snapshot::standing`]'s to say, as in production, and so is what a member does
//! with what does not read: it is set aside, and the server waits for a whole state. What was found to be lost is told ([`Recovered::losses`]): the driver knows whether anything
//! was. It must never decide that by itself.

use super::bugs::Bug;
use super::effects::{Applied, TxnNote};
use super::log::LogSide;
use super::planted;
use super::process::{GROUP_BYTES, Membership, Process, RECORD_BYTES_MAX};
use super::scenario::Making;
use crate::world::disk::MachineDisk;
use engine::apply;
use engine::replica::Now;
use engine::tree::Tree;
use proto::Zxid;
use proto::txn::TxnRecord;
use snapshot::control::{Control, ControlFile};
use snapshot::disk::Disk;
use snapshot::standing::{Evidence, Place, Refusal, Standing};
use snapshot::store::{self, StoreError};
use snapshot::{AnyImage, DataDir, Identity};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use wal::sim_disk::SimDisk;
use wal::{Generation, Log, Options};
use zab::History;

/// Where a process is started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'m> {
    pub(super) disk: &'m MachineDisk,
    pub(super) member: Option<&'m Membership>,
    pub(super) making: Making,
}

/// How a process is started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// For the log.
    pub(super) salt: u64,
    pub(super) now: Now,
    /// May an empty server vote? ZooKeeper's `db.autocreate`.
    pub(super) autocreate: bool,
    pub(super) bug: Option<Bug>,
}

/// A recovered process, and the state that it has started from.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) process: Process,
    /// Of the image, and its digest, if there is one.
    pub(super) base: (Zxid, Option<u64>),
    /// Of the whole tree.
    pub(super) last: (Zxid, u64),
    /// What image and log hold, up to a gap, if there is one.
    pub(super) held: History,
    /// What it has found to be lost.
    pub(super) losses: Vec<String>,
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoveryError {
    /// The log.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// The control file, the identity or an image.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A planted bug's cut.
    #[error(transparent)]
    Cut(#[from] StoreError),
    /// The image does not make a tree.
    #[error(transparent)]
    Tree(#[from] engine::tree::LoadError),
    /// What the log has is no txn.
    #[error("a record that is no txn: {0}")]
    Record(#[from] proto::DecodeError),
    /// The directories are not what they were.
    #[error(transparent)]
    Standing(#[from] Refusal),
    /// Of a server that stands alone.
    #[error("image and log reach {0}, but {1} was durable once")]
    LostHistory(Zxid, Zxid),
}

/// What of the data did not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Images,
    Log,
}

impl RecoveryError {
    const fn lost_part(&self) -> Option<Part> {
        match self {
            RecoveryError::Snapshot(snapshot::Error::Damaged { .. }) | RecoveryError::Tree(_) => Some(Part::Images),
            RecoveryError::Log(
                wal::Error::Damage { .. } | wal::Error::GenerationMissing { .. } | wal::Error::HistoryMissing { .. },
            ) => Some(Part::Log),
            _ => None,
        }
    }

    fn is_missing_image(&self) -> bool {
        matches!(self, RecoveryError::Snapshot(snapshot::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound)
    }
}

/// Recovers from the disk.
pub(super) fn recover(site: &Site<'_>, begin: Begin) -> Result<Recovered, RecoveryError> {
    let mut ground = Ground::survey(site, begin)?;
    for dir in [ground.dir, site.disk.log_dir()] {
        DataDir::new(dir).clean_temporaries_on(&*ground.disk)?;
    }
    ground.write_identity(ground.evidence.identity())?;
    let state = match State::read(site, begin, &ground.control) {
        Err(error) if ground.evidence.is_member => {
            let missing = error.is_missing_image().then_some(Part::Images);
            let Some(part) = error.lost_part().or(missing) else { return Err(error) };
            ground.set_aside(part, &error)?;
            State::read(site, begin, &ground.control)?
        }
        state => state?,
    };
    let State { tree, base, log, records, history } = state;
    let replay_base = history.clone();
    let mut replay = Replayed { tree, history, applied: VecDeque::new() };
    let control_file =
        |ground: &Ground<'_>| ControlFile::on(Arc::clone(&ground.disk), ground.dir, ground.control.clone());
    let (mut log, mut records) = (log, records);
    if begin.bug == Some(Bug::LastRecordsLost) && records.len() > 2 {
        records.truncate(records.len() - 2);
        let to = records.last().map_or(base.0, |(zxid, _)| *zxid);
        let control = control_file(&ground);
        let _: store::Cut<()> = store::cut(&mut log, &control, to, None)?;
        ground.control = control.get();
    }
    for (zxid, bytes) in &records {
        replay.take(*zxid, bytes, site.member.is_some())?;
    }
    let mut held = replay_base;
    for (zxid, _) in &records {
        if held.is_next(*zxid) {
            held.push(*zxid);
        }
    }
    let last = (replay.tree.last_zxid(), replay.tree.digest());
    ground.check_end(last.0)?;
    ground.keep()?;
    if begin.bug == Some(Bug::PromiseForgotten) {
        ground.control.accepted_epoch = ground.control.current_epoch;
    }
    let log = LogSide::new(log, control_file(&ground), begin.bug);
    let Replayed { tree, history, applied } = replay;
    let process = Process::new(log, tree, history, applied, site, begin);
    Ok(Recovered { process, base, last, held, losses: ground.losses })
}

/// What a start finds before it reads image and log, and what it notes of it.
struct Ground<'m> {
    site: Site<'m>,
    dir: &'m Path,
    disk: Arc<dyn Disk>,
    evidence: Evidence,
    control: Control,
    is_first_start: bool,
    losses: Vec<String>,
}

impl<'m> Ground<'m> {
    fn survey(site: &Site<'m>, begin: Begin) -> Result<Ground<'m>, RecoveryError> {
        let (dir, disk) = (site.disk.data_dir(), planted::disk(site.disk.data(), begin.bug));
        let is_member = site.member.is_some();
        let (found, damage) = match Control::load(dir) {
            Err(error @ snapshot::Error::Damaged { .. }) if is_member => (None, Some(error)),
            found => (found?, None),
        };
        let evidence = Evidence {
            me: site.member.map(|member| member.me),
            is_member,
            data_dir: Place::look(dir)?.0,
            log_dir: Place::look(site.disk.log_dir())?.0,
            control: found.clone(),
            has_log: site.disk.log().files().keys().any(|name| name.starts_with("segment-")),
            // Where something was, and is not, it is not a first start (law 10).
            autocreate: begin.autocreate || begin.bug == Some(Bug::VoteWithLostLog),
            ..Evidence::default()
        };
        let standing = evidence.judge()?;
        let is_first_start = found.is_none();
        let control = found.unwrap_or_else(|| Control { log_generation: 1, ..Control::default() });
        let mut ground = Ground { site: *site, dir, disk, evidence, control, is_first_start, losses: Vec::new() };
        match (damage, standing) {
            (Some(error), _) => ground.note(error.to_string())?,
            (None, Standing::Incomplete(snapshot::standing::Loss::Noted)) => {}
            (None, Standing::Incomplete(loss)) => ground.note(loss.to_string())?,
            (None, Standing::Whole) => {
                if !ground.control.is_whole || (is_member && is_first_start) {
                    ground.replace(Control { is_whole: true, ..ground.control.clone() })?;
                }
            }
        }
        Ok(ground)
    }

    fn replace(&mut self, control: Control) -> Result<(), RecoveryError> {
        control.replace_on(&*self.disk, self.dir)?;
        self.control = control;
        Ok(())
    }

    fn note(&mut self, loss: String) -> Result<(), RecoveryError> {
        self.replace(Control { is_whole: false, ..self.control.clone() })?;
        self.losses.push(loss);
        Ok(())
    }

    /// The log directory's first.
    fn write_identity(&self, identity: Identity) -> Result<(), RecoveryError> {
        for dir in [self.site.disk.log_dir(), self.dir] {
            if Place::look(dir)?.0.identity != Some(identity) {
                identity.replace_on(&*self.disk, dir)?;
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, part: Part, error: &RecoveryError) -> Result<(), RecoveryError> {
        let control = self.control.clone();
        self.replace(match part {
            Part::Images => {
                Control { image: None, former: None, log_cut: None, spans: None, is_whole: false, ..control }
            }
            Part::Log => Control { former: None, log_cut: None, is_whole: false, ..control },
        })?;
        self.site.disk.remove_log();
        if part == Part::Images {
            for image in DataDir::new(self.dir).images()? {
                self.disk.remove(&image.path).map_err(|source| io_error(&image.path, source))?;
            }
            self.disk.sync_dir(self.dir).map_err(|source| io_error(self.dir, source))?;
        }
        self.losses.push(error.to_string());
        Ok(())
    }

    /// Does it reach as far as it once did?
    fn check_end(&mut self, found: Zxid) -> Result<(), RecoveryError> {
        let known = self.control.history_zxid;
        if !self.control.is_whole || found >= known {
            return Ok(());
        }
        if !self.evidence.is_member {
            return Err(RecoveryError::LostHistory(found, known));
        }
        self.note(format!("image and log reach {found}, and {known} was durable once"))
    }

    /// The last that a start writes: from here on others may count on what the server has.
    fn keep(&mut self) -> Result<(), RecoveryError> {
        if self.is_first_start {
            self.replace(self.control.clone())?;
        }
        if self.evidence.is_member && !self.control.has_voted {
            self.replace(Control { has_voted: true, ..self.control.clone() })?;
        }
        if self.evidence.is_member && !self.evidence.identity().has_voted {
            self.write_identity(Identity { has_voted: true, ..self.evidence.identity() })?;
        }
        Ok(())
    }
}

fn io_error(file: &Path, source: std::io::Error) -> snapshot::Error {
    snapshot::Error::Io { action: "set aside", file: file.to_owned(), source }
}

/// Image and log, read.
struct State {
    tree: Tree,
    base: (Zxid, Option<u64>),
    log: Log<SimDisk>,
    records: Vec<(Zxid, Vec<u8>)>,
    history: History,
}

impl State {
    fn read(site: &Site<'_>, begin: Begin, control: &Control) -> Result<State, RecoveryError> {
        let tree = match &control.image {
            Some(image) => Tree::of_image(AnyImage::open(site.disk.data_dir(), image)?)?,
            None => Tree::new(),
        };
        let base = (tree.last_zxid(), control.image.is_some().then(|| tree.digest()));
        let options = Options {
            segment_bytes: site.making.segment_bytes,
            group_bytes: GROUP_BYTES,
            max_record_bytes: RECORD_BYTES_MAX,
            generation: Generation(control.log_generation),
            replay_after: base.0.0,
            salt: begin.salt,
            ..Options::new()
        };
        let (log, mut reader) = Log::open(site.disk.log(), options)?;
        let mut records = Vec::new();
        while let Some((zxid, bytes)) = reader.next_record()? {
            records.push((Zxid(zxid), bytes.to_vec()));
        }
        let spans = control.spans();
        let history = History::of_spans(spans.floor(), spans.ends()).unwrap_or_else(|| History::new(base.0));
        Ok(State { tree, base, log, records, history })
    }
}

/// A tree on the way to its end.
struct Replayed {
    tree: Tree,
    history: History,
    applied: VecDeque<Applied>,
}

impl Replayed {
    fn take(&mut self, zxid: Zxid, bytes: &[u8], is_member: bool) -> Result<(), RecoveryError> {
        let record = TxnRecord::decode(bytes)?;
        apply::apply(&mut self.tree, &record, &mut Vec::new(), None);
        self.applied.push_back(Applied { txn: TxnNote::of(&record, bytes), digest: self.tree.digest() });
        if is_member {
            self.history.push(zxid);
        }
        Ok(())
    }
}
