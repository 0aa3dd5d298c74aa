//! `rkctl snapshot stats`: what the znodes of a snapshot are, where the bytes are, and whose.
//!
//! Holds a count for each subtree, ACL and owning session, the paths of all parents where the format does not tell counts of children, and nothing else
//! of the snapshot. The data of an image of format 2 are not read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::io::Write;
use std::process::ExitCode;

use proto::{Acl, SessionId};
use serde_json::{Value, json};

use super::source::{Source, Tables};
use super::tally::Tally;
use super::znode::{Facts, acl_json, acl_text};
use crate::failure::Failure;
use crate::log::prefix;
use crate::log::source::Go;
use crate::table;
use crate::units::{show_bytes, show_time};

/// Counts all of it, and shows the `top` largest of each kind.
///
/// # Errors
/// What cannot be read; nothing is shown then.
pub(crate) fn run(source: &Source, depth: usize, top: usize, json: bool) -> Result<ExitCode, Failure> {
    let tables = source.tables()?;
    let mut stats = Stats::new(depth, top);
    let counts = source.child_counts()?;
    source.scan(&mut |znode| {
        let mut facts = znode.facts;
        facts.children = facts.children.or_else(|| counts.get(facts.path).copied());
        stats.add(&facts);
        Ok(Go::On)
    })?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", stats.to_json(source, &tables))?;
    } else {
        stats.show(&mut out, source, &tables)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug)]
struct Stats {
    depth: usize,
    top: usize,
    tally: Tally,
    subtrees: HashMap<Box<str>, Subtree>,
    by_bytes: Top,
    by_children: Top,
    by_version: Top,
    owners: BTreeMap<SessionId, u64>,
    acls: BTreeMap<i64, u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Subtree {
    znodes: u64,
    bytes: u64,
}

/// The paths with the largest numbers; of equal ones, those that come first in the alphabet.
#[derive(Debug)]
struct Top {
    count: usize,
    /// The one that goes next on top.
    heap: BinaryHeap<Reverse<(u64, Reverse<Box<str>>)>>,
}

impl Top {
    fn new(count: usize) -> Top {
        Top { count, heap: BinaryHeap::new() }
    }

    /// Takes a path unless its number is 0.
    fn offer(&mut self, number: u64, path: &str) {
        let is_full = self.heap.len() >= self.count;
        let is_small =
            |least: &Reverse<(u64, Reverse<Box<str>>)>| (number, Reverse(path)) < (least.0.0, Reverse(&*least.0.1.0));
        if number == 0 || self.count == 0 || is_full && self.heap.peek().is_some_and(is_small) {
            return;
        }
        if is_full {
            self.heap.pop();
        }
        self.heap.push(Reverse((number, Reverse(path.into()))));
    }

    /// The largest first.
    fn rows(&self) -> Vec<(&str, u64)> {
        let mut entries: Vec<&(u64, Reverse<Box<str>>)> = self.heap.iter().map(|Reverse(entry)| entry).collect();
        entries.sort_unstable_by(|a, b| b.cmp(a));
        entries.into_iter().map(|(number, Reverse(path))| (&**path, *number)).collect()
    }
}

impl Stats {
    fn new(depth: usize, top: usize) -> Stats {
        Stats {
            depth,
            top,
            tally: Tally::default(),
            subtrees: HashMap::new(),
            by_bytes: Top::new(top),
            by_children: Top::new(top),
            by_version: Top::new(top),
            owners: BTreeMap::new(),
            acls: BTreeMap::new(),
        }
    }

    fn add(&mut self, facts: &Facts<'_>) {
        self.tally.count(facts);
        let prefix = prefix(facts.path, self.depth);
        if !self.subtrees.contains_key(prefix) {
            self.subtrees.insert(prefix.into(), Subtree::default());
        }
        if let Some(subtree) = self.subtrees.get_mut(prefix) {
            subtree.znodes += 1;
            subtree.bytes += facts.data_len as u64;
        }
        self.by_bytes.offer(facts.data_len as u64, facts.path);
        self.by_children.offer(facts.children.unwrap_or(0).into(), facts.path);
        self.by_version.offer(u64::try_from(facts.stat.version).unwrap_or(0), facts.path);
        if let Some(session) = facts.stat.ephemeral_owner.session() {
            *self.owners.entry(session).or_default() += 1;
        }
        *self.acls.entry(facts.acl).or_default() += 1;
    }

    /// Those with the most bytes, then znodes, then in the order of their paths.
    fn largest_subtrees(&self) -> Vec<(&str, Subtree)> {
        let mut rows: Vec<(&str, Subtree)> = self.subtrees.iter().map(|(path, subtree)| (&**path, *subtree)).collect();
        rows.sort_unstable_by(|(a_path, a), (b_path, b)| {
            (b.bytes, b.znodes).cmp(&(a.bytes, a.znodes)).then_with(|| a_path.cmp(b_path))
        });
        rows.truncate(self.top);
        rows
    }

    /// Sessions with their timeouts in ms and ephemerals, those with the most first. `None`: an owner that is not in the list, as it happens
    /// in ZooKeeper's snapshots.
    fn busiest_sessions(&self, tables: &Tables) -> Vec<(SessionId, Option<i32>, u64)> {
        let mut rows: BTreeMap<SessionId, (Option<i32>, u64)> =
            self.owners.iter().map(|(session, count)| (*session, (None, *count))).collect();
        for (session, timeout_ms) in &tables.sessions {
            rows.entry(*session).or_default().0 = Some(*timeout_ms);
        }
        let mut rows: Vec<_> =
            rows.into_iter().map(|(session, (timeout_ms, count))| (session, timeout_ms, count)).collect();
        rows.sort_by_key(|(_, _, count)| Reverse(*count));
        rows.truncate(self.top);
        rows
    }

    /// ACLs with their uses, all of them; `None`: those that are not there. ZooKeeper has two numbers for the open one.
    fn used_acls<'t>(&self, tables: &'t Tables) -> Vec<(Option<&'t [Acl]>, u64)> {
        let mut rows: Vec<(Option<&[Acl]>, u64)> = Vec::new();
        let mut places: HashMap<Option<&[Acl]>, usize> = HashMap::new();
        for (acl, uses) in &self.acls {
            let entries = tables.acls.get(*acl);
            let place = *places.entry(entries).or_insert(rows.len());
            match rows.get_mut(place) {
                Some((_, sum)) => *sum += uses,
                None => rows.push((entries, *uses)),
            }
        }
        rows.sort_by_key(|(_, uses)| Reverse(*uses));
        rows
    }

    fn to_json(&self, source: &Source, tables: &Tables) -> Value {
        let tops = |top: &Top, what: &str| {
            top.rows().into_iter().map(|(path, number)| json!({ "path": path, what: number })).collect::<Vec<_>>()
        };
        let subtrees = self.largest_subtrees().into_iter();
        let sessions = self.busiest_sessions(tables).into_iter();
        let acls = self.used_acls(tables);
        json!({
            "file": source.file,
            "format": source.format(),
            "zxid": source.zxid().to_string(),
            "time_ms": source.totals().map(|totals| totals.time_ms),
            "digest": source.totals().map(|totals| format!("{:#x}", totals.tree_digest)),
            "znodes": self.tally.znodes,
            "data_bytes": self.tally.data_bytes,
            "path_bytes": self.tally.path_bytes,
            "ephemerals": self.tally.ephemerals,
            "ttl_znodes": self.tally.ttls,
            "containers": self.tally.containers,
            "session_count": tables.sessions.len(),
            "acl_count": acls.len(),
            "subtree_depth": self.depth,
            "subtree_count": self.subtrees.len(),
            "subtrees": subtrees.map(|(path, subtree)| json!({ "path": path, "znodes": subtree.znodes, "data_bytes": subtree.bytes })).collect::<Vec<_>>(),
            "by_bytes": tops(&self.by_bytes, "data_bytes"),
            "by_children": tops(&self.by_children, "children"),
            "by_version": tops(&self.by_version, "version"),
            "sessions": sessions.map(|(session, timeout_ms, count)| json!({ "session": session.to_string(), "timeout_ms": timeout_ms, "ephemerals": count })).collect::<Vec<_>>(),
            "acls": acls.iter().take(self.top).map(|(acl, uses)| json!({ "acl": acl.map(acl_json), "znodes": uses })).collect::<Vec<_>>(),
        })
    }

    fn show(&self, out: &mut dyn Write, source: &Source, tables: &Tables) -> Result<(), Failure> {
        let tally = &self.tally;
        let (znodes, data, paths) = (tally.znodes, show_bytes(tally.data_bytes), show_bytes(tally.path_bytes));
        writeln!(out, "{znodes} znodes at zxid {}, {data} of data and {paths} of paths", source.zxid())?;
        let (ephemerals, ttls, containers) = (tally.ephemerals, tally.ttls, tally.containers);
        writeln!(out, "{ephemerals} ephemerals, {ttls} with a TTL, {containers} containers")?;
        if let Some(totals) = source.totals() {
            writeln!(out, "taken {}, digest {:#x}", show_time(totals.time_ms), totals.tree_digest)?;
        }
        let subtrees = self.largest_subtrees();
        let title = format!("Subtrees, {} deep ({} of {})", self.depth, subtrees.len(), self.subtrees.len());
        let mut table = table::with_heads(&["PATH", ">ZNODES", ">DATA"]);
        for (path, subtree) in subtrees {
            table.add_row([path.escape_debug().to_string(), subtree.znodes.to_string(), show_bytes(subtree.bytes)]);
        }
        table::print(out, &title, &table)?;
        show_top(out, "Most bytes", ">DATA", &self.by_bytes, show_bytes)?;
        show_top(out, "Most children", ">CHILDREN", &self.by_children, |count| count.to_string())?;
        show_top(out, "Most changes of data", ">VERSION", &self.by_version, |count| count.to_string())?;
        self.show_sessions(out, tables)?;
        let acls = self.used_acls(tables);
        let title = format!("ACLs ({} of {})", acls.len().min(self.top), acls.len());
        let mut table = table::with_heads(&["ACL", ">ZNODES"]);
        for (acl, uses) in acls.into_iter().take(self.top) {
            let text = acl.map_or_else(|| "missing".to_owned(), acl_text);
            table.add_row([text, uses.to_string()]);
        }
        Ok(table::print(out, &title, &table)?)
    }

    fn show_sessions(&self, out: &mut dyn Write, tables: &Tables) -> Result<(), Failure> {
        let sessions = self.busiest_sessions(tables);
        if sessions.is_empty() {
            return Ok(());
        }
        let title = format!("Sessions ({} of {})", sessions.len(), tables.sessions.len().max(sessions.len()));
        let mut table = table::with_heads(&["SESSION", ">TIMEOUT MS", ">EPHEMERALS"]);
        for (session, timeout_ms, count) in sessions {
            let timeout = timeout_ms.map_or_else(|| "not open".to_owned(), |timeout_ms| timeout_ms.to_string());
            table.add_row([session.to_string(), timeout, count.to_string()]);
        }
        Ok(table::print(out, &title, &table)?)
    }
}

fn show_top(
    out: &mut dyn Write,
    title: &str,
    head: &str,
    top: &Top,
    show: impl Fn(u64) -> String,
) -> Result<(), Failure> {
    let rows = top.rows();
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = table::with_heads(&["PATH", head]);
    for (path, number) in rows {
        table.add_row([path.escape_debug().to_string(), show(number)]);
    }
    Ok(table::print(out, title, &table)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_whatever_the_order() {
        let numbered = [("/a", 3), ("/b", 9), ("/c", 3), ("/d", 0), ("/e", 5), ("/f", 1)];
        for turn in 0..numbered.len() {
            let mut top = Top::new(3);
            let turned = numbered.iter().cycle().skip(turn).take(numbered.len());
            turned.for_each(|(path, number)| top.offer(*number, path));
            assert_eq!(top.rows(), [("/b", 9), ("/e", 5), ("/a", 3)], "{turn}");
        }
        let mut none = Top::new(0);
        none.offer(1, "/a");
        assert!(none.rows().is_empty());
    }
}
