//! `rkctl log stats`: what the txns of a log are, whose, about what, how many a second, and how large the groups.
//!
//! Holds a count for each type, session, path prefix and second that occurs, and nothing else of the log.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::process::ExitCode;

use proto::{SessionId, Zxid};
use serde_json::{Value, json};
use wal::GroupView;
use wal::format::GroupKind;

use super::filter::{Filter, parts, paths};
use super::source::{AtEnd, Found, Go, Source, Visit};
use super::txn::data_of;
use crate::failure::Failure;
use crate::table;
use crate::units::{show_bytes, show_time, type_name};

/// Counts what the filter takes of all sources together.
///
/// # Errors
/// What cannot be read; nothing is shown then.
pub(crate) fn run(
    sources: &[Source],
    filter: &Filter,
    top: usize,
    depth: usize,
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut stats = Stats { filter, depth, ..Stats::new(filter) };
    for source in sources {
        source.read(filter.after(), AtEnd::Stop, &mut stats)?;
    }
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", stats.to_json(top))?;
    } else {
        stats.show(&mut out, top)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How often, and how many bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    txns: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.txns += 1;
        self.bytes += bytes as u64;
    }
}

/// How often each value occurred.
#[derive(Debug, Default)]
struct Spread(BTreeMap<u64, u64>);

impl Spread {
    fn add(&mut self, value: u64) {
        *self.0.entry(value).or_default() += 1;
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Least, median and greatest; `None` if there is no value.
    fn summary(&self) -> Option<[u64; 3]> {
        let (least, greatest) = (self.0.keys().next()?, self.0.keys().next_back()?);
        let middle = self.total().div_ceil(2);
        let mut seen = 0;
        let median = self.0.iter().find(|(_, count)| {
            seen += *count;
            seen >= middle
        });
        median.map(|(median, _)| [*least, *median, *greatest])
    }
}

struct Stats<'f> {
    filter: &'f Filter,
    depth: usize,
    all: Count,
    zxids: Option<(Zxid, Zxid)>,
    types: HashMap<String, Count>,
    sessions: HashMap<SessionId, Count>,
    prefixes: HashMap<String, Count>,
    /// Txns by the second of their time.
    seconds: BTreeMap<i64, u64>,
    group_records: Spread,
    group_bytes: Spread,
    seals: u64,
}

impl Visit for Stats<'_> {
    fn group(&mut self, group: &GroupView<'_>) {
        if self.filter.ends_before(Zxid(group.header.first_zxid)) {
            return;
        }
        match group.header.kind {
            GroupKind::Seal => self.seals += 1,
            GroupKind::Records => {
                self.group_records.add(group.header.record_count.into());
                self.group_bytes.add(group.padded_bytes as u64);
            }
        }
    }

    fn txn(&mut self, found: &Found<'_>) -> Result<Go, Failure> {
        if self.filter.ends_before(found.zxid) {
            return Ok(Go::Stop);
        }
        let record = found.decode()?;
        if !self.filter.takes(&record) {
            return Ok(Go::On);
        }
        let bytes = found.bytes.len();
        self.all.add(bytes);
        let first = self.zxids.map_or(found.zxid, |(first, _)| first);
        self.zxids = Some((first, found.zxid));
        self.types.entry(type_name(record.header.op)).or_default().add(bytes);
        self.sessions.entry(record.header.session).or_default().add(bytes);
        *self.seconds.entry(record.header.time_ms.div_euclid(1000)).or_default() += 1;
        for part in parts(&record.txn) {
            let data_bytes = data_of(part).map_or(0, <[u8]>::len);
            for path in paths(part) {
                self.prefixes.entry(prefix(path, self.depth).to_owned()).or_default().add(data_bytes);
            }
        }
        Ok(Go::On)
    }
}

impl<'f> Stats<'f> {
    fn new(filter: &'f Filter) -> Stats<'f> {
        Stats {
            filter,
            depth: 1,
            all: Count::default(),
            zxids: None,
            types: HashMap::new(),
            sessions: HashMap::new(),
            prefixes: HashMap::new(),
            seconds: BTreeMap::new(),
            group_records: Spread::default(),
            group_bytes: Spread::default(),
            seals: 0,
        }
    }

    /// Txns in each second from the first to the last; one without any counts as 0.
    fn rates(&self) -> Spread {
        let mut rates = Spread::default();
        self.seconds.values().for_each(|count| rates.add(*count));
        if let (Some((first, _)), Some((last, _))) = (self.seconds.first_key_value(), self.seconds.last_key_value()) {
            let idle = last.abs_diff(*first) + 1 - self.seconds.len() as u64;
            if idle > 0 {
                rates.0.insert(0, idle);
            }
        }
        rates
    }

    fn to_json(&self, top: usize) -> Value {
        let counted = |(key, count): (String, Count)| json!({ "of": key, "txns": count.txns, "bytes": count.bytes });
        let rows = |rows: Vec<(String, Count)>| rows.into_iter().map(counted).collect::<Vec<_>>();
        let spread = |spread: &Spread| {
            spread.summary().map(|[min, median, max]| json!({ "min": min, "median": median, "max": max }))
        };
        json!({
            "txns": self.all.txns,
            "bytes": self.all.bytes,
            "first_zxid": self.zxids.map(|(first, _)| first.to_string()),
            "last_zxid": self.zxids.map(|(_, last)| last.to_string()),
            "types": rows(largest(&self.types, usize::MAX)),
            "sessions": rows(largest(&self.sessions, top)),
            "session_count": self.sessions.len(),
            "paths": rows(largest(&self.prefixes, top)),
            "path_depth": self.depth,
            "path_count": self.prefixes.len(),
            "txns_per_second": spread(&self.rates()),
            "groups": self.group_records.total(),
            "seals": self.seals,
            "group_records": spread(&self.group_records),
            "group_bytes": spread(&self.group_bytes),
        })
    }

    fn show(&self, out: &mut dyn Write, top: usize) -> Result<(), Failure> {
        let zxids = self.zxids.map(|(first, last)| format!(", zxids {first} to {last}")).unwrap_or_default();
        writeln!(out, "{} txns, {}{zxids}", self.all.txns, show_bytes(self.all.bytes))?;
        let times = (self.seconds.first_key_value(), self.seconds.last_key_value());
        if let (Some((first, _)), Some((last, _))) = times {
            writeln!(out, "from {} to {}", show_second(*first), show_second(*last))?;
        }
        let of_sessions = format!("Sessions ({} of {})", top.min(self.sessions.len()), self.sessions.len());
        let of_paths =
            format!("Paths, {} deep ({} of {})", self.depth, top.min(self.prefixes.len()), self.prefixes.len());
        show_counts(out, "Types", &["TYPE", ">TXNS", ">BYTES"], largest(&self.types, usize::MAX))?;
        show_counts(out, &of_sessions, &["SESSION", ">TXNS", ">BYTES"], largest(&self.sessions, top))?;
        show_counts(out, &of_paths, &["PATH", ">CHANGES", ">DATA"], largest(&self.prefixes, top))?;
        let mut spreads = table::with_heads(&["", ">MIN", ">MEDIAN", ">MAX"]);
        let rows = [
            ("txns a second", &self.rates(), ToString::to_string as fn(&u64) -> String),
            ("records a group", &self.group_records, ToString::to_string),
            ("size of a group", &self.group_bytes, |bytes| show_bytes(*bytes)),
        ];
        for (name, spread, show) in rows {
            if let Some(summary) = spread.summary() {
                spreads.add_row(std::iter::once(name.to_owned()).chain(summary.iter().map(show)));
            }
        }
        let title = format!("Rates and sizes ({} groups, {} seals)", self.group_records.total(), self.seals);
        Ok(table::print(out, &title, &spreads)?)
    }
}

fn show_second(second: i64) -> String {
    show_time(second.saturating_mul(1000))
}

fn show_counts(out: &mut dyn Write, title: &str, heads: &[&str], rows: Vec<(String, Count)>) -> Result<(), Failure> {
    let mut table = table::with_heads(heads);
    for (key, count) in rows {
        table.add_row([key, count.txns.to_string(), show_bytes(count.bytes)]);
    }
    Ok(table::print(out, title, &table)?)
}

/// Those with the most txns, then in the order of their names.
fn largest<K: ToString>(counts: &HashMap<K, Count>, top: usize) -> Vec<(String, Count)> {
    let mut rows: Vec<(String, Count)> = counts.iter().map(|(key, count)| (key.to_string(), *count)).collect();
    rows.sort_by(|(a_key, a), (b_key, b)| b.txns.cmp(&a.txns).then_with(|| a_key.cmp(b_key)));
    rows.truncate(top);
    rows
}

/// The first `depth` names of a path.
pub(crate) fn prefix(path: &str, depth: usize) -> &str {
    let end = path.match_indices('/').nth(depth).map_or(path.len(), |(at, _)| at);
    path.get(..end).filter(|prefix| !prefix.is_empty()).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_of_whole_names() {
        let cases = [("/a/b/c", 1, "/a"), ("/a/b/c", 2, "/a/b"), ("/a", 2, "/a"), ("/", 1, "/"), ("/a/b", 0, "/")];
        for (path, depth, expected) in cases {
            assert_eq!(prefix(path, depth), expected, "{path} {depth}");
        }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        let mut spread = Spread::default();
        assert_eq!(spread.summary(), None);
        [5, 1, 9].into_iter().for_each(|value| spread.add(value));
        assert_eq!(spread.summary(), Some([1, 5, 9]));
        spread.add(0);
        assert_eq!(spread.summary(), Some([0, 1, 9]), "the lower one of two");
    }
}
