//! Watch tables: who is to be told of what (`WatchManager`, 3.9).
//!
//! Owns one table of data watches and one of child watches, as ZooKeeper does: exists and getData leave a data watch, getChildren a child
//! watch, a persistent watch stands in both, a recursive one in the data table alone. Watches belong to a connection and go with it.
//! A shard has its own tables, so that nothing here is shared or locked.

use super::slots::Slots;
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

/// One connection's watch of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watch {
    modes: Modes,
    /// Where the path stands among those of the connection.
    place: u32,
}

/// The connections that watch one path. Most paths have one.
#[derive(Debug)]
enum Watchers {
    One(ConnId, Watch),
    Many(AHashMap<ConnId, Watch>),
}

impl Watchers {
    fn get(&self, conn: ConnId) -> Option<Watch> {
        match self {
            Watchers::One(only, watch) => (*only == conn).then_some(*watch),
            Watchers::Many(all) => all.get(&conn).copied(),
        }
    }

    fn set(&mut self, conn: ConnId, watch: Watch) {
        match self {
            Watchers::One(only, now) if *only == conn => *now = watch,
            Watchers::One(only, now) => *self = Watchers::Many([(*only, *now), (conn, watch)].into_iter().collect()),
            Watchers::Many(all) => drop(all.insert(conn, watch)),
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
            Watchers::One(conn, watch) => f(*conn, watch.modes),
            Watchers::Many(all) => all.iter().for_each(|(conn, watch)| f(*conn, watch.modes)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Watchers::One(..) => 1,
            Watchers::Many(all) => all.len(),
        }
    }
}

/// A path that somebody watches.
#[derive(Debug)]
struct Watched {
    path: Arc<str>,
    watchers: Watchers,
}

/// One table. Paths, and those of each connection, stand in numbered places, so that a walk can stop anywhere and go on.
#[derive(Debug, Default)]
struct Table {
    by_path: AHashMap<Arc<str>, u32>,
    paths: Slots<Watched>,
    /// The numbers of the paths that each connection watches.
    by_conn: AHashMap<ConnId, Slots<u32>>,
    /// Recursive watches: without any, ancestors need no look.
    recursive: usize,
    len: usize,
}

impl Table {
    fn watchers(&self, path: &str) -> Option<&Watchers> {
        Some(&self.paths.get(*self.by_path.get(path)?)?.watchers)
    }

    fn modes(&self, path: &str, conn: ConnId) -> Modes {
        let watch = self.watchers(path).and_then(|watchers| watchers.get(conn));
        watch.map_or(Modes::default(), |watch| watch.modes)
    }

    fn add(&mut self, path: &str, conn: ConnId, mode: WatchMode) {
        let before = self.modes(path, conn);
        let modes = before.with(mode);
        if before == modes {
            return;
        }
        if mode == WatchMode::PersistentRecursive {
            self.recursive += 1;
        }
        if before.is_empty() {
            self.len += 1;
            self.add_first(path, conn, modes);
        } else {
            self.update(path, conn, modes);
        }
    }

    /// A watch of a path that the connection does not watch yet.
    fn add_first(&mut self, path: &str, conn: ConnId, modes: Modes) {
        let of_conn = self.by_conn.entry(conn).or_default();
        if let Some(number) = self.by_path.get(path).copied() {
            let place = of_conn.insert_with(|_| number);
            if let Some(watched) = self.paths.get_mut(number) {
                watched.watchers.set(conn, Watch { modes, place });
            }
            return;
        }
        let path: Arc<str> = path.into();
        let number = self.paths.insert_with(|number| {
            let place = of_conn.insert_with(|_| number);
            Watched { path: Arc::clone(&path), watchers: Watchers::One(conn, Watch { modes, place }) }
        });
        self.by_path.insert(path, number);
    }

    fn update(&mut self, path: &str, conn: ConnId, modes: Modes) {
        let Some(number) = self.by_path.get(path) else { return };
        let Some(Watched { watchers, .. }) = self.paths.get_mut(*number) else { return };
        if let Some(watch) = watchers.get(conn) {
            watchers.set(conn, Watch { modes, ..watch });
        }
    }

    /// Sets what is left of a watch.
    fn set(&mut self, path: &str, conn: ConnId, before: Modes, after: Modes) {
        if before.has(WatchMode::PersistentRecursive) && !after.has(WatchMode::PersistentRecursive) {
            self.recursive -= 1;
        }
        if !after.is_empty() {
            return self.update(path, conn, after);
        }
        let Some(number) = self.by_path.get(path).copied() else { return };
        let Some(watch) = self.take_out(number, conn) else { return };
        if let Some(paths) = self.by_conn.get_mut(&conn) {
            paths.remove(watch.place);
            if paths.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
    }

    /// Takes a connection from the watchers of a path, which goes with the last of them.
    fn take_out(&mut self, number: u32, conn: ConnId) -> Option<Watch> {
        let watched = self.paths.get_mut(number)?;
        let watch = watched.watchers.get(conn)?;
        self.len -= 1;
        if watched.watchers.remove(conn)
            && let Some(watched) = self.paths.remove(number)
        {
            self.by_path.remove(&watched.path);
        }
        Some(watch)
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
        let Some(paths) = self.by_conn.remove(&conn) else { return };
        for number in paths.iter() {
            let watch = self.take_out(*number, conn);
            self.recursive -= usize::from(watch.is_some_and(|watch| watch.modes.has(WatchMode::PersistentRecursive)));
        }
    }

    /// Adds everybody who is to be told of something at `path` to `told`, each once, and uses up one-shot watches.
    fn trigger(&mut self, path: &str, told: &mut Vec<ConnId>) {
        let from = told.len();
        if let Some(watchers) = self.watchers(path) {
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
                let Some(watchers) = self.watchers(ancestor) else { continue };
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
        let already: AHashSet<ConnId> = if more.is_empty() { AHashSet::new() } else { told.iter().copied().collect() };
        more.retain(|conn| !already.contains(conn));
        told.append(&mut more);
    }

    /// Who is told that a child of `path` came or went.
    pub fn trigger_child(&mut self, path: &str, told: &mut Vec<ConnId>) {
        self.child.trigger(path, told);
    }

    /// Paths that a connection watches for data: those in `count` of its places from `from` on; where to go on; and how many places that were.
    pub(super) fn data_paths_of(
        &self,
        conn: ConnId,
        from: usize,
        count: usize,
    ) -> (Vec<Arc<str>>, Option<usize>, usize) {
        let Some(paths) = self.data.by_conn.get(&conn) else { return (Vec::new(), None, 0) };
        let (numbers, next) = paths.piece(from, count);
        let watched = numbers.filter_map(|number| self.data.paths.get(*number));
        let looked = next.unwrap_or(paths.place_count()).saturating_sub(from);
        (watched.map(|watched| Arc::clone(&watched.path)).collect(), next, looked)
    }

    /// Paths that are watched for data: those in `count` places from `from` on, and where to go on.
    pub(super) fn data_paths(&self, from: usize, count: usize) -> (Vec<Arc<str>>, Option<usize>) {
        let (watched, next) = self.data.paths.piece(from, count);
        (watched.map(|watched| Arc::clone(&watched.path)).collect(), next)
    }

    /// Each connection that watches `path` for data.
    pub fn for_each_data_watcher(&self, path: &str, mut f: impl FnMut(ConnId)) {
        if let Some(watchers) = self.data.watchers(path) {
            watchers.for_each(|conn, _| f(conn));
        }
    }

    /// How many watch `path` for data.
    pub(super) fn data_watcher_count(&self, path: &str) -> usize {
        self.data.watchers(path).map_or(0, Watchers::len)
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
