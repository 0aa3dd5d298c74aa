//! What the figures have in common: the options, the directories, and the tree that is filled once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::error::{BenchError, Result};
use crate::filled::Filled;
use crate::process::Memory;
use crate::storage::server::{Kind, Running, Site, Stop};

/// Options of every figure.
#[derive(Debug, Args)]
pub(crate) struct GroundArgs {
    /// Znodes in the tree
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    pub(crate) znodes: u64,
    /// Bytes of data of each
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub(crate) data_bytes: usize,
    /// RingKeeper's binary; without it, the one beside rkbench
    #[arg(long, value_name = "BINARY")]
    ringkeeper: Option<PathBuf>,
    /// Where the servers keep their data. A filled tree is used again. Without it: a new directory in /tmp, removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// CPUs that the servers may use, as in 0 or 0-1; without it, all
    #[arg(long, value_name = "LIST")]
    server_cpus: Option<String>,
    /// A line more for RingKeeper's zoo.cfg; as often as wanted
    #[arg(long, value_name = "KEY=VALUE")]
    cfg: Vec<String>,
    /// Write the page here too
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Write every single figure here, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Options of the load.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) connections: usize,
    /// Requests in flight on each
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) depth: usize,
    /// Pin the load to this CPU
    #[arg(long, value_name = "CPU")]
    pub(crate) load_cpu: Option<usize>,
}

/// Options of Java's server.
#[derive(Debug, Args)]
pub(crate) struct JavaArgs {
    /// Only this server
    #[arg(long, value_enum)]
    pub(crate) only: Option<Only>,
    /// Starts the real server
    #[arg(long, value_name = "SCRIPT", default_value = "tests/reference/java-server.sh")]
    java_script: PathBuf,
    /// Heap of the JVM; without it, 1600 bytes a znode, 1 GiB at least
    #[arg(long, value_name = "SIZE")]
    heap: Option<String>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    Ringkeeper,
    Java,
}

/// Where the servers' directories lie. One that was made for this run goes with it.
#[derive(Debug)]
pub(crate) struct Ground {
    dir: PathBuf,
    is_ours: bool,
    pub(crate) filled: Filled,
    ringkeeper: PathBuf,
    server_cpus: Option<String>,
    /// More lines of RingKeeper's zoo.cfg.
    cfg: Vec<String>,
}

/// What filling a tree took of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    /// Before anything was made.
    pub(crate) memory_empty: Memory,
    /// Once all is there: in RingKeeper it is all in memory then.
    pub(crate) memory: Memory,
    /// After the first image (Java: after a start, which writes one).
    pub(crate) memory_imaged: Memory,
}

/// Lines of zoo.cfg without which servers write images when they like, and keep all of them.
const QUIET: [&str; 4] =
    ["snapCount=2000000000", "snapSizeLimitInKb=-1", "autopurge.snapRetainCount=3", "autopurge.purgeInterval=1"];

impl GroundArgs {
    /// Makes the directory.
    ///
    /// # Errors
    /// [`BenchError::Output`]
    pub(crate) fn ground(&self) -> Result<Ground> {
        let is_ours = self.data.is_none();
        let fresh = || PathBuf::from(format!("/tmp/rkbench-storage-{}", std::process::id()));
        let dir =
            std::path::absolute(self.data.clone().unwrap_or_else(fresh)).map_err(BenchError::output(Path::new(".")))?;
        fs::create_dir_all(&dir).map_err(BenchError::output(&dir))?;
        let beside = || std::env::current_exe().unwrap_or_default().with_file_name("ringkeeper");
        Ok(Ground {
            dir,
            is_ours,
            filled: Filled { znodes: self.znodes, data_bytes: self.data_bytes },
            ringkeeper: self.ringkeeper.clone().unwrap_or_else(beside),
            server_cpus: self.server_cpus.clone(),
            cfg: self.cfg.clone(),
        })
    }
}

impl JavaArgs {
    /// The servers that are asked for, RingKeeper first.
    pub(crate) fn sites(&self, ground: &Ground) -> Vec<Site> {
        let mut sites = Vec::new();
        if self.only != Some(Only::Java) {
            sites.push(ground.ringkeeper("ringkeeper"));
        }
        if self.only != Some(Only::Ringkeeper) {
            let heap_mib = ((ground.filled.znodes * 1_600) >> 20).max(1_024);
            let heap = self.heap.clone().unwrap_or_else(|| format!("{heap_mib}m"));
            sites.push(ground.site("java", Kind::Java { script: self.java_script.clone(), heap }));
        }
        sites
    }
}

impl Ground {
    /// RingKeeper on a directory of this name.
    pub(crate) fn ringkeeper(&self, name: &str) -> Site {
        let mut site = self.site(name, Kind::RingKeeper { binary: self.ringkeeper.clone() });
        site.cfg.extend_from_slice(&self.cfg);
        site
    }

    fn site(&self, name: &str, kind: Kind) -> Site {
        let cfg = QUIET.map(str::to_owned).to_vec();
        Site { kind, dir: self.dir.join(name), cfg, cpus: self.server_cpus.clone(), myid: None }
    }

    /// Fills the tree of a site unless it is, and has an image written of it. Afterwards it does not run. `None`: it was filled.
    ///
    /// # Errors
    /// [`BenchError::Foreign`] where something else is there.
    pub(crate) fn fill(&self, site: &Site) -> Result<Option<Filling>> {
        let mark = site.dir.with_extension("filled");
        let text = serde_json::json!(self.filled).to_string();
        match fs::read_to_string(&mark) {
            Ok(found) if found == text => return Ok(None),
            Ok(_) => return Err(BenchError::Foreign(site.dir.clone())),
            Err(_) if site.dir.exists() => return Err(BenchError::Foreign(site.dir.clone())),
            Err(_) => {}
        }
        let running = site.start(None)?;
        let memory_empty = self.memory(&running)?;
        self.make(&running)?;
        let memory = self.memory(&running)?;
        let memory_imaged = if matches!(site.kind, Kind::RingKeeper { .. }) {
            running.image()?;
            let imaged = self.memory(&running)?;
            running.stop(Stop::Clean)?;
            imaged
        } else {
            running.stop(Stop::Clean)?;
            let again = site.start(Some(self.filled))?;
            let imaged = self.memory(&again)?;
            again.stop(Stop::Clean)?;
            imaged
        };
        fs::write(&mark, text).map_err(BenchError::output(&mark))?;
        Ok(Some(Filling { memory_empty, memory, memory_imaged }))
    }

    /// Fills the tree of a server that runs.
    ///
    /// # Errors
    /// As [`Filled::make`].
    pub(crate) fn make(&self, running: &Running<'_>) -> Result<()> {
        let (name, Filled { znodes, data_bytes }) = (running.site.name(), self.filled);
        eprintln!("{name}: making {znodes} znodes of {data_bytes} bytes");
        let begun = Instant::now();
        self.filled.make(running.server)?;
        eprintln!("{name}: made in {:.1} s", begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Its memory once it is calm: a small tree is it sooner.
    ///
    /// # Errors
    /// As [`Running::settled_memory`].
    pub(crate) fn memory(&self, running: &Running<'_>) -> Result<Memory> {
        running.settled_memory(if self.filled.znodes < SMALL_ZNODES { CALM_SMALL } else { CALM })
    }
}

const SMALL_ZNODES: u64 = 100_000;
const CALM_SMALL: Duration = Duration::from_millis(200);
const CALM: Duration = Duration::from_millis(1_500);

impl Drop for Ground {
    fn drop(&mut self) {
        if self.is_ours {
            // What is left in /tmp tells why.
            let _best_effort = fs::remove_dir_all(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_something_else_is_not_filled() {
        let dir = std::env::temp_dir().join(format!("rkbench-ground-{}", std::process::id()));
        let filled = Filled { znodes: 1_000, data_bytes: 10 };
        let ground = Ground {
            dir,
            is_ours: true,
            filled,
            ringkeeper: PathBuf::from("/bin/false"),
            server_cpus: None,
            cfg: Vec::new(),
        };
        let site = ground.ringkeeper("site");
        fs::create_dir_all(&site.dir).unwrap();
        assert!(matches!(ground.fill(&site), Err(BenchError::Foreign(_))));
        let mark = site.dir.with_extension("filled");
        fs::write(&mark, serde_json::json!(filled).to_string()).unwrap();
        assert!(matches!(ground.fill(&site), Ok(None)));
        fs::write(&mark, serde_json::json!(Filled { znodes: 2_000, ..filled }).to_string()).unwrap();
        assert!(matches!(ground.fill(&site), Err(BenchError::Foreign(_))));
    }
}
