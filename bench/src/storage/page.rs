//! The page that a figure writes: machine, versions and command first, then tables.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::error::{BenchError, Result};
use crate::process::Memory;

/// A page of Markdown.
#[derive(Debug)]
pub(crate) struct Page(String);

impl Page {
    /// Begins with what somebody needs who wants to measure it again.
    pub(crate) fn begin(title: &str) -> Page {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.split_once(':').map(|(_, value)| value.trim().to_owned()));
            line.unwrap_or_else(|| "unknown".to_owned())
        };
        let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Page(format!(
            "# {title}\n\n    rkbench {}\n\nrkbench {} on {cpus} CPUs ({}), {} of memory, Linux {}, load average at the beginning {}.\n\n",
            words.join(" "),
            env!("CARGO_PKG_VERSION"),
            field("/proc/cpuinfo", "model name"),
            field("/proc/meminfo", "MemTotal"),
            kernel.trim(),
            load.split_whitespace().next().unwrap_or("unknown"),
        ))
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.0 += text;
        self.0 += "\n\n";
    }

    /// A table: titles, then rows of as many cells.
    pub(crate) fn table(&mut self, titles: &[&str], rows: &[Vec<String>]) {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
        self.0 += &line(&titles);
        writeln!(self.0, "|{}", "---|".repeat(titles.len())).expect("writing to a String cannot fail");
        rows.iter().for_each(|row| self.0 += &line(row));
        self.0.push('\n');
    }

    /// Prints it, and writes it where it shall go.
    ///
    /// # Errors
    /// [`BenchError::Output`]
    pub(crate) fn end(&self, out: Option<&Path>) -> Result<()> {
        let text = self.0.trim_end();
        println!("{text}");
        out.map_or(Ok(()), |path| fs::write(path, format!("{text}\n")).map_err(BenchError::output(path)))
    }
}

/// Cells of a memory: heap and stacks in MiB, mapped files in MiB, all in MiB, and bytes of the first for each znode.
pub(crate) fn memory_cells(memory: Memory, znodes: u64) -> [String; 4] {
    let mib = |kib: u64| format!("{:.0}", kib as f64 / 1024.0);
    let each = memory.rss_anon_kib as f64 * 1024.0 / znodes.max(1) as f64;
    [mib(memory.rss_anon_kib), mib(memory.rss_file_kib), mib(memory.rss_kib), format!("{each:.0}")]
}

/// Titles of [`memory_cells`].
pub(crate) const MEMORY_TITLES: [&str; 4] = ["RssAnon MiB", "RssFile MiB", "RSS MiB", "RssAnon B/znode"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_row() {
        let mut page = Page(String::new());
        page.table(&["a", "b"], &[vec!["1".to_owned(), "2".to_owned()]]);
        assert_eq!(page.0, "| a | b |\n|---|---|\n| 1 | 2 |\n\n");
    }

    #[test]
    fn memory_is_told_in_mib_and_by_znode_in_bytes() {
        let memory = Memory { rss_anon_kib: 2_048, rss_file_kib: 1_024, rss_kib: 3_072 };
        assert_eq!(memory_cells(memory, 1_024), ["2", "1", "3", "2048"]);
    }
}
