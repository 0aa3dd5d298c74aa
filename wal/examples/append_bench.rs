//! Prints what a durable group costs: O_DIRECT with RWF_DSYNC against the page cache with fdatasync, and pre-zeroed
//! blocks against unwritten extents (`fallocate` alone). Figures, not assertions.
//!
//! ```text
//! cargo run --release -p ringkeeper-wal --example append_bench -- [DIRECTORY] [GROUPS]
//! ```

use std::{error::Error, fs, path::Path, time::Instant};

use ringkeeper_wal::{AlignedBuf, Disk, Log, Options, RefuseDirect, UringDisk, UringOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "target/append_bench".to_owned());
    let groups: usize = arguments.next().map_or(Ok(3000), |n| n.parse())?;
    for round in 1..=3 {
        println!("round {round}: one group durable, µs: p50 p99 mean | CPU µs per group");
        for (name, refuse_direct) in [("O_DIRECT + RWF_DSYNC", None), ("write + fdatasync", Some(RefuseDirect::AtOpen))]
        {
            for record_bytes in [3000, 30_000, 300_000] {
                let figures = append(Path::new(&directory), refuse_direct, groups, record_bytes)?;
                println!("  log, {name:21} {record_bytes:7} B records: {figures}");
            }
        }
        for (name, zeroed) in [("pre-zeroed", true), ("fallocate alone", false)] {
            let figures = raw(Path::new(&directory), zeroed, groups.min(15_000))?;
            println!("  disk, {name:16} one 4 KiB block: {figures}");
        }
    }
    Ok(())
}

/// Groups of one record through the log.
fn append(dir: &Path, refuse: Option<RefuseDirect>, groups: usize, bytes: usize) -> Result<Figures, Box<dyn Error>> {
    let _ = fs::remove_dir_all(dir);
    let disk = UringDisk::open(dir, UringOptions { refuse_direct: refuse })?;
    let begin = Instant::now();
    let (mut log, _) = Log::open(disk, Options::new())?;
    let opened_ms = begin.elapsed().as_millis();
    let record = vec![7; bytes];
    let mut figures = Figures::begin();
    for zxid in 1..=groups as u64 {
        log.append(zxid, &record)?;
        let begin = Instant::now();
        log.commit()?;
        figures.add(begin);
        // As the log thread does: the next segment is made ready beside the groups.
        log.purge_below(zxid)?;
    }
    let mut figures = figures.end();
    figures.note = format!("(first open {opened_ms} ms)");
    drop(log);
    fs::remove_dir_all(dir)?;
    Ok(figures)
}

/// Single blocks straight to the disk, into zeroed blocks or unwritten extents.
fn raw(dir: &Path, zeroed: bool, groups: usize) -> Result<Figures, Box<dyn Error>> {
    let _ = fs::remove_dir_all(dir);
    let mut disk = UringDisk::open(dir, UringOptions::default())?;
    let mut file = disk.create("raw")?;
    let bytes = 64 << 20;
    if zeroed {
        disk.write_zeroes(&mut file, 0, bytes)?;
    } else {
        let file = fs::OpenOptions::new().write(true).open(dir.join("raw"))?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    }
    disk.sync_file(&mut file)?;
    let mut block = AlignedBuf::zeroed(4096);
    block.fill(7);
    let mut figures = Figures::begin();
    for group in 0..groups as u64 {
        let begin = Instant::now();
        disk.write_durable(&mut file, group * 4096, &mut block, 4096)?;
        figures.add(begin);
    }
    fs::remove_dir_all(dir)?;
    Ok(figures.end())
}

/// Latencies and CPU time of one run.
struct Figures {
    nanos: Vec<u128>,
    cpu_micros: f64,
    note: String,
}

impl Figures {
    fn begin() -> Figures {
        Figures { nanos: Vec::new(), cpu_micros: -cpu_micros(), note: String::new() }
    }

    fn add(&mut self, begin: Instant) {
        self.nanos.push(begin.elapsed().as_nanos());
    }

    fn end(mut self) -> Figures {
        self.cpu_micros += cpu_micros();
        self.nanos.sort_unstable();
        self
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.nanos.len().max(1);
        let micros = |at: usize| self.nanos.get(at.min(count - 1)).map_or(0.0, |n| *n as f64 / 1e3);
        let mean = self.nanos.iter().sum::<u128>() as f64 / count as f64 / 1e3;
        let cpu = self.cpu_micros / count as f64;
        write!(f, "{:8.1} {:8.1} {mean:8.1} | {cpu:6.1} {}", micros(count / 2), micros(count * 99 / 100), self.note)
    }
}

/// CPU time of this process so far, in µs.
fn cpu_micros() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
