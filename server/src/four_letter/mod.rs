//! Four-letter words: all 18 of ZooKeeper 3.9, in its words, because exporters, scripts and people parse them.
//!
//! Owns the whitelist's answer and the texts. It runs on threads of the control plane and reads counters; what shards and core know it asks
//! for by message, in bounded pieces ([`crate::ask`]), and writes it out piece by piece: no word keeps a turn long or needs memory for all
//! of a large answer. A shard that does not answer ends the text early, with a line in the log. `tests/tests/words.rs` compares every text
//! with what a real server said (`tests/reference/words-3.9.5`).
//!
//! | words | where |
//! |---|---|
//! | `srvr stat conf dirs envi isro ruok` | [`server`] |
//! | `mntr` | [`monitor`] |
//! | `cons dump wchs wchc wchp crst` | [`dump`] |
//! | what a member of an ensemble says beside | [`ensemble`] |
//! | `srst hash gtmk stmk` | here |
#![forbid(unsafe_code)]

mod dump;
pub mod ensemble;
mod monitor;
mod server;
mod text;

use crate::ask::NoAnswer;
use crate::config::ResolvedConfig;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::stats::{ShardStats, get, set};
use ensemble::EnsembleView;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;

/// What the words need.
#[derive(Debug)]
pub struct Words<'a> {
    /// The threads' shared state.
    pub hub: &'a Hub,
    /// The configuration.
    pub config: &'a ResolvedConfig,
    /// What limits and throttles have counted.
    pub limits: &'a Limits,
    /// The port that clients use: the one bound, where the configuration says 0.
    pub client_port: u16,
    /// What this server does in its ensemble; `None` where it stands alone.
    pub ensemble: Option<EnsembleView>,
    /// Who asks, if he is known: ZooKeeper shows him among the connections.
    pub caller: Option<SocketAddr>,
}

/// Why an answer ended early.
#[derive(Debug, thiserror::Error)]
pub enum WordError {
    /// A shard or the core said nothing.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// Who asked is gone, or does not read.
    #[error("the caller does not read: {0}")]
    Caller(#[from] std::io::Error),
}

/// The outcome of writing an answer.
type Written = Result<(), WordError>;

/// As exporters see the version: `zk_version` must start with a ZooKeeper version for some of them.
const VERSION: &str = concat!("3.9.5-ringkeeper-", env!("CARGO_PKG_VERSION"), ", built on 1970-01-01 00:00 UTC");

/// How many words there are. What telnet sends for Ctrl-C ZooKeeper counts as one more, to which it has no answer.
const WORDS: usize = 18;

/// May the answer be large, so that writing it takes as long as the caller likes?
#[must_use]
pub fn is_large(word: [u8; 4]) -> bool {
    matches!(&word, b"stat" | b"cons" | b"dump" | b"wchc" | b"wchp" | b"wchs" | b"crst")
}

impl Words<'_> {
    /// Writes the answer to a word. `argument`: what came behind it.
    ///
    /// # Errors
    /// [`WordError`]: the answer ended early.
    pub fn answer(&self, word: [u8; 4], argument: &[u8], out: &mut impl Write) -> Written {
        let name = std::str::from_utf8(&word).unwrap_or("telnet close");
        if !self.allows(word) {
            return Ok(writeln!(out, "{name} is not executed because it is not in the whitelist.")?);
        }
        if let Some(view) = &self.ensemble
            && view.answers_itself(name, out)?
        {
            return Ok(());
        }
        match name {
            "ruok" => out.write_all(b"imok")?,
            "isro" => out.write_all(b"rw")?,
            "srvr" => self.srvr(out)?,
            "stat" => self.stat(out)?,
            "conf" => self.conf(out)?,
            "dirs" => self.dirs(out)?,
            "envi" => self.envi(out)?,
            "mntr" => self.mntr(out)?,
            "cons" => self.cons(out)?,
            "dump" => self.dump(out)?,
            "wchs" => self.wchs(out)?,
            "wchc" => self.wchc(out)?,
            "wchp" => self.wchp(out)?,
            "crst" => self.crst(out)?,
            "srst" => self.srst(out)?,
            "hash" => self.hash(out)?,
            "gtmk" => write!(out, "{}", get(&self.hub.core_stats.trace_mask).cast_signed())?,
            "stmk" => self.stmk(argument, out)?,
            _ => {}
        }
        Ok(())
    }

    /// Is it on the whitelist?
    #[must_use]
    pub fn allows(&self, word: [u8; 4]) -> bool {
        let allowed = &self.config.four_letter_words;
        match std::str::from_utf8(&word) {
            Ok(name) => allowed.allows(name),
            // What telnet sends is on it where everything is.
            Err(_) => allowed.iter().count() == WORDS,
        }
    }

    /// Forgets the server's counts. ZooKeeper keeps how many authentications failed, and so do we.
    fn srst(&self, out: &mut impl Write) -> Written {
        let core = &self.hub.core_stats;
        for cell in [&core.log_syncs, &core.images_written, &core.words_answered, &core.words_refused, &core.words_cut]
        {
            set(cell, 0);
        }
        self.hub.measured.reset();
        self.limits.reset_counts();
        self.hub.ask_core(|core| core.reset_counts())?;
        for number in 0..self.hub.shards.len() {
            self.hub.ask_shard(number, |shard| shard.reset_counts())?;
            // The shard shows its counts before it takes the next question.
            self.hub.ask_shard(number, |_shard| ())?;
            if let Some(link) = self.hub.shards.get(number) {
                set(&link.stats.connections_refused, 0);
            }
        }
        Ok(writeln!(out, "Server stats reset.")?)
    }

    fn hash(&self, out: &mut impl Write) -> Written {
        let digests: Vec<_> = self.hub.ask_core(|core| core.digests().collect())?;
        for (zxid, digest) in digests {
            writeln!(out, "{:x}: {}", zxid.0, digest.cast_signed())?;
        }
        Ok(())
    }

    /// ZooKeeper closes without a word where the mask is missing.
    fn stmk(&self, argument: &[u8], out: &mut impl Write) -> Written {
        let Some((mask, _)) = argument.split_first_chunk::<8>() else { return Ok(()) };
        let mask = i64::from_be_bytes(*mask);
        set(&self.hub.core_stats.trace_mask, mask.cast_unsigned());
        Ok(write!(out, "{mask}")?)
    }

    /// What the server calls itself.
    fn mode(&self) -> &'static str {
        self.ensemble.as_ref().map_or("standalone", EnsembleView::mode)
    }

    fn sum(&self, of: impl Fn(&ShardStats) -> &AtomicU64) -> u64 {
        self.hub.shards.iter().map(|link| get(of(&link.stats))).sum()
    }

    /// The caller of the word counts among the connections, as in ZooKeeper.
    fn connections(&self) -> u64 {
        self.sum(|s| &s.connections) + u64::from(self.caller.is_some())
    }

    fn latency_ms(&self) -> Latency {
        let count = self.sum(|s| &s.latency_count);
        let sum_us = self.sum(|s| &s.latency_us_sum);
        let min_us = self.hub.shards.iter().map(|link| get(&link.stats.latency_us_min)).min().unwrap_or(0);
        let max_us = self.hub.shards.iter().map(|link| get(&link.stats.latency_us_max)).max().unwrap_or(0);
        if count == 0 {
            return Latency { min: 0, avg: 0.0, max: 0 };
        }
        Latency { min: min_us / 1_000, avg: text::ratio(sum_us, count * 1_000), max: max_us / 1_000 }
    }
}

struct Latency {
    min: u64,
    avg: f64,
    max: u64,
}
