//! What happens, as a script shows it.

use super::World;
use crate::wire::{self, at};
use proto::ServerId;
use ringkeeper_zab::{Action, Message};

impl World {
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if self.traces {
            self.trace.push(line());
        }
    }

    pub(super) fn say_action(&mut self, id: ServerId, action: &Action) {
        if !self.traces {
            return;
        }
        let text = match action {
            Action::Vote { .. } | Action::Send(_, Message::Ping(_) | Message::Pong(_)) => return,
            Action::Release if self.node(id).disk.former.is_none() => return,
            Action::Dial(leader) => format!("dials {}", leader.0),
            Action::Send(link, message) => format!("{} on {}", wire::message(message), link.0),
            Action::Close(link, end) => format!("closes {}: {end:?}", link.0),
            Action::Append { zxid, then: None } => format!("appends {}", at(*zxid)),
            Action::Append { zxid, then: Some(gate) } => {
                format!("appends {}, then {} on {}", at(*zxid), wire::message(&gate.message), gate.link.0)
            }
            Action::WriteEpochs { epochs, then } => {
                let then = then.map_or(String::new(), |gate| {
                    format!(", then {} on {}", wire::message(&gate.message), gate.link.0)
                });
                format!("writes epochs {}/{}{then}", epochs.accepted.0, epochs.current.0)
            }
            Action::Cut(to) => format!("cuts the log to {}", at(*to)),
            Action::TakeSnap { link, epoch, is_ours, .. } => {
                let whose = if *is_ours { "" } else { "Java's " };
                format!("takes the state of {whose}epoch {} on {}", epoch.0, link.0)
            }
            Action::Adopt => "adopts the state".to_owned(),
            Action::Discard => "discards the state".to_owned(),
            Action::Release => "releases what was before".to_owned(),
            Action::Sync(link, sync) => format!("sends beside the core {} on {}", wire::sync(sync), link.0),
            Action::Commit(zxid) => format!("commits {}", at(*zxid)),
            Action::Lead(epoch) => format!("leads epoch {}", epoch.0),
            Action::Follow(link) => format!("follows on {}", link.0),
            Action::Look(cause) => format!("looks: {cause:?}"),
        };
        self.trace.push(format!("{}: {text}", id.0));
    }
}
