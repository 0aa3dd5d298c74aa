//! A server's process: the production types and the production turn loop, driven as `server`'s threads drive them.
//!
//! Owns what dies with a process. Each [`Turn`] is what one of the server's threads does between two sleeps, and ends at an effect; between two turns anything
//! may be crashed. It must never decide anything about the protocol. It fails where the log or the control file fails, and then the process ends (law 8).

use super::bugs::Bug;
use super::effects::{Applied, Effect, TxnNote};
use super::io::{Io, TreeCell};
use super::log::LogSide;
use super::place::{Place, PoweredDisk};
use super::scenario::Making;
use super::shard::Shard;
use crate::world::chance::Chance;
use crate::world::network::ConnId as NetConn;
use engine::apply;
use engine::replica::{Now, Replica, ReplicaOptions};
use engine::tree::Tree;
use engine::turn::wire::Wire;
use engine::turn::{self, LinkLimits, LinkTable};
use proto::txn::TxnRecord;
use proto::{ServerId, Zxid};
use snapshot::AnyImage;
use snapshot::control::{Control, ControlFile};
use snapshot::store::{self, StoreError};
use std::collections::VecDeque;
use std::sync::Arc;
use wal::sim_disk::SimDisk;
use wal::{Generation, Log, Options};
use zab::ensemble::Ensemble;
use zab::{Epochs, History, Peer, PeerOptions, Start};

/// What one of the server's threads does between two sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Turn {
    /// A shard.
    Shard(usize),
    /// The consensus core.
    Core,
    /// The log's thread: gathers and starts a group, or tidies.
    Log,
    /// The group in flight has come to its end.
    LogDone,
    /// The image thread.
    Image,
}

/// Shards of a server.
pub(super) const SHARDS: usize = 2;
/// ZooKeeper's tick, ms.
pub(super) const TICK_MS: i64 = 500;
/// With a segment's bytes in [`Making`]: a group and a record must fit.
const GROUP_BYTES: usize = 16 << 10;
const RECORD_BYTES_MAX: usize = 32 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Process {
    core: turn::Core,
    tree: TreeCell,
    shards: Vec<Shard>,
    io: Io,
    /// One of so many turns of the core begins an image.
    image_one_in: u64,
    /// The office that was told of.
    led: Option<u64>,
}

/// Which server of which ensemble a process is; none of a standalone one.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) me: ServerId,
    pub(super) ensemble: Ensemble,
}

/// Where a process is started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'m> {
    pub(super) place: &'m Place,
    pub(super) member: Option<&'m Membership>,
    pub(super) making: Making,
}

/// A recovered process, and the state that it has started from.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) process: Process,
    /// Of the image, and its digest, if there is one.
    pub(super) base: (Zxid, Option<u64>),
    /// Of the whole tree.
    pub(super) last: (Zxid, u64),
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoveryError {
    /// The log.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// The control file.
    #[error(transparent)]
    Control(#[from] snapshot::Error),
    /// A planted bug's cut.
    #[error(transparent)]
    Cut(#[from] StoreError),
    /// The image does not make a tree.
    #[error(transparent)]
    Tree(#[from] engine::tree::LoadError),
    /// What the log has is no txn.
    #[error("a record that is no txn: {0}")]
    Record(#[from] proto::DecodeError),
}

impl Process {
    /// Recovers from the disk, as `server/src/recovery` does.
    pub(super) fn recover(
        site: &Site<'_>,
        disk: SimDisk,
        salt: u64,
        now: Now,
        is_first: bool,
        bug: Option<Bug>,
    ) -> Result<Recovered, RecoveryError> {
        let Site { place, member, making } = *site;
        let mut control = match Control::load(place.dir())? {
            Some(control) => control,
            None => {
                // Where something was, and is not, it is not a first start (law 10).
                let is_whole = is_first || bug == Some(Bug::VoteWithLostLog);
                let control = Control { log_generation: 1, is_whole, ..Control::default() };
                control.replace(place.dir())?;
                control
            }
        };
        if bug == Some(Bug::PromiseForgotten) {
            control.accepted_epoch = control.current_epoch;
        }
        let mut tree = match &control.image {
            Some(image) => Tree::of_image(AnyImage::open(place.dir(), image)?)?,
            None => Tree::new(),
        };
        let base = (tree.last_zxid(), control.image.is_some().then(|| tree.digest()));
        let options = Options {
            segment_bytes: making.segment_bytes,
            group_bytes: GROUP_BYTES,
            max_record_bytes: RECORD_BYTES_MAX,
            generation: Generation(control.log_generation),
            replay_after: base.0.0,
            salt,
            ..Options::new()
        };
        let (mut log, mut records) = Log::open(disk.clone(), options)?;
        let spans = control.spans();
        let mut history = History::of_spans(spans.floor(), spans.ends()).unwrap_or_else(|| History::new(base.0));
        let (mut replayed, mut changes) = (VecDeque::new(), Vec::new());
        let mut found = Vec::new();
        while let Some((zxid, bytes)) = records.next_record()? {
            found.push((Zxid(zxid), bytes.to_vec()));
        }
        drop(records);
        let control_file = ControlFile::on(Box::new(PoweredDisk(disk)), place.dir(), control.clone());
        if bug == Some(Bug::LastRecordsLost) && found.len() > 2 {
            found.truncate(found.len() - 2);
            let to = found.last().map_or(base.0, |(zxid, _)| *zxid);
            let _: store::Cut<()> = store::cut(&mut log, &control_file, to, None)?;
        }
        for (zxid, bytes) in &found {
            let record = TxnRecord::decode(bytes)?;
            apply::apply(&mut tree, &record, &mut changes, None);
            changes.clear();
            replayed.push_back(Applied { txn: TxnNote::of(&record, bytes), digest: tree.digest() });
            if member.is_some() {
                history.push(*zxid);
            }
        }
        let last = (tree.last_zxid(), tree.digest());
        let is_serving = member.is_none();
        let shards = (0..SHARDS).map(|number| Shard::new(number, &tree, is_serving)).collect();
        let core = core_of(&control, &tree, history, log.history_begins_after(), now, member, bug);
        let io = Io::new(LogSide::new(log, control_file, bug), now, member, making, replayed);
        let image_one_in = making.image_one_in;
        let process = Process { core, tree: TreeCell::new(tree), shards, io, image_one_in, led: None };
        Ok(Recovered { process, base, last })
    }

    /// What its tree shows.
    pub(super) fn with_tree<T>(&self, see: impl FnOnce(&Tree) -> T) -> T {
        see(&self.tree.0.borrow())
    }

    /// What recovery has put into the tree beside the image.
    pub(super) fn take_replayed(&mut self) -> VecDeque<Applied> {
        std::mem::take(&mut self.io.replayed)
    }

    /// Is what lies on the disk all that this server ever had?
    pub(super) fn is_whole(&self) -> bool {
        self.io.log.control.get().is_whole
    }

    /// Is nothing on its way?
    pub(super) fn is_idle(&self) -> bool {
        self.core.is_idle() && self.io.log.is_idle()
    }

    /// What is on its way.
    pub(super) fn on_their_way(&self) -> String {
        let (replica, log) = (self.core.replica(), &self.io.log);
        let positions = replica.peer().positions();
        let office = replica.office();
        let core = format!("{:?}", self.core);
        let at = core.find("following: ").unwrap_or(0);
        let following: String = core.chars().skip(at).take(1_000).collect();
        let at = core.find("says: ").unwrap_or(0);
        let says: String = core.chars().skip(at).take(300).collect();
        format!(
            "{following} SAYS {says} {} pending, core {}, log {}, {positions:?}, {office:?}",
            replica.pending_len(),
            self.core.is_idle(),
            log.is_idle()
        )
    }

    /// Does it serve clients?
    pub(super) fn is_serving(&self) -> bool {
        self.core.replica().office().is_serving
    }

    /// Does it lead?
    pub(super) fn leads(&self) -> bool {
        let office = self.core.replica().office();
        office.is_serving && office.state == proto::election::ServerState::Leading
    }

    /// A clean stop, with everything written.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.io.log.close()
    }

    /// What the network moves for the core.
    pub(super) const fn io(&mut self) -> &mut Io {
        &mut self.io
    }

    // ---- the clients' side ----------------------------------------------------------------------------------------------

    /// A client has connected. Returns the shard whose it is.
    pub(super) fn accepted(&mut self, net: NetConn, now: Now) -> usize {
        let number = usize::try_from(net.0).unwrap_or(0) % SHARDS;
        if let Some(shard) = self.shards.get_mut(number) {
            shard.accepted(net, now);
        }
        number
    }

    /// Bytes lie in a socket. Returns the shard whose it is.
    pub(super) fn arrived(&mut self, net: NetConn, bytes: &[u8]) -> Option<usize> {
        let mut all = self.shards.iter_mut().enumerate();
        let (number, socket) = all.find_map(|(number, shard)| Some((number, shard.socket(net)?)))?;
        socket.unread.extend_from_slice(bytes);
        Some(number)
    }

    /// A socket is over.
    pub(super) fn closed(&mut self, net: NetConn) -> Option<usize> {
        let mut all = self.shards.iter_mut().enumerate();
        let (number, socket) = all.find_map(|(number, shard)| Some((number, shard.socket(net)?)))?;
        socket.is_over = true;
        Some(number)
    }

    // ---- turns ----------------------------------------------------------------------------------------------------------

    /// One thread does what it has to.
    pub(super) fn turn(&mut self, turn: Turn, now: Now, chance: &mut Chance) -> Result<Vec<Effect>, StoreError> {
        self.io.now = now;
        match turn {
            Turn::Shard(number) => {
                let Io { lanes, effects, log, .. } = &mut self.io;
                if let (Some(shard), Some(lane)) = (self.shards.get_mut(number), lanes.get_mut(number)) {
                    shard.turn(&self.tree.0.borrow(), lane, now, chance, effects, log.bug);
                }
            }
            Turn::Core => self.core_turn(chance),
            Turn::Log => {
                let Io { log, effects, .. } = &mut self.io;
                log.turn(chance, effects)?;
            }
            Turn::LogDone => {
                let Io { log, effects, .. } = &mut self.io;
                log.group_ends(effects)?;
            }
            Turn::Image => self.io.write_image()?,
        }
        Ok(std::mem::take(&mut self.io.effects))
    }

    fn core_turn(&mut self, chance: &mut Chance) {
        self.io.wants_image = chance.one_in(self.image_one_in);
        if self.core.turn(&mut self.io, &self.tree) {
            self.io.effects.push(Effect::Wake(Turn::Core));
        }
        let mut tree = self.tree.0.borrow_mut();
        self.io.use_images(&mut tree);
        let may = self.core.may_freeze(&self.io, tree.last_zxid()) || self.io.log.bug == Some(Bug::ImageAheadOfLog);
        if self.io.needs_image() && may {
            self.io.freeze(&mut tree, self.core.replica());
        }
        drop(tree);
        let committed = self.core.replica().peer().positions().committed;
        self.io.tell_replayed(committed);
        let office = self.core.replica().office();
        let leads = office.epoch.filter(|_| self.leads() && !self.io.is_alone()).map(|epoch| u64::from(epoch.0));
        if leads != self.led {
            self.led = leads;
            self.io.effects.extend(leads.map(Effect::Leads));
        }
        let next_ms = self.core.next_turn_ms() - self.io.now.mono_ms;
        self.io.effects.push(Effect::WakeAfter(Turn::Core, u64::try_from(next_ms).unwrap_or(0)));
    }
}

fn core_of(
    control: &Control,
    tree: &Tree,
    mut history: History,
    log_begins_after: u64,
    now: Now,
    member: Option<&Membership>,
    bug: Option<Bug>,
) -> turn::Core {
    let options = ReplicaOptions {
        tick_ms: TICK_MS,
        session_timeout_ms_min: 1_000,
        session_timeout_ms_max: 20_000,
        server: member.map_or(ServerId(0), |member| member.me),
        ..ReplicaOptions::default()
    };
    let Some(Membership { me, ensemble }) = member else {
        return turn::Core::alone(Replica::new(options, tree, now));
    };
    history.raise_floor(Zxid(log_begins_after));
    // An image that was taken from a leader is a quorum's once its UPTODATE has come.
    let sure = control.former.as_ref().map_or(control.image.as_ref(), |former| former.image.as_ref());
    let start = Start {
        epochs: Epochs { accepted: control.accepted_epoch, current: control.current_epoch },
        committed: sure.map_or(Zxid::ZERO, |image| image.zxid).min(history.last()),
        is_whole: control.is_whole && tree.last_zxid() >= control.history_zxid,
        history,
    };
    let peer = PeerOptions { tick_ms: TICK_MS, ..PeerOptions::new(*me) };
    let wire = Wire::new(*me, ensemble.version(), Arc::from(ensemble.to_text()));
    // Small, so that links fill up; but more than a whole run writes may wait, as in production more than a leader keeps: it is sent at once.
    let limits = LinkLimits { output_bytes_full: 16 << 10, output_bytes_max: 64 << 20, ..LinkLimits::default() };
    let is_planted = bug == Some(Bug::CommitWithoutQuorum);
    let quorums = if is_planted { alone_a_quorum(*me, ensemble) } else { ensemble.clone() };
    let replica = Replica::in_ensemble(options, Peer::new(peer, quorums, start), tree, now);
    turn::Core::member(replica, LinkTable::new(limits), wire)
}

/// The same members, of whom this server alone has weight.
fn alone_a_quorum(me: ServerId, ensemble: &Ensemble) -> Ensemble {
    let voters: Vec<String> = ensemble.voters().map(|voter| voter.0.to_string()).collect();
    let weights = ensemble.voters().map(|voter| format!("\nweight.{}={}", voter.0, u8::from(voter == me)));
    let text = format!("{}\ngroup.1={}{}", ensemble.to_text(), voters.join(":"), weights.collect::<String>());
    Ensemble::parse(&text).expect("that is an ensemble")
}

pub(super) fn us(now: Now) -> u64 {
    u64::try_from(now.mono_ms).unwrap_or(0) * 1_000
}
