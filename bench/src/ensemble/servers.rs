//! An ensemble that is started, loaded, and loses servers: each has an address of its own on the loopback, so that its ports stay its own while it does not run.
//!
//! Owns the processes, through [`Running`], and their directories. An ensemble that does not come to serve is an error with the end of a log.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use client::four_letter_word;

use crate::error::{BenchError, Result};
use crate::matrix::Target;
use crate::storage::server::{Kind, Running, Site, Stop};

/// Ports below those that the system gives out.
const CLIENT_PORT: u16 = 21810;
const QUORUM_PORT: u16 = 28880;
const ELECTION_PORT: u16 = 28881;

/// How long an ensemble may take until it serves.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a server may take to answer a four-letter word.
const WORD_PATIENCE: Duration = Duration::from_secs(1);
/// Between looks at what a server is.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Where the ensembles keep their data. What was made for this run goes with it.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    is_ours: bool,
}

/// Servers that run, or were killed.
#[derive(Debug)]
pub(crate) struct Ensemble<'s> {
    members: Vec<Member<'s>>,
}

#[derive(Debug)]
struct Member<'s> {
    site: &'s Site,
    address: SocketAddr,
    running: Option<Running<'s>>,
}

impl Place {
    /// The directory, made; a fresh one in /tmp if none is named.
    ///
    /// # Errors
    /// [`BenchError::Output`]
    pub(crate) fn new(dir: Option<&Path>) -> Result<Place> {
        let fresh = || PathBuf::from(format!("/tmp/rkbench-ensemble-{}", std::process::id()));
        let path = dir.map_or_else(fresh, Path::to_owned);
        let path = std::path::absolute(&path).map_err(BenchError::output(&path))?;
        fs::create_dir_all(&path).map_err(BenchError::output(&path))?;
        Ok(Place { dir: path, is_ours: dir.is_none() })
    }

    /// The servers of the nth ensemble. Their directories are emptied.
    pub(crate) fn sites(&self, kind: &Kind, nth: u8, count: u8, cfg: &[String]) -> Vec<Site> {
        let mut lines: Vec<String> =
            ["initLimit=10", "syncLimit=5", "4lw.commands.whitelist=*"].map(str::to_owned).into();
        lines.extend((1..=count).map(|id| format!("server.{id}={}:{QUORUM_PORT}:{ELECTION_PORT}", host(nth, id))));
        lines.extend(cfg.iter().cloned());
        let site = |id| {
            let dir = self.dir.join(format!("ensemble-{nth}-server-{id}"));
            // What an earlier run has left in a named directory; where nothing is, nothing goes.
            let _absent = fs::remove_dir_all(&dir);
            Site { kind: kind.clone(), dir, cfg: lines.clone(), cpus: None, myid: Some(id) }
        };
        (1..=count).map(site).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_ours {
            // It lies in /tmp: what cannot be removed now is the system's.
            let _left = fs::remove_dir_all(&self.dir);
        }
    }
}

impl<'s> Ensemble<'s> {
    /// Starts all servers, and waits until all serve.
    ///
    /// # Errors
    /// [`BenchError::Server`] with the end of a log.
    pub(crate) fn start(sites: &'s [Site]) -> Result<Ensemble<'s>> {
        let member = |site: &'s Site| {
            let own = site.cfg.iter().find_map(|line| {
                let value = line.strip_prefix(&format!("server.{}=", site.myid?))?;
                value.split(':').next()?.parse().ok()
            });
            let host: IpAddr = own.expect("a server's own line is in its configuration");
            Member { site, address: SocketAddr::new(host, CLIENT_PORT), running: None }
        };
        let mut ensemble = Ensemble { members: sites.iter().map(member).collect() };
        ensemble.revive()?;
        Ok(ensemble)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.members.first().map_or("nobody", |member| member.site.name())
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// For the load.
    pub(crate) fn target(&self) -> Target {
        let running = self.members.iter().filter_map(|member| member.running.as_ref());
        Target { name: self.name().to_owned(), servers: self.addresses(), pids: running.map(Running::pid).collect() }
    }

    /// Kills the leader; when that began, measured by the system's monotonic clock.
    ///
    /// # Errors
    /// [`BenchError::Server`] if nobody leads.
    pub(crate) fn kill_leader(&mut self) -> Result<Instant> {
        let begun = Instant::now();
        let leader = loop {
            let found = self.members.iter_mut().find(|member| member.mode().as_deref() == Some("leader"));
            if let Some(running) = found.and_then(|member| member.running.take()) {
                break running;
            }
            self.give_up_after(begun, "has no leader")?;
        };
        let killed = Instant::now();
        leader.stop(Stop::Kill)?;
        Ok(killed)
    }

    /// Starts those that do not run, and waits until all serve.
    ///
    /// # Errors
    /// [`BenchError::Server`] with the end of a log.
    pub(crate) fn revive(&mut self) -> Result<()> {
        for member in &mut self.members {
            if member.running.is_none() {
                member.running = Some(member.site.launch(member.address)?);
            }
        }
        let begun = Instant::now();
        while self.members.iter().any(|member| member.mode().is_none()) {
            self.give_up_after(begun, "does not serve")?;
        }
        Ok(())
    }

    /// Waits a moment, or fails in the name of a server that does not serve.
    pub(crate) fn give_up_after(&self, begun: Instant, what: &str) -> Result<()> {
        let silent = || self.members.iter().find(|member| member.mode().is_none()).or(self.members.first());
        if begun.elapsed() > PATIENCE
            && let Some(running) = silent().and_then(|member| member.running.as_ref())
        {
            return Err(running.fault(what));
        }
        thread::sleep(BETWEEN_LOOKS);
        Ok(())
    }
}

impl Member<'_> {
    /// What it says that it is; `None`: it does not serve.
    fn mode(&self) -> Option<String> {
        let answer = four_letter_word(self.address, "srvr", WORD_PATIENCE).ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ").map(|mode| mode.trim().to_owned()))
    }
}

/// The address of a server: a range for each process, away from those of the tests (`tests/src/lease.rs`).
fn host(nth: u8, id: u8) -> IpAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 + high % 127, low, nth * 10 + id).into()
}
