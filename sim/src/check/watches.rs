//! Law 5: a watch event comes before any reply that shows its change or a later state, and after the reply that registered it. None is lost,
//! none is made up, also over a lost connection and setWatches.
//!
//! Owns the watches that each client has, as its replies and events tell them: a read with a watch registers one as of its header's zxid; it is used
//! up by the first change after that. One-shot watches only; histories have no others. Where a write of unknown outcome touches a znode and no log
//! tells, the events of that znode are not decided: the explanation that [`super::search`] finds need not be the one that took place.

use super::model::split;
use super::timeline::{Facts, Timeline};
use super::{Checked, Violation, search};
use crate::history::{At, ClientId, Code, Event, History, Op, SessionId, Told, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// The name of [`events`].
pub const EVENTS: &str = "watches::events";

/// See the module.
///
/// # Errors
/// The reply that shows too much, with the line that registered the watch and the one that made the change; or the event that nobody waits for.
pub fn events(history: &History) -> Checked {
    let facts = Facts::of(history, EVENTS)?;
    // Where the answers make no sense, nobody knows what should have been told.
    let Some(timeline) = Timeline::if_any(&facts) else { return Ok(()) };
    let triggers = Triggers::of(&timeline, search::in_doubt(&facts));
    let replied: BTreeMap<At, &Op> = facts.calls.answered().map(|(call, reply)| (reply.at, call.op)).collect();
    let mut clients: BTreeMap<ClientId, Watcher> = BTreeMap::new();
    for (at, event) in history.events() {
        let Some(client) = event.client() else { continue };
        let watcher = clients.entry(client).or_default();
        match event {
            Event::Connected { session, .. } => watcher.connected(*session),
            Event::Lost { .. } => watcher.lost(),
            Event::Expired { .. } => *watcher = Watcher::default(),
            Event::Ask { op: Op::SetWatches { .. }, .. } => watcher.catches_up = Some((at, BTreeSet::new())),
            Event::Watch { told, path, zxid, .. } => watcher.hears(&triggers, at, *told, path, *zxid)?,
            Event::Reply { zxid, err, .. } if !err.is_refusal() => {
                watcher.is_up_to_date(&triggers, *zxid, at)?;
                if let Some(op) = replied.get(&at) {
                    watcher.registers(&triggers, op, *zxid, *err, at)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a watch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    /// The znode itself: getData and exists.
    Data,
    /// Its children.
    Child,
}

type Watches = BTreeMap<(Table, String), (Zxid, At)>;

/// What a client waits to be told.
#[derive(Debug, Default)]
struct Watcher {
    session: Option<SessionId>,
    /// Its watches on this connection: since when, and the line that registered it.
    live: Watches,
    /// Those of the connection that it has lost.
    former: Watches,
    /// While setWatches is under way: its line, and what has been told meanwhile.
    catches_up: Option<(At, BTreeSet<(Told, String)>)>,
}

impl Watcher {
    fn connected(&mut self, session: SessionId) {
        self.lost();
        if self.session != Some(session) {
            *self = Watcher { session: Some(session), ..Watcher::default() };
        }
    }

    fn lost(&mut self) {
        self.former.append(&mut self.live);
        self.catches_up = None;
    }

    fn hears(&mut self, triggers: &Triggers, at: At, told: Told, path: &str, zxid: Option<Zxid>) -> Checked {
        if zxid.is_none()
            && let Some((_, heard)) = &mut self.catches_up
        {
            heard.insert((told, path.to_owned()));
            return Ok(());
        }
        let is_it = |table: Table, since: Zxid| {
            let first = triggers.first_after(table, path, since);
            first.is_some_and(|first| first.told == told && zxid.is_none_or(|zxid| zxid == first.zxid))
        };
        let mut tables = [Table::Data, Table::Child].into_iter().filter(|table| match told {
            Told::Created | Told::Changed => *table == Table::Data,
            Told::Children => *table == Table::Child,
            Told::Deleted => true,
        });
        let mut registered = Vec::new();
        let mut is_right = false;
        for table in tables.by_ref() {
            let key = (table, path.to_owned());
            let Some((since, line)) = self.live.get(&key).copied() else { continue };
            registered.push(line);
            if is_it(table, since) {
                self.live.remove(&key);
                is_right = true;
            }
        }
        if is_right {
            return Ok(());
        }
        if !triggers.is_known(path, zxid.unwrap_or(Zxid(u64::MAX))) {
            return Ok(());
        }
        let message = if registered.is_empty() {
            format!("an event of {path} for which no watch is left")
        } else {
            format!("an event of {path} that is not the first that has happened there since the watch was left")
        };
        registered.push(at);
        Err(Violation::new(EVENTS, message, &registered))
    }

    /// Has it been told of everything up to this header's zxid?
    fn is_up_to_date(&self, triggers: &Triggers, zxid: Zxid, at: At) -> Checked {
        for ((table, path), (since, line)) in self.live.iter().filter(|((_, path), _)| triggers.is_known(path, zxid)) {
            let Some(first) = triggers.first_after(*table, path, *since).filter(|first| first.zxid <= zxid) else {
                continue;
            };
            let message = format!(
                "a reply shows {zxid}, and the event of {path} at {} ({:?}), which is watched, has not come before it",
                first.zxid, first.told
            );
            let lines: Vec<At> = [Some(*line), first.at, Some(at)].into_iter().flatten().collect();
            return Err(Violation::new(EVENTS, message, &lines));
        }
        Ok(())
    }

    fn registers(&mut self, triggers: &Triggers, op: &Op, zxid: Zxid, err: Code, at: At) -> Checked {
        let (table, path) = match op {
            Op::Get { path, watch: true } if err == Code::OK => (Table::Data, path),
            Op::Exists { path, watch: true } if err == Code::OK || err == Code::NO_NODE => (Table::Data, path),
            Op::Children { path, watch: true } if err == Code::OK => (Table::Child, path),
            Op::SetWatches { relative, data, exist, child } => {
                return self.renews(triggers, [data, exist, child], *relative, zxid, at);
            }
            _ => return Ok(()),
        };
        self.live.insert((table, path.clone()), (zxid, at));
        Ok(())
    }

    fn renews(
        &mut self,
        triggers: &Triggers,
        [data, exist, child]: [&Vec<String>; 3],
        relative: Zxid,
        zxid: Zxid,
        at: At,
    ) -> Checked {
        let Some((asked, mut heard)) = self.catches_up.take() else { return Ok(()) };
        let former = std::mem::take(&mut self.former);
        let data_keys = data.iter().chain(exist).map(|path| (Table::Data, path.clone()));
        for key in data_keys.chain(child.iter().map(|path| (Table::Child, path.clone()))) {
            let Some((since, line)) = former.get(&key).filter(|_| triggers.is_known(&key.1, relative)) else {
                continue;
            };
            if let Some(first) = triggers.first_after(key.0, &key.1, *since).filter(|first| first.zxid <= relative) {
                let message = format!(
                    "the event of {} at {} is lost: a header said {relative} before it came, and the client asks for what is later",
                    key.1, first.zxid
                );
                let lines: Vec<At> = [Some(*line), first.at, Some(asked)].into_iter().flatten().collect();
                return Err(Violation::new(EVENTS, message, &lines));
            }
        }
        let mut due = BTreeSet::new();
        let mut renew = |table: Table, path: &String, told: Option<Told>| match told {
            Some(told) => drop(due.insert((told, path.clone()))),
            None => drop(self.live.insert((table, path.clone()), (zxid, at))),
        };
        for path in data {
            let state = triggers.state(path, zxid);
            let changed = state.exists.then_some(Told::Changed).filter(|_| state.mzxid > relative);
            renew(Table::Data, path, if state.exists { changed } else { Some(Told::Deleted) });
        }
        for path in exist {
            renew(Table::Data, path, triggers.state(path, zxid).exists.then_some(Told::Created));
        }
        for path in child {
            let state = triggers.state(path, zxid);
            let changed = Some(Told::Children).filter(|_| state.pzxid > relative);
            renew(Table::Child, path, if state.exists { changed } else { Some(Told::Deleted) });
        }
        heard.retain(|(_, path)| triggers.is_known(path, zxid));
        due.retain(|(_, path)| triggers.is_known(path, zxid));
        if heard == due {
            return Ok(());
        }
        let wrong = match due.difference(&heard).next() {
            Some((told, path)) => format!("setWatches does not tell {told:?} of {path}"),
            None => {
                let extra = heard.difference(&due).next();
                extra
                    .map(|(told, path)| format!("setWatches tells {told:?} of {path}, which is not so"))
                    .unwrap_or_default()
            }
        };
        Err(Violation::new(EVENTS, format!("{wrong} (relative to {relative}, at {zxid})"), &[asked, at]))
    }
}

/// Something that fires a watch.
#[derive(Clone, Copy, Debug)]
struct Trigger {
    zxid: Zxid,
    told: Told,
    at: Option<At>,
}

/// What fires which watches, by path.
struct Triggers {
    data: BTreeMap<String, Vec<Trigger>>,
    child: BTreeMap<String, Vec<Trigger>>,
    /// What may have changed otherwise, and after which zxid.
    in_doubt: BTreeMap<String, Zxid>,
}

/// A znode at some zxid, as setWatches looks at it.
#[derive(Debug, Default)]
struct State {
    exists: bool,
    mzxid: Zxid,
    pzxid: Zxid,
}

impl Triggers {
    fn of(timeline: &Timeline, in_doubt: BTreeMap<String, Zxid>) -> Triggers {
        let mut triggers = Triggers { data: BTreeMap::new(), child: BTreeMap::new(), in_doubt };
        for change in &timeline.changes {
            let own = Trigger { zxid: change.zxid, told: change.told, at: change.at };
            triggers.data.entry(change.path.clone()).or_default().push(own);
            if change.told == Told::Deleted {
                triggers.child.entry(change.path.clone()).or_default().push(own);
            }
            if let Some((parent, _)) = split(&change.path).filter(|_| change.told != Told::Changed) {
                let of_parent = Trigger { told: Told::Children, ..own };
                triggers.child.entry(parent.to_owned()).or_default().push(of_parent);
            }
        }
        triggers
    }

    /// Is it certain what happened to this znode up to there, and when?
    fn is_known(&self, path: &str, until: Zxid) -> bool {
        !self.in_doubt.iter().any(|(other, after)| *after < until && search::related(path, other))
    }

    fn first_after(&self, table: Table, path: &str, since: Zxid) -> Option<Trigger> {
        let all = match table {
            Table::Data => self.data.get(path)?,
            Table::Child => self.child.get(path)?,
        };
        all.iter().find(|trigger| trigger.zxid > since).copied()
    }

    fn state(&self, path: &str, zxid: Zxid) -> State {
        let mut state = State { exists: path == "/", ..State::default() };
        let own = self.data.get(path).into_iter().flatten().take_while(|trigger| trigger.zxid <= zxid);
        for trigger in own {
            state.exists = trigger.told != Told::Deleted;
            if state.exists {
                state.mzxid = trigger.zxid;
            }
            if trigger.told == Told::Created {
                state.pzxid = trigger.zxid;
            }
        }
        let children = self.child.get(path).into_iter().flatten().take_while(|trigger| trigger.zxid <= zxid);
        let newest = children.filter(|trigger| trigger.told == Told::Children).last();
        state.pzxid = state.pzxid.max(newest.map_or(Zxid(0), |trigger| trigger.zxid));
        state
    }
}
