//! `rkctl snapshot diff`: what differs between two snapshots.
//!
//! Owns the merge of two sequences of znodes in the order of an image's runs. Images of format 2 are read as they lie, a znode of each in memory; of the other
//! formats path, Stat and a hash of the data of every znode are held and sorted (138 MiB for a million with paths of 12 bytes). It fails with [`Failure`];
//! `tests/tests/inspection/snapshots.rs` would catch a mistake.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use proto::path::is_within;
use proto::{SessionId, StatPersisted};
use serde_json::{Value, json};
use snapshot::base::{BaseNode, Nodes, Place};

use super::source::{Acls, Kind, Source};
use super::znode::{Facts, Znode};
use crate::failure::Failure;
use crate::log::source::Go;

/// Prints what was added, removed and changed from `former` to `latter`, of `top` and below.
///
/// # Errors
/// What cannot be read, once what lies before it is printed.
pub(crate) fn run(former: &Source, latter: &Source, top: &str, json: bool) -> Result<ExitCode, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let outcome = write(&mut out, former, latter, top, json);
    // What was read before an error stands before its words.
    out.flush()?;
    outcome.map(|()| ExitCode::SUCCESS)
}

fn write(out: &mut impl Write, former: &Source, latter: &Source, top: &str, json: bool) -> Result<(), Failure> {
    let (of_former, of_latter) = (former.tables()?, latter.tables()?);
    if !json {
        writeln!(out, "--- {} ({}, zxid {})", former.file.display(), former.format(), former.zxid())?;
        writeln!(out, "+++ {} ({}, zxid {})", latter.file.display(), latter.format(), latter.zxid())?;
    }
    let mut diff = Diff { former: &of_former.acls, latter: &of_latter.acls, json, out, found: Found::default() };
    diff.sessions(&of_former.sessions, &of_latter.sessions)?;
    diff.znodes(&mut Sorted::new(former, top)?, &mut Sorted::new(latter, top)?)?;
    diff.end()
}

/// How much differs.
#[derive(Debug, Default)]
struct Found {
    added: u64,
    removed: u64,
    changed: u64,
    same: u64,
    /// Sessions that differ.
    sessions: u64,
}

struct Diff<'t, W: Write> {
    former: &'t Acls,
    latter: &'t Acls,
    json: bool,
    out: &'t mut W,
    found: Found,
}

impl<W: Write> Diff<'_, W> {
    fn sessions(&mut self, former: &[(SessionId, i32)], latter: &[(SessionId, i32)]) -> Result<(), Failure> {
        let mut all: BTreeMap<SessionId, (Option<i32>, Option<i32>)> = BTreeMap::new();
        for (session, timeout_ms) in former {
            all.entry(*session).or_default().0 = Some(*timeout_ms);
        }
        for (session, timeout_ms) in latter {
            all.entry(*session).or_default().1 = Some(*timeout_ms);
        }
        for (session, (before, after)) in all.into_iter().filter(|(_, (before, after))| before != after) {
            self.found.sessions += 1;
            let (sign, change) = match (before, after) {
                (None, _) => ('+', "session_added"),
                (_, None) => ('-', "session_removed"),
                _ => ('~', "session_changed"),
            };
            if self.json {
                let object = json!({ "change": change, "session": session.to_string(), "timeout_ms": { "before": before, "after": after } });
                writeln!(self.out, "{object}")?;
            } else {
                let shown = [before, after].into_iter().flatten().map(|timeout_ms| timeout_ms.to_string());
                writeln!(self.out, "{sign} session {session}: timeout {} ms", shown.collect::<Vec<_>>().join(" -> "))?;
            }
        }
        Ok(())
    }

    fn znodes(&mut self, former: &mut Sorted<'_>, latter: &mut Sorted<'_>) -> Result<(), Failure> {
        let (mut before, mut after) = (former.next()?, latter.next()?);
        loop {
            let order = match (&before, &after) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => Place::of_node(before.path()).cmp(&Place::of_node(after.path())),
            };
            if let (Ordering::Equal, Some(before), Some(after)) = (order, &before, &after) {
                self.both(before, after)?;
            }
            if let (Ordering::Less, Some(before)) = (order, &before) {
                self.found.removed += 1;
                self.only('-', "removed", self.former, &before.facts())?;
            }
            if let (Ordering::Greater, Some(after)) = (order, &after) {
                self.found.added += 1;
                self.only('+', "added", self.latter, &after.facts())?;
            }
            if order != Ordering::Greater {
                before = former.next()?;
            }
            if order != Ordering::Less {
                after = latter.next()?;
            }
        }
    }

    fn only(&mut self, sign: char, change: &str, acls: &Acls, facts: &Facts<'_>) -> Result<(), Failure> {
        if self.json {
            let object = json!({ "change": change, "path": facts.path, "znode": facts.json(acls, None) });
            writeln!(self.out, "{object}")?;
        } else {
            writeln!(self.out, "{sign} {} ({} bytes)", facts.path.escape_debug(), facts.data_len)?;
        }
        Ok(())
    }

    fn both(&mut self, before: &Item<'_>, after: &Item<'_>) -> Result<(), Failure> {
        let mut changes = changes(&before.facts(), &after.facts());
        let acls =
            [(self.former, before.facts().acl), (self.latter, after.facts().acl)].map(|(acls, acl)| acls.get(acl));
        if let [former, latter] = acls
            && former != latter
        {
            changes.push(Change { what: "acl", words: String::new() });
        }
        if !Item::has_same_data(before, after)? {
            let (from, to) = (before.facts().data_len, after.facts().data_len);
            changes.insert(0, Change { what: "data", words: format!(" {from} -> {to} bytes") });
        }
        if changes.is_empty() {
            self.found.same += 1;
            return Ok(());
        }
        self.found.changed += 1;
        let path = before.path();
        if self.json {
            let what: Vec<&str> = changes.iter().map(|change| change.what).collect();
            let (before, after) = (before.facts().json(self.former, None), after.facts().json(self.latter, None));
            let object = json!({ "change": "changed", "path": path, "what": what, "before": before, "after": after });
            writeln!(self.out, "{object}")?;
        } else {
            let words: Vec<String> = changes.iter().map(|change| format!("{}{}", change.what, change.words)).collect();
            writeln!(self.out, "~ {}: {}", path.escape_debug(), words.join(", "))?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Found { added, removed, changed, same, sessions } = self.found;
        if self.json {
            let summary: Value =
                json!({ "added": added, "removed": removed, "changed": changed, "same": same, "sessions": sessions });
            writeln!(self.out, "{}", json!({ "summary": summary }))?;
        } else {
            writeln!(
                self.out,
                "{added} znodes added, {removed} removed, {changed} changed, {same} the same; {sessions} sessions differ"
            )?;
        }
        Ok(())
    }
}

/// What is different about a znode.
struct Change {
    what: &'static str,
    /// From what to what.
    words: String,
}

/// What differs but for data and ACL.
fn changes(before: &Facts<'_>, after: &Facts<'_>) -> Vec<Change> {
    let (a, b) = (&before.stat, &after.stat);
    let number = |a: i64, b: i64| (a.to_string(), b.to_string());
    let rows: [(&'static str, (String, String)); 10] = [
        ("version", number(a.version.into(), b.version.into())),
        ("cversion", number(a.cversion.into(), b.cversion.into())),
        ("aversion", number(a.aversion.into(), b.aversion.into())),
        ("children", number(before.children.unwrap_or(0).into(), after.children.unwrap_or(0).into())),
        ("ephemeral_owner", (format!("{:#x}", a.ephemeral_owner.0), format!("{:#x}", b.ephemeral_owner.0))),
        ("czxid", (a.czxid.to_string(), b.czxid.to_string())),
        ("mzxid", (a.mzxid.to_string(), b.mzxid.to_string())),
        ("pzxid", (a.pzxid.to_string(), b.pzxid.to_string())),
        ("ctime", number(a.ctime, b.ctime)),
        ("mtime", number(a.mtime, b.mtime)),
    ];
    let differing = rows.into_iter().filter(|(_, (before, after))| before != after);
    differing.map(|(what, (before, after))| Change { what, words: format!(" {before} -> {after}") }).collect()
}

/// The znodes of a snapshot in the order of an image's runs: the children of a znode stand together, by their names.
struct Sorted<'s> {
    source: &'s Source,
    top: &'s str,
    last: Option<String>,
    items: Items<'s>,
}

enum Items<'s> {
    Mapped(Nodes<'s>),
    Loaded(std::vec::IntoIter<Loaded>),
}

impl<'s> Sorted<'s> {
    fn new(source: &'s Source, top: &'s str) -> Result<Sorted<'s>, Failure> {
        let items = match &source.kind {
            Kind::Mapped(base) => Items::Mapped(base.nodes()),
            Kind::Whole(_) | Kind::ZooKeeper(_) => Items::Loaded(load(source, top)?.into_iter()),
        };
        Ok(Sorted { source, top, last: None, items })
    }

    fn next(&mut self) -> Result<Option<Item<'s>>, Failure> {
        let nodes = match &mut self.items {
            Items::Loaded(items) => return Ok(items.next().map(Item::Loaded)),
            Items::Mapped(nodes) => nodes,
        };
        loop {
            match nodes.next() {
                None => return Ok(None),
                Some(Ok(node)) => {
                    if is_within(node.path(), self.top) {
                        let last = self.last.get_or_insert_default();
                        last.clear();
                        last.push_str(node.path());
                        return Ok(Some(Item::Mapped(node)));
                    }
                }
                Some(Err(error)) => return Err(self.source.locate(error.into(), self.last.take())),
            }
        }
    }
}

/// A znode that is compared.
enum Item<'s> {
    Mapped(BaseNode<'s>),
    Loaded(Loaded),
}

/// One that could not be read in its order.
struct Loaded {
    path: Box<str>,
    data_len: usize,
    data_hash: u64,
    stat: StatPersisted,
    acl: i64,
    children: u32,
}

impl Item<'_> {
    fn path(&self) -> &str {
        match self {
            Item::Mapped(node) => node.path(),
            Item::Loaded(loaded) => &loaded.path,
        }
    }

    fn facts(&self) -> Facts<'_> {
        match self {
            Item::Mapped(node) => Znode::mapped(node).facts,
            Item::Loaded(Loaded { path, data_len, stat, acl, children, .. }) => {
                Facts { path, data_len: *data_len, stat: *stat, acl: *acl, children: Some(*children) }
            }
        }
    }

    fn has_same_data(before: &Item<'_>, after: &Item<'_>) -> Result<bool, Failure> {
        if let (Item::Mapped(before), Item::Mapped(after)) = (before, after) {
            // Null and empty have the same length.
            return Ok(before.data_len() == after.data_len()
                && Znode::mapped(before).data()? == Znode::mapped(after).data()?);
        }
        Ok(before.facts().data_len == after.facts().data_len && before.data_hash()? == after.data_hash()?)
    }

    fn data_hash(&self) -> Result<u64, Failure> {
        match self {
            Item::Mapped(node) => Znode::mapped(node).data().map(|data| hash(data.as_deref())),
            Item::Loaded(loaded) => Ok(loaded.data_hash),
        }
    }
}

fn hash(data: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

/// Reads and sorts.
fn load(source: &Source, top: &str) -> Result<Vec<Loaded>, Failure> {
    let counts: HashMap<Box<str>, u32> = source.child_counts()?;
    let mut all = Vec::new();
    source.scan(&mut |znode| {
        let Facts { path, data_len, stat, acl, .. } = znode.facts;
        if is_within(path, top) {
            let children = counts.get(path).copied().unwrap_or(0);
            all.push(Loaded {
                path: path.into(),
                data_len,
                data_hash: hash(znode.data()?.as_deref()),
                stat,
                acl,
                children,
            });
        }
        Ok(Go::On)
    })?;
    all.sort_unstable_by(|a, b| Place::of_node(&a.path).cmp(&Place::of_node(&b.path)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::images::{self, Row};
    use super::*;
    use proto::Zxid;

    fn compared(former: &[Row<'_>], latter: &[Row<'_>], top: &str, json: bool) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let (former, latter) =
            (images::source(dir.path(), Zxid(5), 1, former), images::source(dir.path(), Zxid(6), 1, latter));
        let mut out = Vec::new();
        write(&mut out, &former, &latter, top, json).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_differs_is_told_once_and_null_is_not_empty() {
        let former: [Row<'_>; 5] =
            [("/", None, 0), ("/b", Some(b""), 2), ("/a", Some(b"1"), 1), ("/a/x", None, 3), ("/c", Some(b"12"), 4)];
        let latter: [Row<'_>; 5] =
            [("/", None, 0), ("/a", Some(b"1"), 1), ("/b", None, 2), ("/c", Some(b"13"), 4), ("/d", Some(b"d"), 5)];
        let mut lines = compared(&former, &latter, "/", false).split_off(2);
        let counts = lines.pop().unwrap();
        lines.sort();
        assert_eq!(
            lines,
            [
                "+ /d (1 bytes)",
                "- /a/x (0 bytes)",
                "~ /: children 3 -> 4",
                "~ /a: children 1 -> 0",
                "~ /b: data 0 -> 0 bytes",
                "~ /c: data 2 -> 2 bytes"
            ]
        );
        assert_eq!(counts, "1 znodes added, 1 removed, 4 changed, 0 the same; 0 sessions differ");
        let below = compared(&former, &latter, "/a", true);
        let kinds: Vec<Value> = below.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(kinds.iter().filter_map(|line| line["change"].as_str()).collect::<Vec<_>>(), ["changed", "removed"]);
        assert_eq!(compared(&former, &former, "/", true).len(), 1, "only the counts");
    }
}
