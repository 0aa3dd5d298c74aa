//! Histories: what clients asked and were told, and what servers were seen to do, line by line.
//!
//! Owns the text of a history and its parser. It judges nothing: that is [`crate::check`]'s. It fails with [`ParseError`], which names the line.
//! `sim/tests/histories.rs` would catch a mistake.
//!
//! # The text
//!
//! One JSON object a line. **The order of the lines is the order in which things happened**: an `ask` stands before the request leaves the client,
//! a `reply` or `watch` after it has come. Where several processes record, each stamps its lines with `at_us`, the machine's monotonic clock in
//! µs, and [`History::merge`] (`sim check` with several files) puts them in order. Empty lines, and those that begin with `#`, are skipped.
//!
//! ```text
//! {"event":"connected","client":1,"session":72057594037927936}
//! {"event":"ask","client":1,"xid":1,"op":"create","path":"/a","data":"x"}
//! {"event":"reply","client":1,"xid":1,"zxid":4294967298,"path":"/a"}
//! {"event":"ask","client":1,"xid":2,"op":"get","path":"/a","watch":true}
//! {"event":"reply","client":1,"xid":2,"zxid":4294967298,"data":"x"}
//! {"event":"watch","client":1,"told":"changed","path":"/a","zxid":4294967299}
//! {"event":"lost","client":1}
//! {"event":"final","server":1,"zxid":4294967299,"nodes":[]}
//! ```
//!
//! The fields are those of [`Event`], [`Op`], [`Answer`] and [`Stat`]. What a recorder must keep to:
//!
//! - A reply has the **header's** zxid (kazoo: `ConnectionHandler._read_response` has the header; our `client`: `ReplyFrame`). What an answer
//!   says beside it may be left out: what is not told is not checked.
//! - Xids are used once in a session. Pings and auth are not recorded.
//! - `lost` when the connection breaks, before anything else of that client; `connected` again with the same session or another. On a renewed
//!   connection the first thing asked is `set_watches` with all watches that have not fired, or else these watches count as given up.
//! - Write data that occurs once (a counter will do): where no server's log is recorded, it tells which of the requests without a reply took place.
//! - Work below znodes that the history itself creates. Of the root no Stat is checked, and nothing sequential may be created there.
//! - `applied` lines, if there are any, tell the whole log from its first line on. `rkctl log` prints zxid, session and xid of every txn.

mod event;

pub use event::{
    Answer, ClientId, Code, Event, FinalNode, Op, PartAnswer, ServerId, SessionId, Stat, Told, TxnKind, Xid, Zxid,
};

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in µs from any start.
    #[serde(default)]
    pub at_us: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// A line's place in its history, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub usize);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    lines: Vec<Line>,
}

/// A line that is none.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct ParseError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

impl History {
    /// Without lines.
    #[must_use]
    pub const fn new() -> History {
        History { lines: Vec::new() }
    }

    /// Reads the text.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<History, ParseError> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            lines.push(serde_json::from_str(line).map_err(|source| ParseError { line: number + 1, source })?);
        }
        Ok(History { lines })
    }

    /// The histories of several recorders as one, by `at_us`; lines of one recorder keep their order.
    #[must_use]
    pub fn merge(all: Vec<History>) -> History {
        let mut lines: Vec<Line> = all.into_iter().flat_map(|history| history.lines).collect();
        lines.sort_by_key(|line| line.at_us);
        History { lines }
    }

    /// The text.
    ///
    /// # Panics
    /// Never: all of it can be written as JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let line = serde_json::to_string(line).expect("a line has no maps with odd keys");
            writeln!(text, "{line}").expect("a string takes everything");
        }
        text
    }

    /// Adds a line.
    pub fn push(&mut self, at_us: u64, event: Event) {
        self.lines.push(Line { at_us, event });
    }

    /// Count of lines.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Are there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines, in order.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The lines, to be changed: for tests of checkers.
    pub const fn lines_mut(&mut self) -> &mut Vec<Line> {
        &mut self.lines
    }

    /// What happened, in order.
    pub fn events(&self) -> impl Iterator<Item = (At, &Event)> {
        self.lines.iter().enumerate().map(|(at, line)| (At(at), &line.event))
    }

    /// The line there.
    #[must_use]
    pub fn get(&self, at: At) -> Option<&Line> {
        self.lines.get(at.0)
    }
}
