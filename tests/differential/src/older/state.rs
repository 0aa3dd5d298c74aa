//! What the rules know of a sequence: the modes of its watches, and what not everybody may read.

use crate::observe::{Item, Source, Value};
use crate::sequence::{Field, Op, Sequence, Step};
use proto::OpCode;
use std::collections::{HashMap, HashSet};

/// Which modes of watches the connections of a sequence have asked for, by path.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    modes: HashMap<(usize, String), Mode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

impl Watches {
    pub(super) fn has_persistent(&self, conn: usize, path: Option<&str>) -> bool {
        let mode = path.and_then(|path| self.modes.get(&(conn, path.to_owned())));
        mode.is_some_and(|mode| *mode != Mode::Standard)
    }

    pub(super) fn would_mix(&self, conn: usize, op: &Op) -> bool {
        let mut also = self.clone();
        modes_of(op).into_iter().any(|(path, mode)| *also.modes.entry((conn, path)).or_insert(mode) != mode)
    }

    pub(super) fn add(&mut self, conn: usize, op: &Op) {
        for (path, mode) in modes_of(op) {
            self.modes.entry((conn, path)).or_insert(mode);
        }
    }
}

/// The watches that an operation asks for.
fn modes_of(op: &Op) -> Vec<(String, Mode)> {
    let mut modes = Vec::new();
    match (op.code(), op.body.as_slice()) {
        (
            Some(OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2),
            [Field::Path(Some(path)), watch, ..],
        ) if *watch != Field::Bool(false) => modes.push((path.clone(), Mode::Standard)),
        (Some(OpCode::AddWatch), [Field::Path(Some(path)), Field::Int(mode), ..]) => match mode {
            0 => modes.push((path.clone(), Mode::Persistent)),
            1 => modes.push((path.clone(), Mode::Recursive)),
            _ => {}
        },
        (Some(OpCode::SetWatches | OpCode::SetWatches2), [_, lists @ ..]) => {
            for (number, list) in lists.iter().enumerate() {
                let mode = [Mode::Standard, Mode::Standard, Mode::Standard, Mode::Persistent, Mode::Recursive];
                if let (Field::Paths(Some(paths)), Some(mode)) = (list, mode.get(number)) {
                    modes.extend(paths.iter().flatten().map(|path| (path.clone(), *mode)));
                }
            }
        }
        _ => {}
    }
    modes
}

/// The paths of a sequence that not everybody may read, at some time.
#[derive(Clone, Debug, Default)]
pub struct Unreadable {
    paths: HashSet<String>,
}

impl Unreadable {
    pub(super) fn of(sequence: &Sequence) -> Unreadable {
        let mut all = Unreadable::default();
        for op in operations(sequence) {
            all.add(&op.body);
        }
        all
    }

    pub(super) fn add(&mut self, body: &[Field]) {
        let path = body.iter().find_map(|field| if let Field::Path(Some(path)) = field { Some(path) } else { None });
        for field in body {
            match (field, path) {
                (Field::Acl(Some(entries)), Some(path)) => {
                    let is_open = entries.iter().any(|entry| entry.0 & 1 != 0 && entry.1.as_deref() == Some("world"));
                    if !is_open {
                        self.paths.insert(path.clone());
                    }
                }
                (Field::Sub(_, body), _) => self.add(body),
                _ => {}
            }
        }
    }

    /// Is the path one of them, or a sequential child's that was made so?
    pub(super) fn has(&self, path: Option<&str>) -> bool {
        let Some(path) = path else { return false };
        let digits = path.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
        self.paths.contains(path) || (digits.len() < path.len() && self.paths.contains(digits))
    }

    /// An event that is told by such a znode's ACL: its own, or for children its parent's.
    pub(super) fn is_event_of_one(&self, item: &Item) -> bool {
        let Some(Value::Text(Some(path))) = item.value("path").filter(|_| item.source == Source::Event) else {
            return false;
        };
        // `/r<number>` is what a run puts in the place of `~`.
        let path = String::from_utf8_lossy(path);
        let Some((_, below)) = path.strip_prefix('/').map(|path| path.split_once('/').unwrap_or((path, ""))) else {
            return false;
        };
        let own = if below.is_empty() { "~".to_owned() } else { format!("~/{below}") };
        let parent = own.rsplit_once('/').map(|(parent, _)| parent);
        self.has(Some(&own)) || self.has(parent)
    }
}

fn operations(sequence: &Sequence) -> impl Iterator<Item = &Op> {
    sequence.steps.iter().filter_map(|step| if let Step::Burst { ops, .. } = step { Some(ops) } else { None }).flatten()
}
