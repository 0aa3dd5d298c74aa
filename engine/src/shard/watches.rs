//! Watch tables: who is to be told of what (`WatchManager`, 3.9).
//!
//! Owns one table of data watches and one of child watches, as ZooKeeper does: exists and getData leave a data watch, getChildren a child
//! watch, a persistent watch stands in both, a recursive one in the data table alone. Watches belong to a connection and go with it.
//! A shard has its own tables, so that nothing here is shared or locked.

use crate::stream::ConnId;
use ahash::{AHashMap, AHashSet};
use proto::path;
use proto::watch::{WatchMode, WatcherType};
use std::sync::Arc;

/// The modes in which one connection watches one path, a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modes(u8);

impl Modes {
    const fn of(mode: WatchMode) -> Modes {
        match mode {
            WatchMode::Standard => Modes(1),
            WatchMode::Persistent => Modes(2),
            WatchMode::PersistentRecursive => Modes(4),
        }
    }

    const fn has(self, mode: WatchMode) -> bool {
        self.0 & Modes::of(mode).0 != 0
    }

    const fn with(self, mode: WatchMode) -> Modes {
        Modes(self.0 | Modes::of(mode).0)
    }

    const fn without(self, mode: WatchMode) -> Modes {
        Modes(self.0 & !Modes::of(mode).0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The connections that watch one path. Most paths have one.
#[derive(Debug)]
enum Watchers {
    One(ConnId, Modes),
    Many(AHashMap<ConnId, Modes>),
}

impl Watchers {
    fn get(&self, conn: ConnId) -> Modes {
        match self {
            Watchers::One(only, modes) if *only == conn => *modes,
            Watchers::One(..) => Modes::default(),
            Watchers::Many(all) => all.get(&conn).copied().unwrap_or_default(),
        }
    }

    fn set(&mut self, conn: ConnId, modes: Modes) {
        match self {
            Watchers::One(only, now) if *only == conn => *now = modes,
            Watchers::One(only, now) => *self = Watchers::Many([(*only, *now), (conn, modes)].into_iter().collect()),
            Watchers::Many(all) => drop(all.insert(conn, modes)),
        }
    }

    /// Takes a connection out. True if nobody is left.
    fn remove(&mut self, conn: ConnId) -> bool {
        match self {
            Watchers::One(only, _) => *only == conn,
            Watchers::Many(all) => {
                all.remove(&conn);
                all.is_empty()
            }
        }
    }

    fn for_each(&self, mut f: impl FnMut(ConnId, Modes)) {
        match self {
            Watchers::One(conn, modes) => f(*conn, *modes),
            Watchers::Many(all) => all.iter().for_each(|(conn, modes)| f(*conn, *modes)),
        }
    }
}

/// One table.
#[derive(Debug, Default)]
struct Table {
    by_path: AHashMap<Arc<str>, Watchers>,
    by_conn: AHashMap<ConnId, AHashSet<Arc<str>>>,
    /// Recursive watches: without any, ancestors need no look.
    recursive: usize,
    len: usize,
}

impl Table {
    fn add(&mut self, path: &str, conn: ConnId, mode: WatchMode) {
        let before = self.by_path.get(path).map_or(Modes::default(), |watchers| watchers.get(conn));
        let after = before.with(mode);
        if before == after {
            return;
        }
        if mode == WatchMode::PersistentRecursive {
            self.recursive += 1;
        }
        if let Some(watchers) = self.by_path.get_mut(path) {
            watchers.set(conn, after);
        } else {
            self.by_path.insert(path.into(), Watchers::One(conn, after));
        }
        if before.is_empty() {
            let (path, _) = self.by_path.get_key_value(path).expect("put in just above");
            self.by_conn.entry(conn).or_default().insert(Arc::clone(path));
            self.len += 1;
        }
    }

    fn modes(&self, path: &str, conn: ConnId) -> Modes {
        self.by_path.get(path).map_or(Modes::default(), |watchers| watchers.get(conn))
    }

    /// Sets what is left of a watch.
    fn set(&mut self, path: &str, conn: ConnId, before: Modes, after: Modes) {
        if before.has(WatchMode::PersistentRecursive) && !after.has(WatchMode::PersistentRecursive) {
            self.recursive -= 1;
        }
        let Some(watchers) = self.by_path.get_mut(path) else { return };
        if !after.is_empty() {
            return watchers.set(conn, after);
        }
        self.len -= 1;
        if watchers.remove(conn) {
            self.by_path.remove(path);
        }
        if let Some(paths) = self.by_conn.get_mut(&conn) {
            paths.remove(path);
            if paths.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
    }

    /// Removes a mode, or all. False if there was no such watch.
    fn remove(&mut self, path: &str, conn: ConnId, mode: Option<WatchMode>) -> bool {
        let before = self.modes(path, conn);
        let after = mode.map_or(Modes::default(), |mode| before.without(mode));
        if before == after {
            return false;
        }
        self.set(path, conn, before, after);
        true
    }

    fn remove_conn(&mut self, conn: ConnId) {
        for path in self.by_conn.remove(&conn).into_iter().flatten() {
            let Some(watchers) = self.by_path.get_mut(&path) else { continue };
            if watchers.get(conn).has(WatchMode::PersistentRecursive) {
                self.recursive -= 1;
            }
            self.len -= 1;
            if watchers.remove(conn) {
                self.by_path.remove(&path);
            }
        }
    }

    /// Adds everybody who is to be told of something at `path` to `told`, each once, and uses up one-shot watches.
    fn trigger(&mut self, path: &str, told: &mut Vec<ConnId>) {
        let from = told.len();
        if let Some(watchers) = self.by_path.get(path) {
            let mut used_up: Vec<(ConnId, Modes)> = Vec::new();
            watchers.for_each(|conn, modes| {
                told.push(conn);
                if modes.has(WatchMode::Standard) {
                    used_up.push((conn, modes));
                }
            });
            for (conn, modes) in used_up {
                self.set(path, conn, modes, modes.without(WatchMode::Standard));
            }
        }
        if self.recursive > 0 {
            for ancestor in path::self_and_ancestors(path).skip(1) {
                let Some(watchers) = self.by_path.get(ancestor) else { continue };
                watchers.for_each(|conn, modes| {
                    if modes.has(WatchMode::PersistentRecursive) {
                        told.push(conn);
                    }
                });
            }
        }
        if let Some(new) = told.get_mut(from..) {
            new.sort_unstable();
        }
        told.dedup();
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Watches {
    data: Table,
    child: Table,
}

impl Watches {
    /// A one-shot watch of exists or getData.
    pub fn add_data(&mut self, path: &str, conn: ConnId) {
        self.data.add(path, conn, WatchMode::Standard);
    }

    /// A one-shot watch of getChildren.
    pub fn add_child(&mut self, path: &str, conn: ConnId) {
        self.child.add(path, conn, WatchMode::Standard);
    }

    /// A watch of addWatch.
    pub fn add(&mut self, path: &str, conn: ConnId, mode: WatchMode) {
        self.data.add(path, conn, mode);
        if mode != WatchMode::PersistentRecursive {
            self.child.add(path, conn, mode);
        }
    }

    /// Has the connection a watch of this type on the path?
    #[must_use]
    pub fn contains(&self, path: &str, conn: ConnId, ty: WatcherType) -> bool {
        let (data, child) = (self.data.modes(path, conn), self.child.modes(path, conn));
        match ty {
            WatcherType::Children => child.has(WatchMode::Standard),
            WatcherType::Data => data.has(WatchMode::Standard),
            WatcherType::Persistent => data.has(WatchMode::Persistent),
            WatcherType::PersistentRecursive => data.has(WatchMode::PersistentRecursive),
            WatcherType::Any => !data.is_empty() || !child.is_empty(),
        }
    }

    /// Removes the connection's watches of this type on the path. False if it had none.
    pub fn remove(&mut self, path: &str, conn: ConnId, ty: WatcherType) -> bool {
        match ty {
            WatcherType::Children => self.child.remove(path, conn, Some(WatchMode::Standard)),
            WatcherType::Data => self.data.remove(path, conn, Some(WatchMode::Standard)),
            WatcherType::PersistentRecursive => self.data.remove(path, conn, Some(WatchMode::PersistentRecursive)),
            WatcherType::Persistent => {
                let child = self.child.remove(path, conn, Some(WatchMode::Persistent));
                self.data.remove(path, conn, Some(WatchMode::Persistent)) || child
            }
            WatcherType::Any => {
                let child = self.child.remove(path, conn, None);
                self.data.remove(path, conn, None) || child
            }
        }
    }

    /// The connection is gone, and its watches with it.
    pub fn remove_conn(&mut self, conn: ConnId) {
        self.data.remove_conn(conn);
        self.child.remove_conn(conn);
    }

    /// Who is told that a znode was created or that its data was set.
    pub fn trigger_data(&mut self, path: &str, told: &mut Vec<ConnId>) {
        self.data.trigger(path, told);
    }

    /// Who is told that a znode was deleted: each once, whichever table it is in.
    pub fn trigger_deleted(&mut self, path: &str, told: &mut Vec<ConnId>) {
        self.data.trigger(path, told);
        let mut more = Vec::new();
        self.child.trigger(path, &mut more);
        more.retain(|conn| !told.contains(conn));
        told.append(&mut more);
    }

    /// Who is told that a child of `path` came or went.
    pub fn trigger_child(&mut self, path: &str, told: &mut Vec<ConnId>) {
        self.child.trigger(path, told);
    }

    /// The paths that a connection watches for data.
    pub fn data_paths_of(&self, conn: ConnId) -> impl Iterator<Item = Arc<str>> + '_ {
        self.data.by_conn.get(&conn).into_iter().flatten().map(Arc::clone)
    }

    /// All paths that are watched for data.
    pub fn data_paths(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.data.by_path.keys().map(Arc::clone)
    }

    /// Each connection that watches `path` for data.
    pub fn for_each_data_watcher(&self, path: &str, mut f: impl FnMut(ConnId)) {
        if let Some(watchers) = self.data.by_path.get(path) {
            watchers.for_each(|conn, _| f(conn));
        }
    }

    /// Connections that watch for data, paths so watched, and watches.
    #[must_use]
    pub fn data_summary(&self) -> (usize, usize, usize) {
        (self.data.by_conn.len(), self.data.by_path.len(), self.data.len)
    }

    /// Nobody watches anything: changes need no look.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.data.len == 0 && self.child.len == 0
    }

    /// Count of watches, as `mntr` tells it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.data.len + self.child.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 0 }
    }

    fn told(f: impl FnOnce(&mut Vec<ConnId>)) -> Vec<u32> {
        let mut conns = Vec::new();
        f(&mut conns);
        let mut slots: Vec<u32> = conns.iter().map(|conn| conn.slot).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn one_shot_watches_fire_once() {
        let mut watches = Watches::default();
        watches.add_data("/a", conn(1));
        watches.add_data("/a", conn(1));
        watches.add_data("/a", conn(2));
        assert_eq!(watches.len(), 2);
        assert_eq!(told(|t| watches.trigger_data("/a", t)), [1, 2]);
        assert_eq!(told(|t| watches.trigger_data("/a", t)), [0_u32; 0]);
        assert!(watches.is_empty() && watches.data.by_conn.is_empty() && watches.data.by_path.is_empty());
    }

    #[test]
    fn a_deletion_is_told_once_to_who_watches_both_ways() {
        let mut watches = Watches::default();
        watches.add_data("/a", conn(1));
        watches.add_child("/a", conn(1));
        watches.add_child("/a", conn(2));
        assert_eq!(told(|t| watches.trigger_deleted("/a", t)), [1, 2]);
        assert!(watches.is_empty());
    }

    #[test]
    fn persistent_watches_stay_and_see_children() {
        let mut watches = Watches::default();
        watches.add("/a", conn(1), WatchMode::Persistent);
        for _ in 0..2 {
            assert_eq!(told(|t| watches.trigger_data("/a", t)), [1]);
            assert_eq!(told(|t| watches.trigger_child("/a", t)), [1]);
            assert_eq!(told(|t| watches.trigger_deleted("/a", t)), [1]);
            assert_eq!(told(|t| watches.trigger_data("/a/b", t)), [0_u32; 0]);
        }
        assert!(watches.remove("/a", conn(1), WatcherType::Persistent));
        assert!(!watches.remove("/a", conn(1), WatcherType::Any));
        assert!(watches.is_empty());
    }

    #[test]
    fn recursive_watches_see_everything_below_once_and_no_child_events() {
        let mut watches = Watches::default();
        watches.add("/", conn(1), WatchMode::PersistentRecursive);
        watches.add("/a", conn(1), WatchMode::PersistentRecursive);
        watches.add_data("/a/b/c", conn(1));
        assert_eq!(told(|t| watches.trigger_data("/a/b/c", t)), [1]);
        assert_eq!(told(|t| watches.trigger_deleted("/a/b/c", t)), [1]);
        assert_eq!(told(|t| watches.trigger_child("/a", t)), [0_u32; 0]);
        assert!(watches.contains("/a", conn(1), WatcherType::PersistentRecursive));
        watches.remove_conn(conn(1));
        assert_eq!((watches.len(), watches.data.recursive), (0, 0));
        assert_eq!(told(|t| watches.trigger_data("/a/b/c", t)), [0_u32; 0]);
    }

    #[test]
    fn removing_one_kind_leaves_the_others() {
        let mut watches = Watches::default();
        watches.add_data("/a", conn(1));
        watches.add("/a", conn(1), WatchMode::Persistent);
        assert!(!watches.remove("/a", conn(1), WatcherType::Children));
        assert!(watches.remove("/a", conn(1), WatcherType::Data));
        assert!(!watches.contains("/a", conn(1), WatcherType::Data));
        assert!(watches.contains("/a", conn(1), WatcherType::Any));
        assert_eq!(told(|t| watches.trigger_data("/a", t)), [1]);
    }
}
