//! A server's process: the production types and the production turn loop, driven as `server`'s threads drive them.
//!
//! Owns what dies with a process. Each [`Turn`] is what one of the server's threads does between two sleeps, and ends at an effect; between two turns anything
//! may be crashed. It must never decide anything about the protocol. It fails where the log or the control file fails, and then the process ends (law 8).

use super::bugs::Bug;
use super::effects::{Applied, Effect};
use super::io::{Io, TreeCell};
use super::laws::Kept;
use super::log::LogSide;
use super::recovery::{Begin, Site};
use super::shard::Shard;
use crate::world::chance::Chance;
use crate::world::network::ConnId as NetConn;
use engine::replica::{LocalSessions, Now, Replica, ReplicaOptions};
use engine::tree::Tree;
use engine::turn::wire::Wire;
use engine::turn::{self, LinkLimits, LinkTable};
use proto::{ServerId, Zxid};
use snapshot::control::Control;
use snapshot::store::StoreError;
use std::collections::VecDeque;
use std::sync::Arc;
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
pub(super) const GROUP_BYTES: usize = 16 << 10;
pub(super) const RECORD_BYTES_MAX: usize = 32 << 10;

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
    /// What new sessions are.
    pub(super) sessions: LocalSessions,
}

impl Process {
    /// Of what recovery has read.
    pub(super) fn new(
        log: LogSide,
        tree: Tree,
        history: History,
        replayed: VecDeque<Applied>,
        site: &Site<'_>,
        begin: Begin,
    ) -> Process {
        let (member, making) = (site.member, site.making);
        let shards = (0..SHARDS).map(|number| Shard::new(number, &tree, member.is_none())).collect();
        let control = log.control.get();
        let core = core_of(&control, &tree, history, log.log.history_begins_after(), begin.now, member, begin.bug);
        let io = Io::new(log, begin.now, member, making, replayed);
        Process { core, tree: TreeCell::new(tree), shards, io, image_one_in: making.image_one_in, led: None }
    }

    /// What its tree shows.
    pub(super) fn with_tree<T>(&self, see: impl FnOnce(&Tree) -> T) -> T {
        see(&self.tree.0.borrow())
    }

    /// What recovery has put into the tree beside the image.
    pub(super) fn take_replayed(&mut self) -> VecDeque<Applied> {
        std::mem::take(&mut self.io.replayed)
    }

    /// What the log's side has made durable since the last call.
    pub(super) fn take_kept(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.io.log.kept)
    }

    /// Is what lies on the disk all that this server ever had?
    pub(super) fn is_whole(&self) -> bool {
        self.control().is_whole
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

    /// The control file.
    pub(super) fn control(&self) -> Control {
        self.io.log.control.get()
    }

    /// A clean stop, with everything written. False: the log could not be closed, for want of space.
    pub(super) fn close(self) -> Result<bool, StoreError> {
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
        local_sessions: member.map_or(LocalSessions::No, |member| member.sessions),
        ..ReplicaOptions::default()
    };
    let Some(Membership { me, ensemble, .. }) = member else {
        return turn::Core::alone(Replica::new(options, tree, now));
    };
    history.raise_floor(Zxid(log_begins_after));
    // An image that was taken from a leader is a quorum's once its UPTODATE has come.
    let sure = control.former.as_ref().map_or(control.image.as_ref(), |former| former.image.as_ref());
    let start = Start {
        epochs: Epochs { accepted: control.accepted_epoch, current: control.current_epoch },
        committed: sure.map_or(Zxid::ZERO, |image| image.zxid).min(history.last()),
        is_whole: control.is_whole,
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
    let is_member = |line: &&str| !line.starts_with("group.") && !line.starts_with("weight.");
    let members: Vec<String> = ensemble.to_text().lines().filter(is_member).map(str::to_owned).collect();
    let text = format!("{}\ngroup.1={}{}", members.join("\n"), voters.join(":"), weights.collect::<String>());
    Ensemble::parse(&text).expect("that is an ensemble")
}

pub(super) fn us(now: Now) -> u64 {
    u64::try_from(now.mono_ms).unwrap_or(0) * 1_000
}
