//! Which watches a session has, so that setWatches can restore them on another connection. Pure: no I/O.
//!
//! Mirrors the bookkeeping of ZooKeeper's `ZKWatchManager`: a watch counts once the reply to its request has come, and a one-shot
//! watch is gone once its event has come.

use std::collections::BTreeSet;

use proto::request::{Request, SetWatchesRequest};
use proto::watch::EventType;
use proto::{ErrorCode, Zxid};

use crate::incoming::Event;
use crate::lists::PathList;

/// What a request does to the watches once it has been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchChange {
    Add(WatchKind, String),
    /// exists: a data watch if the znode is there, else an exist watch.
    AddByExists(String),
    /// removeWatches with this type's number.
    Remove(i32, String),
}

/// The five lists of setWatches2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WatchKind {
    Data,
    Exist,
    Child,
    Persistent,
    PersistentRecursive,
}

/// The watches of a session.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    set: BTreeSet<(WatchKind, String)>,
}

/// Most bytes of paths in one setWatches frame: what ZooKeeper's client allows itself, well below every server's frame limit.
const SET_WATCHES_BYTES_MAX: usize = 128 << 10;

impl WatchChange {
    pub(crate) fn of(request: &Request<'_>) -> Option<WatchChange> {
        match request {
            Request::GetData(read) if read.watch => Some(WatchChange::Add(WatchKind::Data, read.path.to_owned())),
            Request::Exists(read) if read.watch => Some(WatchChange::AddByExists(read.path.to_owned())),
            Request::GetChildren(read) | Request::GetChildren2(read) if read.watch => {
                Some(WatchChange::Add(WatchKind::Child, read.path.to_owned()))
            }
            Request::AddWatch(add) => {
                let kind = if add.ty == 0 { WatchKind::Persistent } else { WatchKind::PersistentRecursive };
                Some(WatchChange::Add(kind, add.path.to_owned()))
            }
            Request::RemoveWatches(remove) => Some(WatchChange::Remove(remove.ty, remove.path.to_owned())),
            _ => None,
        }
    }
}

impl Watches {
    /// The request with this change was answered with this header code.
    pub(crate) fn answered(&mut self, change: WatchChange, err: i32) {
        let ok = err == 0;
        match change {
            WatchChange::Add(kind, path) if ok => {
                self.set.insert((kind, path));
            }
            WatchChange::AddByExists(path) if ok => {
                self.set.insert((WatchKind::Data, path));
            }
            WatchChange::AddByExists(path) if err == ErrorCode::NoNode.to_wire() => {
                self.set.insert((WatchKind::Exist, path));
            }
            WatchChange::Remove(ty, path) if ok => self.remove(Self::kinds_of_type(ty), &path),
            WatchChange::Add(..) | WatchChange::AddByExists(_) | WatchChange::Remove(..) => {}
        }
    }

    /// An event has come: one-shot watches that it answers are gone.
    pub(crate) fn fired(&mut self, event: &Event) {
        use WatchKind::{Child, Data, Exist};
        let gone: &[WatchKind] = match event.kind() {
            Some(EventType::NodeCreated | EventType::NodeDataChanged) => &[Data, Exist],
            Some(EventType::NodeDeleted) => &[Data, Exist, Child],
            Some(EventType::NodeChildrenChanged) => &[Child],
            None => &[],
        };
        self.remove(gone, &event.path);
    }

    /// Calls `send` with as many setWatches requests as it takes; plain ones where no watch is persistent.
    pub(crate) fn restore(&self, relative_zxid: Zxid, mut send: impl FnMut(&Request<'_>)) {
        let mut chunk: Vec<&(WatchKind, String)> = Vec::new();
        let mut bytes = 0;
        for watch in &self.set {
            if bytes + watch.1.len() > SET_WATCHES_BYTES_MAX {
                Self::send_chunk(&chunk, relative_zxid, &mut send);
                chunk.clear();
                bytes = 0;
            }
            bytes += watch.1.len() + 4;
            chunk.push(watch);
        }
        if !chunk.is_empty() {
            Self::send_chunk(&chunk, relative_zxid, &mut send);
        }
    }

    fn send_chunk(chunk: &[&(WatchKind, String)], relative_zxid: Zxid, send: &mut impl FnMut(&Request<'_>)) {
        let list = |kind| {
            let paths: Vec<&str> = chunk.iter().filter(|(k, _)| *k == kind).map(|(_, path)| path.as_str()).collect();
            PathList::new(paths.into_iter())
        };
        let (data, exist, child) = (list(WatchKind::Data), list(WatchKind::Exist), list(WatchKind::Child));
        let (persistent, recursive) = (list(WatchKind::Persistent), list(WatchKind::PersistentRecursive));
        let request = SetWatchesRequest {
            relative_zxid,
            data: data.as_vec(),
            exist: exist.as_vec(),
            child: child.as_vec(),
            persistent: persistent.as_vec(),
            persistent_recursive: recursive.as_vec(),
        };
        if request.persistent.is_empty() && request.persistent_recursive.is_empty() {
            send(&Request::SetWatches(request));
        } else {
            send(&Request::SetWatches2(request));
        }
    }

    fn kinds_of_type(ty: i32) -> &'static [WatchKind] {
        use WatchKind::{Child, Data, Exist, Persistent, PersistentRecursive};
        match ty {
            1 => &[Child],
            2 => &[Data, Exist],
            3 => &[Child, Data, Exist, Persistent, PersistentRecursive],
            4 => &[Persistent],
            5 => &[PersistentRecursive],
            _ => &[],
        }
    }

    fn remove(&mut self, kinds: &[WatchKind], path: &str) {
        for kind in kinds {
            self.set.remove(&(*kind, path.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::request::{PathType, ReadRequest};

    use super::*;

    fn add(watches: &mut Watches, request: &Request<'_>, err: i32) {
        watches.answered(WatchChange::of(request).unwrap(), err);
    }

    fn restored(watches: &Watches) -> Vec<(WatchKind, String)> {
        let mut all = Vec::new();
        watches.restore(Zxid(7), |request| {
            let (Request::SetWatches(lists) | Request::SetWatches2(lists)) = request else { panic!("{request:?}") };
            assert_eq!(lists.relative_zxid, Zxid(7));
            let kinds = [
                (WatchKind::Data, lists.data),
                (WatchKind::Exist, lists.exist),
                (WatchKind::Child, lists.child),
                (WatchKind::Persistent, lists.persistent),
                (WatchKind::PersistentRecursive, lists.persistent_recursive),
            ];
            for (kind, list) in kinds {
                all.extend(list.iter().map(|path| (kind, path.to_owned())));
            }
        });
        all
    }

    #[test]
    fn a_one_shot_watch_is_restored_until_its_event_comes_and_a_persistent_one_for_good() {
        let mut watches = Watches::default();
        let read = ReadRequest { path: "/a", watch: true };
        add(&mut watches, &Request::GetData(read), 0);
        add(&mut watches, &Request::GetChildren2(read), 0);
        add(&mut watches, &Request::GetData(ReadRequest { path: "/failed", watch: true }), -101);
        add(&mut watches, &Request::Exists(ReadRequest { path: "/later", watch: true }), -101);
        add(&mut watches, &Request::AddWatch(PathType { path: "/a", ty: 1 }), 0);
        let kinds: Vec<_> = restored(&watches).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [WatchKind::Data, WatchKind::Exist, WatchKind::Child, WatchKind::PersistentRecursive]);

        watches.fired(&Event { zxid: Zxid(1), ty: EventType::NodeDeleted as i32, state: 3, path: "/a".to_owned() });
        watches.fired(&Event { zxid: Zxid(1), ty: EventType::NodeCreated as i32, state: 3, path: "/later".to_owned() });
        assert_eq!(restored(&watches), [(WatchKind::PersistentRecursive, "/a".to_owned())]);

        add(&mut watches, &Request::RemoveWatches(PathType { path: "/a", ty: 3 }), 0);
        assert_eq!(restored(&watches), []);
    }

    #[test]
    fn many_watches_are_restored_in_several_frames() {
        let mut watches = Watches::default();
        for i in 0..1000 {
            let path = format!("/{i:04}{}", "x".repeat(400));
            watches.answered(WatchChange::Add(WatchKind::Child, path), 0);
        }
        let mut frames = 0;
        watches.restore(Zxid(7), |_| frames += 1);
        assert_eq!(frames, 4);
        assert_eq!(restored(&watches).len(), 1000);
    }
}
