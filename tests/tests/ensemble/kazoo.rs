//! kazoo's clients among the others: `tests/clients/python/record.py`, a process of its own whose lines are merged by the machine's monotonic clock.

use ringkeeper_sim::history::History;
use ringkeeper_tests::cluster::{Cluster, Implementation};
use ringkeeper_tests::top;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

/// kazoo clients of one trial.
const CLIENTS: u32 = 4;
/// How long they may take, after the last fault, until they have their answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// The process. It ends when it is dropped.
#[derive(Debug)]
pub struct Kazoo {
    child: Child,
    words: ChildStdin,
    answers: Receiver<String>,
    dir: TempDir,
}

impl Kazoo {
    /// Starts it.
    pub fn begin(cluster: &Cluster, seed: u64) -> Kazoo {
        let dir = tempfile::Builder::new().prefix("rk-kazoo-").tempdir().expect("a temporary directory");
        let addresses =
            |ids: &[u8]| ids.iter().map(|id| cluster.address(*id).to_string()).collect::<Vec<_>>().join(",");
        let (all, mut forgetful) = (cluster.ids(), cluster.ids());
        forgetful.retain(|id| cluster.implementation_of(*id) == Implementation::Java38);
        let mut child = Command::new(top().join("tests/clients/python/run.sh"))
            .args(["--record", "--servers", &addresses(&all), "--forgetful", &addresses(&forgetful)])
            .args(["--clients", &CLIENTS.to_string()])
            .args(["--seed", &seed.to_string(), "--out"])
            .arg(dir.path().join("history"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kazoo's clients can be started");
        let words = child.stdin.take().expect("piped");
        let answers = lines_of(child.stdout.take().expect("piped"));
        Kazoo { child, words, answers, dir }
    }

    /// Lets nobody ask for more, and waits until all have their answers and a session that lives.
    pub fn settle(&mut self) {
        self.say("settle", "settled");
    }

    /// Ends them, and gives what they have written down.
    pub fn end(mut self) -> History {
        self.say("end", "ended");
        let text = std::fs::read_to_string(self.dir.path().join("history")).expect("the history is written");
        History::parse(&text).expect("each line is one")
    }

    fn say(&mut self, word: &str, expected: &str) {
        writeln!(self.words, "{word}").expect("kazoo's clients listen");
        let answer = self.answers.recv_timeout(PATIENCE);
        assert_eq!(answer.as_deref(), Ok(expected), "kazoo's clients, to {word}");
    }
}

impl Drop for Kazoo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A thread reads them, so that they can be waited for in a bounded time. It ends with the process.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody may wait for it any more.
            let _unheard = sender.send(line);
        }
    });
    receiver
}
