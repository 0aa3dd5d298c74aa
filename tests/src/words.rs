//! What `mntr` says, and what of ZooKeeper's keys it leaves out.

use crate::top;
use std::collections::BTreeMap;

/// What `mntr` puts before a summary's name.
const SUMMARY_PARTS: [&str; 9] = ["avg", "min", "max", "cnt", "sum", "p50", "p95", "p99", "p999"];

/// The figures of an answer to `mntr`, without `zk_`.
///
/// # Panics
/// If a line is none of `mntr`'s.
#[must_use]
pub fn figures(text: &str) -> BTreeMap<String, String> {
    let split = |line: &str| {
        let (key, value) = line.split_once('\t').unwrap_or_else(|| panic!("{line}"));
        (key.strip_prefix("zk_").unwrap_or_else(|| panic!("{line}")).to_owned(), value.to_owned())
    };
    text.lines().map(split).collect()
}

/// The keys that `docs/four-letter-words.md` names as left out.
#[derive(Debug)]
pub struct LeftOut(Vec<String>);

impl LeftOut {
    /// What the page says.
    ///
    /// # Panics
    /// If it has no such table.
    #[must_use]
    pub fn of_the_page() -> LeftOut {
        let page = std::fs::read_to_string(top().join("docs/four-letter-words.md")).expect("the page");
        let table = page.split("## Figures of `mntr` that are left out").nth(1).expect("the table");
        let names = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned);
        let names: Vec<String> = names.collect();
        assert!(names.len() > 20, "the table is there: {names:?}");
        LeftOut(names)
    }

    /// Is this key, one part of a summary perhaps, among them?
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        let parts = key.split_once('_').filter(|(part, _)| SUMMARY_PARTS.contains(part));
        let stem = parts.map_or(key, |(_, stem)| stem);
        self.0.iter().any(|name| match name.strip_prefix('*') {
            Some(end) => stem.ends_with(end),
            None => stem == name,
        })
    }
}
