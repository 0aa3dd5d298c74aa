//! One trial: an ensemble, clients that ask it all the time, faults, and at the end the question whether all of it was right.

use super::crowd::Crowd;
use super::kazoo::Kazoo;
use super::logs;
use ringkeeper_sim::check::{self, servers};
use ringkeeper_sim::history::{At, ClientId, Event, History, Op, ServerId, SessionId, TxnKind, Xid, Zxid};
use ringkeeper_tests::cluster::{Cluster, Plan};
use std::collections::{BTreeMap, BTreeSet};

/// As the issue has it.
const CLIENTS: u32 = 8;

/// See the module.
pub struct Trial {
    pub cluster: Cluster,
    crowd: Option<Crowd>,
    kazoo: Option<Kazoo>,
}

impl Trial {
    /// Starts the ensemble, and clients on all of its servers, until they have had replies.
    pub fn begin(plan: Plan, seed: u64) -> Trial {
        Trial::on(plan.start(), seed)
    }

    /// The same on an ensemble that serves.
    pub fn on(cluster: Cluster, seed: u64) -> Trial {
        let crowd = Crowd::begin(&cluster.addresses(), CLIENTS, seed);
        let trial = Trial { cluster, crowd: Some(crowd), kazoo: None };
        trial.progress();
        trial
    }

    /// With kazoo's clients beside ours.
    pub fn with_kazoo(mut self, seed: u64) -> Trial {
        self.kazoo = Some(Kazoo::begin(&self.cluster, seed));
        self
    }

    /// Waits until the clients have had a good many replies: the ensemble works.
    pub fn progress(&self) {
        self.crowd().progress(200);
    }

    /// Does something to the ensemble, and writes that down.
    pub fn act(&mut self, what: &str, act: impl FnOnce(&mut Cluster)) {
        self.crowd().note(what);
        act(&mut self.cluster);
    }

    /// All servers serve again, all clients have their answers, all servers have the same tree, and what the clients saw is explained by the log. Gives the
    /// history.
    pub fn finish(self) -> History {
        self.finish_behind(0)
    }

    /// The same, where epochs may begin behind this counter, and the first of all does ([`Cluster::begin_epochs_behind`]).
    pub fn finish_behind(mut self, initial_counter: u32) -> History {
        self.cluster.await_serving();
        self.progress();
        self.crowd().settle();
        self.kazoo.iter_mut().for_each(Kazoo::settle);
        let mut finals = History::new();
        logs::add_final_trees(&mut finals, &self.cluster);
        let ours = self.crowd.take().expect("it was there").end();
        let kazoos = self.kazoo.take().map(Kazoo::end).unwrap_or_default();
        self.cluster.stop_all();
        logs::add_txns(&mut finals, &self.cluster, Zxid((1 << 32) + u64::from(initial_counter) + 1));
        println!("{} lines of our clients, {} of kazoo's", ours.len(), kazoos.len());
        let mut history = History::merge(vec![ours, kazoos, finals]);
        if self.cluster.ids().into_iter().any(|id| self.cluster.implementation_of(id).is_java()) {
            let cluster = &self.cluster;
            without_ends_that_never_were(&mut history, |ServerId(id)| {
                cluster.implementation_of(u8::try_from(id).expect("ids are small")).is_java()
            });
            without_syncs_of_leaders(&mut history, &logs::led_by_java(&self.cluster));
        }
        println!("{} lines of history", history.len());
        assert_right_behind(&history, initial_counter);
        history
    }

    fn crowd(&self) -> &Crowd {
        self.crowd.as_ref().expect("it is there until the end")
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // What the clients saw up to a failure is worth reading.
        if let (true, Some(crowd)) = (std::thread::panicking(), &self.crowd) {
            keep(&crowd.so_far());
        }
    }
}

/// Java's leader that has stood still goes on as one: it expires the sessions that it has not heard of, and tells their clients so, before it notices that
/// another leads and nobody has committed that. To these clients it was a lost connection. (RingKeeper's servers must not do this, and are not excused.)
fn without_ends_that_never_were(history: &mut History, is_java: impl Fn(ServerId) -> bool) {
    let ended: BTreeSet<SessionId> = history.events().filter_map(|(_, event)| ended_by(event)).collect();
    let mut sessions: BTreeMap<ClientId, SessionId> = BTreeMap::new();
    for line in history.lines_mut() {
        match line.event {
            Event::Connected { client, session, .. } => drop(sessions.insert(client, session)),
            // kazoo does not tell who said so.
            Event::Expired { client, server }
                if sessions.get(&client).is_some_and(|session| !ended.contains(session))
                    && server.is_none_or(&is_java) =>
            {
                println!("{client:?} was told by {server:?} of an end that was none");
                line.event = Event::Lost { client };
            }
            _ => {}
        }
    }
}

/// Java's leader takes a sync of a client of its own for a read (`LeaderZooKeeperServer`: `matchSyncs` is false): what it has committed and not applied yet, a follower's
/// client may have seen before. (With a follower of Java's, and everywhere with RingKeeper's servers, a sync is one.)
fn without_syncs_of_leaders(history: &mut History, led: &BTreeSet<(ServerId, u64)>) {
    let mut servers: BTreeMap<ClientId, ServerId> = BTreeMap::new();
    let mut asked: BTreeMap<(ClientId, Xid), (At, ServerId)> = BTreeMap::new();
    let mut reads: BTreeSet<At> = BTreeSet::new();
    for (at, event) in history.events() {
        match event {
            Event::Connected { client, server: Some(server), .. } => drop(servers.insert(*client, *server)),
            Event::Ask { client, xid, op: Op::Sync { .. } } => {
                asked.extend(servers.get(client).map(|server| ((*client, *xid), (at, *server))));
            }
            Event::Reply { client, xid, zxid, .. } => {
                let sync = asked.remove(&(*client, *xid)).filter(|(_, server)| led.contains(&(*server, zxid.epoch())));
                reads.extend(sync.into_iter().flat_map(|(asked, _)| [asked, at]));
            }
            // Its next session may count anew.
            Event::Lost { client } | Event::Expired { client, .. } => asked.retain(|(whose, _), _| whose != client),
            _ => {}
        }
    }
    println!("{} syncs with a leader of Java's are taken for the reads that they are", reads.len() / 2);
    let lines = std::mem::take(history.lines_mut());
    let kept = (0..).map(At).zip(lines).filter(|(at, _)| !reads.contains(at)).map(|(_, line)| line);
    history.lines_mut().extend(kept);
}

fn ended_by(event: &Event) -> Option<SessionId> {
    match event {
        Event::Applied { session, kind: TxnKind::End, .. } => Some(*session),
        _ => None,
    }
}

/// Everything that can be checked is right, and nothing is left undecided.
pub fn assert_right(history: &History) {
    assert_right_behind(history, 0);
}

fn assert_right_behind(history: &History, initial_counter: u32) {
    let all = check::ALL.iter().filter(|(name, _)| *name != servers::NO_GAPS);
    let no_gaps = match initial_counter {
        0 => servers::no_gaps(history),
        behind => servers::no_gaps(&without_first_gaps(history, behind.into())),
    };
    let violations: Vec<_> = all.filter_map(|(_, checker)| checker(history).err()).chain(no_gaps.err()).collect();
    let undecided = check::undecided(history);
    if violations.is_empty() && undecided.is_empty() {
        return;
    }
    keep(history);
    let told: Vec<String> = violations.iter().map(|violation| violation.in_full(history)).chain(undecided).collect();
    panic!("the history is wrong:\n{}", told.join("\n"));
}

/// For the one checker: each server is said to have been at this counter where it has a txn behind it.
fn without_first_gaps(history: &History, initial_counter: u64) -> History {
    let mut told = History::new();
    for (_, event) in history.events() {
        if let Event::Applied { server, zxid, .. } = event
            && zxid.counter() == initial_counter + 1
        {
            told.push(0, Event::Took { server: *server, zxid: Zxid(zxid.0 - 1), digest: None });
        }
        told.push(0, event.clone());
    }
    told
}

fn keep(history: &History) {
    let file = tempfile::Builder::new().prefix("rk-history-").suffix(".jsonl").tempfile().expect("a temporary file");
    let (_, path) = file.keep().expect("a temporary file can be kept");
    std::fs::write(&path, history.to_text()).expect("the history can be written");
    eprintln!("--- the history is in {}: `sim check` reads it", path.display());
}
