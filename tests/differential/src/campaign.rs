//! Runs sequence after sequence against two servers, and reports.
//!
//! The two run side by side, each with the whole sequence at once. After a divergence both servers are started anew, since their trees are
//! no longer the same.

use crate::compare::{Difference, compare};
use crate::coverage::Coverage;
use crate::drive::{self, Transcript};
use crate::generate;
use crate::minimise::minimise;
use crate::older::{self, Seen, Tolerance};
use crate::random::Random;
use crate::sequence::Sequence;
use crate::servers::{Kind, Server};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The two servers, and the number of the next root.
#[derive(Debug)]
pub struct Pair {
    kinds: [Kind; 2],
    servers: [Server; 2],
    /// Where the second one is really reached: a proxy in front of it.
    candidate: Option<SocketAddr>,
    roots: u32,
    /// What the reference has answered.
    pub coverage: Coverage,
    /// What 3.8.0 has done otherwise than 3.9.5, and was left out.
    pub older: Seen,
}

impl Pair {
    /// Starts both: the reference, then the candidate.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn start(reference: Kind, candidate: Kind) -> io::Result<Pair> {
        let servers = [Server::start(&reference)?, Server::start(&candidate)?];
        let (coverage, older) = (Coverage::default(), Seen::default());
        Ok(Pair { kinds: [reference, candidate], servers, candidate: None, roots: 0, coverage, older })
    }

    /// Reaches the candidate through this address from now on.
    pub fn through(&mut self, proxy: SocketAddr) {
        self.candidate = Some(proxy);
    }

    /// Where the candidate itself listens.
    #[must_use]
    pub fn candidate(&self) -> SocketAddr {
        self.servers[1].address()
    }

    /// Sends a sequence to both and compares.
    ///
    /// # Errors
    /// One of them cannot be reached.
    pub fn run(&mut self, sequence: &Sequence) -> io::Result<Option<Difference>> {
        match self.transcripts(sequence) {
            Ok([reference, candidate]) => {
                self.coverage.add(sequence, &reference);
                Ok(self.difference(sequence, &reference, &candidate))
            }
            Err(error) => match self.who_has_ended() {
                None => Err(error),
                Some(which) => {
                    self.restart()?;
                    let field = format!("the {which} has ended by itself");
                    let nothing = || "nothing".to_owned();
                    Ok(Some(Difference { step: 0, conn: 0, field, reference: nothing(), candidate: nothing() }))
                }
            },
        }
    }

    /// The first difference between two transcripts that has no name.
    pub fn difference(
        &mut self,
        sequence: &Sequence,
        reference: &Transcript,
        candidate: &Transcript,
    ) -> Option<Difference> {
        let tolerance = match self.kinds[0].is_older() {
            true => Tolerance::of_older(sequence, &mut self.older),
            false => Tolerance::none(),
        };
        compare(sequence, reference, candidate, tolerance)
    }

    /// What of a sequence is sent: for 3.8.0 without what it is known to do otherwise.
    fn sent(&mut self, sequence: Sequence) -> Sequence {
        if self.kinds[0].is_older() { older::without_not_sent(&sequence, &mut self.older) } else { sequence }
    }

    fn who_has_ended(&mut self) -> Option<String> {
        let names = ["reference", "candidate"].into_iter().zip(&mut self.servers);
        names.filter_map(|(name, server)| server.ended().then(|| format!("{name}\n{}", server.log()))).next()
    }

    /// What both answer to a sequence.
    ///
    /// # Errors
    /// One of them cannot be reached.
    pub fn transcripts(&mut self, sequence: &Sequence) -> io::Result<[Transcript; 2]> {
        self.roots += 1;
        let root = format!("/r{:08}", self.roots);
        let [reference, candidate] = [self.servers[0].address(), self.candidate.unwrap_or(self.servers[1].address())];
        let (reference, candidate) = std::thread::scope(|scope| {
            let other = scope.spawn(|| drive::run(candidate, &root, sequence));
            let reference = drive::run(reference, &root, sequence);
            (reference, other.join().expect("the driver does not panic"))
        });
        Ok([reference?, candidate?])
    }

    /// Ends both and starts them anew, empty.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn restart(&mut self) -> io::Result<()> {
        for (server, kind) in self.servers.iter_mut().zip(&self.kinds) {
            *server = Server::start(kind)?;
        }
        Ok(())
    }

    /// Cuts a sequence that diverges down. Both servers are started anew afterwards.
    ///
    /// # Errors
    /// One of them cannot be reached or started.
    pub fn minimise(&mut self, sequence: &Sequence, difference: &Difference) -> io::Result<(Sequence, Difference)> {
        let (mut last, mut failure) = (difference.clone(), None);
        let least = minimise(sequence, |attempt| match self.run(attempt) {
            Ok(Some(found)) if found.field == difference.field => {
                last = found;
                true
            }
            Ok(_) => false,
            Err(error) => {
                failure.get_or_insert(error);
                false
            }
        });
        self.restart()?;
        failure.map_or(Ok((least, last)), Err)
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Operations for each seed.
    pub operations: usize,
    /// Divergences after which it ends.
    pub divergences_max: usize,
    /// Where diverging sequences are written.
    pub out: PathBuf,
    /// What else comes up in a sequence.
    pub options: generate::Options,
    /// No words while it runs.
    pub quiet: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were begun.
    pub seeds: u64,
    /// Those with a divergence.
    pub seeds_failed: u64,
    /// Operations that both have answered.
    pub operations: usize,
    /// Sequences.
    pub sequences: usize,
    /// Divergences.
    pub divergences: Vec<Difference>,
    /// How long it took.
    pub took: Duration,
}

/// Runs a plan.
///
/// # Errors
/// A server cannot be started or reached; a file cannot be written.
pub fn run(pair: &mut Pair, plan: &Plan) -> io::Result<Summary> {
    let begun = Instant::now();
    let mut summary = Summary::default();
    for seed in plan.seed..plan.seed + plan.seeds {
        if summary.divergences.len() >= plan.divergences_max {
            break;
        }
        summary.seeds += 1;
        let mut random = Random::new(seed);
        let until = summary.operations + plan.operations;
        let divergences_before = summary.divergences.len();
        while summary.operations < until && summary.divergences.len() < plan.divergences_max {
            let sequence = pair.sent(generate::sequence(random.next(), plan.options));
            let difference = pair.run(&sequence)?;
            summary.operations += sequence.operations();
            summary.sequences += 1;
            if let Some(difference) = difference {
                let difference = report(pair, plan, seed, &sequence, &difference)?;
                summary.divergences.push(difference);
            }
            if !plan.quiet && summary.sequences.is_multiple_of(20) {
                eprint!("\rseed {seed}: {} operations, {:.0?} ", summary.operations, begun.elapsed());
            }
        }
        summary.seeds_failed += u64::from(summary.divergences.len() > divergences_before);
    }
    if !plan.quiet {
        eprintln!();
    }
    summary.took = begun.elapsed();
    Ok(summary)
}

fn report(
    pair: &mut Pair,
    plan: &Plan,
    seed: u64,
    sequence: &Sequence,
    difference: &Difference,
) -> io::Result<Difference> {
    println!("\ndivergence with seed {seed}: {difference}");
    if let Some(step) = sequence.steps.get(difference.step) {
        println!("  of {step}");
    }
    println!("minimising {} operations …", sequence.operations());
    pair.restart()?;
    let (least, least_difference) = match pair.run(sequence)? {
        Some(again) => pair.minimise(sequence, &again)?,
        None => {
            println!("it does not come up again on fresh servers");
            (sequence.clone(), difference.clone())
        }
    };
    let file = write(&plan.out, seed, &least, &least_difference)?;
    print_sequence(&least);
    println!("{least_difference}\nrkdiff replay {}\n", file.display());
    Ok(least_difference)
}

fn write(dir: &Path, seed: u64, sequence: &Sequence, difference: &Difference) -> io::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let text: String = difference.to_string().lines().map(|line| format!("# {line}\n")).collect();
    let free = (0..).map(|number| dir.join(format!("seed-{seed}-{number}.jsonl"))).find(|file| !file.exists());
    let file = free.expect("numbers do not end");
    std::fs::write(&file, text + &sequence.to_text())?;
    Ok(file)
}

/// Prints a sequence for people.
pub fn print_sequence(sequence: &Sequence) {
    for (number, step) in sequence.steps.iter().enumerate() {
        println!("  {number}: {step}");
    }
}
