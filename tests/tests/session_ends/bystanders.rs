//! Clients that have nothing to do with what a test does to others: one pings, one reads, one writes, each as fast as it is answered. What
//! they saw is told as figures, and the writer's zxids say what was done between its writes.

use crate::Target;
use client::{Connection, Operations};
use proto::Zxid;
use proto::request::CreateMode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where the writer writes.
const PATH: &str = "/bystander";

/// See the module. They stop when this is dropped or asked to.
pub struct Bystanders {
    stop: Arc<AtomicBool>,
    threads: Vec<(&'static str, JoinHandle<Vec<Answer>>)>,
}

/// When an answer came, and for the writer its zxid.
#[derive(Clone, Copy)]
pub struct Answer {
    at: Instant,
    zxid: Zxid,
}

/// What the bystanders saw.
pub struct Seen {
    /// By name: pings, reads, writes.
    pub answers: Vec<(&'static str, Vec<Answer>)>,
}

impl Bystanders {
    /// How many sessions they have.
    pub const COUNT: u64 = 3;

    /// Connects them and lets them begin.
    pub fn start(target: &Target) -> Bystanders {
        let mut writer = target.connect();
        if writer.exists(PATH, false).expect("exists").is_none() {
            writer.create(PATH, b"", CreateMode::Persistent).expect("created");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let go_on = |mut connection: Connection, mut act: Box<dyn FnMut(&mut Connection) -> Zxid + Send>| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let zxid = act(&mut connection);
                    answers.push(Answer { at: Instant::now(), zxid });
                }
                connection.close().expect("closed");
                answers
            })
        };
        let pings = go_on(
            target.connect(),
            Box::new(|connection| {
                connection.ping().expect("a ping is answered");
                Zxid::ZERO
            }),
        );
        let reads = go_on(
            target.connect(),
            Box::new(|connection| {
                connection.get(PATH, false).expect("a read is answered");
                Zxid::ZERO
            }),
        );
        let writes =
            go_on(writer, Box::new(|connection| connection.set(PATH, b"", -1).expect("a write is answered").mzxid));
        Bystanders { stop, threads: vec![("pings", pings), ("reads", reads), ("writes", writes)] }
    }

    /// Ends them.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        Seen { answers: threads.map(|(name, thread)| (name, thread.join().expect("a bystander"))).collect() }
    }
}

/// Txns of others between the writer's own: what happened to everybody else, as the only other writer sees it.
pub struct Interval {
    /// When the writer had its first answer behind one of them, and the last one.
    pub from: Instant,
    pub until: Instant,
    /// How many there were each time.
    pub runs: Vec<u64>,
}

impl Seen {
    /// When the writer had its first answer.
    pub fn began(&self) -> Option<Instant> {
        Some(self.writes().first()?.at)
    }

    /// The part of the time in which others' txns were made.
    pub fn others(&self) -> Interval {
        let runs = self.writes().windows(2).filter_map(|pair| {
            let between = pair[1].zxid.0 - pair[0].zxid.0 - 1;
            (between > 0).then_some((pair[0].at, pair[1].at, between))
        });
        let runs: Vec<_> = runs.collect();
        let (first, last) = (runs.first().expect("others' txns"), runs.last().expect("others' txns"));
        Interval { from: first.0, until: last.1, runs: runs.iter().map(|(_, _, between)| *between).collect() }
    }

    fn writes(&self) -> &[Answer] {
        let (_, writes) = self.answers.iter().find(|(name, _)| *name == "writes").expect("there is a writer");
        writes
    }

    /// How many answers each had within a time.
    pub fn answered(&self, from: Instant, until: Instant) -> Vec<(&'static str, usize)> {
        let within = |answer: &&Answer| answer.at > from && answer.at <= until;
        self.answers.iter().map(|(name, answers)| (*name, answers.iter().filter(within).count())).collect()
    }

    /// Prints each one's answers and its longest gap within a time, and how long that was before it.
    pub fn tell(&self, who: &str, what: &str, from: Instant, until: Instant) {
        let took_ms = (until - from).as_millis();
        println!("FIGURE {who}: {what} took {took_ms} ms");
        for (name, answers) in &self.answers {
            let count = answers.iter().filter(|answer| answer.at > from && answer.at <= until).count();
            let before = longest_gap(answers.iter().filter(|answer| answer.at <= from));
            let reaches = |pair: &&[Answer]| pair[1].at > from && pair[0].at < until;
            let within = answers.windows(2).filter(reaches).map(|pair| pair[1].at - pair[0].at).max();
            let within = within.unwrap_or_default();
            println!(
                "FIGURE {who}: {what}: {name}: {count} answered, longest gap {:.1} ms ({:.1} ms before it)",
                within.as_secs_f64() * 1e3,
                before.as_secs_f64() * 1e3,
            );
        }
    }
}

fn longest_gap<'a>(answers: impl Iterator<Item = &'a Answer>) -> Duration {
    let mut last = None;
    let mut longest = Duration::ZERO;
    for answer in answers {
        longest = longest.max(last.map_or(Duration::ZERO, |last| answer.at - last));
        last = Some(answer.at);
    }
    longest
}
