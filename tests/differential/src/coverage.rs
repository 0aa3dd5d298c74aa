//! Counts what a run has really met: each operation with each of its outcomes, the events, and what the outcomes do not tell: at which place multis
//! failed, which kinds of watches were removed, who a caller was, how much stood before the end of a session. Random sequences that only ever
//! fail would compare little; `tests/bites.rs` asks for some of each.

use crate::drive::Transcript;
use crate::observe::{Item, Source, Value};
use crate::sequence::{Field, Sequence, Step};
use proto::OpCode;
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
                for key in key_of(step, item).into_iter().chain(detail_of(step, item)) {
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

/// What the outcome alone does not tell of an item.
fn detail_of(step: &Step, item: &Item) -> Option<(String, String)> {
    let key = |kind: &str, outcome: String| Some((kind.to_owned(), outcome));
    let Step::Burst { ops, .. } = step else {
        return match step {
            Step::Reopen { .. } if item.source == Source::Handshake => key("handshake", "with a session".to_owned()),
            _ => None,
        };
    };
    if item.source == Source::Event {
        let is_told_later = item.value("header-zxid") == Some(&Value::Zxid(-1));
        return if is_told_later { key("event", "told by setWatches".to_owned()) } else { None };
    }
    let Source::Reply(place) = item.source else { return None };
    let op = ops.get(place)?;
    let err = || item.value("err").map_or_else(String::new, Value::to_string);
    match (op.code()?, op.body.as_slice()) {
        (OpCode::Multi, [.., Field::End]) => {
            let results = item.tokens.iter().filter(|token| token.name == "result-error");
            let place = results.map(|token| &token.value).position(|value| *value != Value::Int(0))?;
            key("Multi", format!("fails at {} of {}", place + 1, op.body.len() - 1))
        }
        (code @ (OpCode::RemoveWatches | OpCode::CheckWatches), [_, Field::Int(ty)]) => {
            key(&format!("{code:?}"), format!("of type {ty} {}", err()))
        }
        (OpCode::AddWatch, [_, Field::Int(mode)]) => key("AddWatch", format!("of mode {mode} {}", err())),
        (OpCode::WhoAmI, _) => key("WhoAmI", format!("{} identities", item.value("count")?)),
        (OpCode::CloseSession, _) => {
            key("CloseSession", format!("behind {}", if place == 0 { "none" } else { "others" }))
        }
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
