//! Checks that the unmodified `zookeeper-client` crate works against a ZooKeeper server. See `run.sh --help`.
//!
//! Owns what one run leaves on the server: everything lies under one root path that no other run has, and is deleted at the
//! end. A check waits for a reply or an event, each with [`WAIT`] as its limit, and never sleeps. How it fails: a check's `Err`
//! is its `FAIL` line; the watchdog's is the running check's. Either way exit code 1. That it bites shows
//! `tests/clients/bite.py`.
#![forbid(unsafe_code)]

mod checks;

use std::future::Future;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error};

/// The longest that a check waits for one thing. Only reached on failure.
const WAIT: Duration = Duration::from_secs(20);
/// What sessions ask for unless a check says otherwise.
const SESSION_TIMEOUT: Duration = Duration::from_secs(15);

/// How a znode is made where nothing else is asked for.
const PLAIN: &CreateOptions<'static> = &CreateMode::Persistent.with_acls(Acls::anyone_all());

const USAGE: &str = "Check that the unmodified zookeeper-client crate works against a ZooKeeper server.

usage: run.sh [options] host:port[,host:port]
  --super USER:PASSWORD  accepted: the other suites check the super user
  --no-extended-types    the server runs without extendedTypesEnabled: TTL nodes are expected to be refused
  --reference-3.8        the server is ZooKeeper 3.8 itself: leave out what only 3.9 does
  --timeout SECONDS      the watchdog (default 120)
  --only TEXT            only checks whose name contains TEXT
  --help                 this text";

/// The command line.
struct Options {
    hosts: String,
    extended_types: bool,
    reference_3_8: bool,
    timeout: Duration,
    only: String,
}

impl Options {
    /// `Err` is the exit code of a command line that asks for nothing to be run.
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, ExitCode> {
        let mut options = Options {
            hosts: String::new(),
            extended_types: true,
            reference_3_8: false,
            timeout: Duration::from_secs(120),
            only: String::new(),
        };
        let wrong = || {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => {
                    println!("{USAGE}");
                    return Err(ExitCode::SUCCESS);
                }
                "--super" => drop(words.next().ok_or_else(wrong)?),
                "--only" => options.only = words.next().ok_or_else(wrong)?,
                "--timeout" => {
                    let seconds = words.next().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
                    options.timeout = Duration::from_secs(seconds);
                }
                "--no-extended-types" => options.extended_types = false,
                "--reference-3.8" => options.reference_3_8 = true,
                hosts if !hosts.starts_with('-') && options.hosts.is_empty() => options.hosts = word,
                _ => return Err(wrong()),
            }
        }
        if options.hosts.is_empty() { Err(wrong()) } else { Ok(options) }
    }
}

/// One check's surroundings: the server, and a path of its own that exists.
struct Context<'a> {
    options: &'a Options,
    root: String,
}

impl Context<'_> {
    /// `name` below the check's own path.
    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// A connected client.
    async fn client(&self) -> Result<Client, Failure> {
        self.client_with(|connector| connector).await
    }

    /// A connected client with further settings.
    async fn client_with(
        &self,
        settings: impl FnOnce(zookeeper_client::Connector) -> zookeeper_client::Connector,
    ) -> Result<Client, Failure> {
        let connector = settings(Client::connector().with_session_timeout(SESSION_TIMEOUT));
        within("the connection", connector.connect(&self.options.hosts)).await?.map_err(Failure::from)
    }
}

/// Why a check failed.
struct Failure(String);

impl<E: std::fmt::Display> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Failure {
        Failure(format!("{error} (line {})", std::panic::Location::caller().line()))
    }
}

/// What a check says.
type Outcome = Result<(), Failure>;

/// The future's output, or a failure that says what did not come.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(WAIT, future).await.map_err(|_| Failure(format!("waited {WAIT:?} for {what}")))
}

/// Fails unless the two are equal.
#[track_caller]
fn expect<T: PartialEq + std::fmt::Debug>(actual: T, wanted: T, what: &str) -> Outcome {
    if actual == wanted {
        return Ok(());
    }
    let line = std::panic::Location::caller().line();
    Err(Failure(format!("{what}: expected {wanted:?}, got {actual:?} (line {line})")))
}

/// Deletes a path and what lies below it. What may not be seen stays.
async fn remove_tree(client: &Client, path: &str) -> Result<(), Error> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while let Some(parent) = found.get(next).cloned() {
        let names = client.list_children(&parent).await?;
        found.extend(names.iter().map(|name| format!("{parent}/{name}")));
        next += 1;
    }
    for path in found.iter().rev() {
        client.delete(path, None).await?;
    }
    Ok(())
}

/// The counts, printed as they grow.
#[derive(Default)]
struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    fn record(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok {name}");
            }
            Err(Failure(why)) => {
                self.failed += 1;
                println!("FAIL {name}: {}", why.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
}

async fn run(options: &Options) -> Result<Report, Failure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let root = format!("/rust-suite-{}-{:x}", std::process::id(), now.as_nanos());
    let context = Context { options, root: root.clone() };
    let keeper = context.client().await?;
    keeper.create(&root, &[], PLAIN).await?;
    let mut report = Report::default();
    let deadline = tokio::time::Instant::now() + options.timeout;
    let left_out = if options.reference_3_8 { checks::ONLY_SINCE_3_9 } else { &[] };
    let chosen = |name: &str| name.contains(&options.only) && !left_out.contains(&name);
    for (name, check) in checks::ALL.iter().filter(|(name, _)| chosen(name)) {
        let context = Context { options, root: format!("{root}/{name}") };
        keeper.create(&context.root, &[], PLAIN).await?;
        let late = || Err(Failure(format!("the watchdog ended the run after {:?}", options.timeout)));
        let outcome = tokio::time::timeout_at(deadline, check(context)).await;
        let ended = outcome.is_err();
        report.record(name, outcome.unwrap_or_else(|_| late()));
        if ended {
            return Ok(report);
        }
    }
    if let Err(error) = remove_tree(&keeper, &root).await {
        // What a failed check left behind is not a finding of its own.
        eprintln!("# cleanup: {error}");
    }
    Ok(report)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let report = run(&options).await.unwrap_or_else(|failure| {
        let mut report = Report::default();
        report.record("start", Err(failure));
        report
    });
    println!("{} passed, {} failed", report.passed, report.failed);
    ExitCode::from(u8::from(report.failed > 0 || report.passed == 0))
}
