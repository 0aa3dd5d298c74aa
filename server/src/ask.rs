//! How the control plane asks a shard or the core: by message, answered by the one who owns the state, between two of its turns' steps.
//!
//! Owns no thread. A question must look at a bounded number of things ([`PIECE`]); what is larger is asked for piece by piece, so that no
//! turn gets long and no answer large. Who does not answer in time (it is stopping, say) is left out, and the asker says so.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use engine::replica::Replica;
use engine::shard::{Piece, ShardState};
use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

/// Questions that may wait at one thread; more are refused.
pub const QUESTIONS_MAX: usize = 16;
/// Connections, watches, sessions or ephemerals that one question looks at.
pub const PIECE: usize = 512;
/// How long the control plane waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question to the owner of an `S`.
pub struct Question<S>(Box<dyn FnOnce(&mut S) + Send>);

impl<S> Question<S> {
    /// Puts it. The answer goes its own way.
    pub fn put(self, state: &mut S) {
        (self.0)(state);
    }
}

impl<S> fmt::Debug for Question<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

/// Somebody did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} did not answer a question of the control plane within {PATIENCE:?}")]
pub struct NoAnswer {
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Shard(usize),
    Core,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Shard(number) => write!(f, "shard {number}"),
            Who::Core => f.write_str("the core"),
        }
    }
}

impl Hub {
    /// Asks one shard.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn ask_shard<T: Send + 'static>(
        &self,
        number: usize,
        question: impl FnOnce(&mut ShardState) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let who = NoAnswer { who: Who::Shard(number) };
        let link = self.shards.get(number).ok_or(who)?;
        let (question, answer) = with_answer(question);
        link.questions.push(question).map_err(|_full| who)?;
        link.ring();
        answer.recv_timeout(PATIENCE).map_err(|_late| who)
    }

    /// Asks the core.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn ask_core<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Replica) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let who = NoAnswer { who: Who::Core };
        let (question, answer) = with_answer(question);
        self.core_questions.push(question).map_err(|_full| who)?;
        self.ring_core();
        answer.recv_timeout(PATIENCE).map_err(|_late| who)
    }

    /// Walks through something of one shard: `question` gets where to go on and gives the next piece, `found` gets its items.
    ///
    /// # Errors
    /// [`NoAnswer`], or what `found` says.
    pub fn walk_shard<T, C, E>(
        &self,
        number: usize,
        start: C,
        question: impl Fn(&ShardState, C) -> Piece<T, C> + Copy + Send + 'static,
        mut found: impl FnMut(Vec<T>) -> Result<(), E>,
    ) -> Result<(), E>
    where
        T: Send + 'static,
        C: Copy + Send + 'static,
        E: From<NoAnswer>,
    {
        let mut from = Some(start);
        while let Some(at) = from {
            let piece = self.ask_shard(number, move |shard| question(shard, at))?;
            found(piece.items)?;
            from = piece.next;
        }
        Ok(())
    }
}

fn with_answer<S, T: Send + 'static>(
    question: impl FnOnce(&mut S) -> T + Send + 'static,
) -> (Question<S>, mpsc::Receiver<T>) {
    let (sender, answer) = mpsc::sync_channel(1);
    // Who asked may have given up.
    let question = move |state: &mut S| drop(sender.try_send(question(state)));
    (Question(Box::new(question)), answer)
}
