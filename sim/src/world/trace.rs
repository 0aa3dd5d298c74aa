//! What happened in a run: always as a hash, by which two runs of one seed are compared, and on request as lines for a person.

use super::time::Time;
use std::fmt::Arguments;
use std::fmt::Write as _;

/// See the module.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    count: u64,
    lines: Option<Vec<String>>,
    buffer: String,
}

impl Trace {
    /// `with_lines`: keep them.
    #[must_use]
    pub fn new(with_lines: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, count: 0, lines: with_lines.then(Vec::new), buffer: String::new() }
    }

    /// Something happens.
    pub fn note(&mut self, now: Time, what: Arguments<'_>) {
        self.buffer.clear();
        // A string takes everything.
        let _ = write!(self.buffer, "{now} {what}");
        for byte in self.buffer.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(self.buffer.clone());
        }
    }

    /// The hash of all so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many there were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The lines, if they are kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
