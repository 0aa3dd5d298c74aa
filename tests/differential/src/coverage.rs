//! Counts what a run has really met: each operation with each of its outcomes, and the events. Random sequences that only ever fail would
//! compare little.

use crate::drive::Transcript;
use crate::observe::{Item, Source, Value};
use crate::sequence::{Sequence, Step};
use std::collections::BTreeMap;
use std::fmt;

/// Counts by kind and outcome.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<(String, String), usize>,
}

impl Coverage {
    /// Adds what a server has answered to a sequence.
    pub fn add(&mut self, sequence: &Sequence, transcript: &Transcript) {
        for (step, connections) in sequence.steps.iter().zip(&transcript.steps) {
            for item in connections.iter().flatten() {
                if let Some(key) = key_of(step, item) {
                    *self.counts.entry(key).or_default() += 1;
                }
            }
        }
    }

    /// How often that kind had that outcome.
    #[must_use]
    pub fn count(&self, kind: &str, outcome: &str) -> usize {
        self.counts.get(&(kind.to_owned(), outcome.to_owned())).copied().unwrap_or(0)
    }
}

fn key_of(step: &Step, item: &Item) -> Option<(String, String)> {
    let number = |name: &str| match item.value(name) {
        Some(Value::Int(value)) => value.to_string(),
        _ => "?".to_owned(),
    };
    match (&item.source, step) {
        (Source::Reply(place), Step::Burst { ops, .. }) => {
            let op = ops.get(*place)?;
            let name = op.code().map_or_else(|| "unknown opcode".to_owned(), |code| format!("{code:?}"));
            let failed = item
                .tokens
                .iter()
                .find(|token| token.name == "result-error" && !matches!(token.value, Value::Int(0 | -2)));
            let outcome = failed.map_or_else(|| number("err"), |token| format!("in it {}", token.value));
            Some((name, outcome))
        }
        (Source::Event, _) => Some(("event".to_owned(), format!("type {}", number("type")))),
        (Source::Handshake, _) => Some(("handshake".to_owned(), format!("time-out {}", number("timeout")))),
        (Source::Closed, _) => Some(("closed by the server".to_owned(), String::new())),
        _ => None,
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for ((kind, outcome), count) in &self.counts {
            if last != Some(kind) {
                write!(f, "{}{kind}:", if last.is_some() { "\n" } else { "" })?;
                last = Some(kind);
            }
            write!(f, " {outcome} ×{count};")?;
        }
        writeln!(f)
    }
}
