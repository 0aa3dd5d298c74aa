//! Measures the shards' I/O seam: an echo server on one shard, its load from one other thread, both pinned.
//!
//! `cargo run --release -p ringkeeper --example rt_echo -- --backend both --cpu 0 --load-cpu 1` prints, per row of connections × depth and per
//! backend, the median of the runs (interleaved) with their range: server CPU µs per echo (the process's CPU time less the load thread's, so that
//! every helper thread counts), echoes per second, and the round trip of a doorbell. With `--serve ADDRESS` it only serves.
#![allow(clippy::print_stdout, reason = "it is a program that prints figures")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringkeeper_server::rt::{
    Accept, Backend, CloseReason, ConnId, Handler, Io, Parker, ShardConfig, ThreadBell, spawn_pinned, spawn_shard,
};
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rt_echo: {error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: rt_echo [--backend glommio|ring|both] [--cpu N] [--load-cpu N] [--runs N] [--seconds S] [--bytes N] [--serve ADDRESS]";

struct Options {
    backends: Vec<Backend>,
    cpu: Option<usize>,
    load_cpu: Option<usize>,
    runs: usize,
    seconds: f64,
    message_bytes: usize,
    serve: Option<SocketAddr>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self {
            backends: vec![Backend::Glommio, Backend::Ring],
            cpu: Some(0),
            load_cpu: Some(1),
            runs: 5,
            seconds: 1.0,
            message_bytes: 100,
            serve: None,
        };
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--backend" => {
                    options.backends = match value.as_str() {
                        "glommio" => vec![Backend::Glommio],
                        "ring" => vec![Backend::Ring],
                        "both" => vec![Backend::Glommio, Backend::Ring],
                        other => return Err(format!("no backend {other}").into()),
                    }
                }
                "--cpu" => options.cpu = Some(value.parse()?),
                "--load-cpu" => options.load_cpu = Some(value.parse()?),
                "--runs" => options.runs = value.parse::<usize>()?.max(1),
                "--seconds" => options.seconds = value.parse()?,
                "--bytes" => options.message_bytes = value.parse::<usize>()?.clamp(1, 4096),
                "--serve" => options.serve = Some(value.parse()?),
                other => return Err(format!("no option {other}").into()),
            }
        }
        Ok(options)
    }
}

fn run(options: &Options) -> Outcome<()> {
    if let Some(addr) = options.serve {
        let backend = *options.backends.last().ok_or("no backend")?;
        let config = ShardConfig { listen: vec![addr], cpu: options.cpu, ..ShardConfig::new("echo") };
        let handle = spawn_shard(config, backend, |_| Echo::default())?;
        println!("{backend:?} echoes on {:?}", handle.addrs());
        return Ok(handle.join()?);
    }
    println!("{:>10} {:>8} {:>28} {:>28}", "row", "backend", "server CPU µs/op (range)", "kop/s (range)");
    for (connections, depth) in ROWS {
        let mut results: Vec<(Backend, Vec<Figures>)> = options.backends.iter().map(|&b| (b, Vec::new())).collect();
        for _ in 0..options.runs {
            for (backend, figures) in &mut results {
                figures.push(measure_echo(options, *backend, connections, depth)?);
            }
        }
        for (backend, figures) in &results {
            let cpu = spread(figures.iter().map(|f| f.cpu_us_per_op));
            let rate = spread(figures.iter().map(|f| f.ops_per_second / 1000.0));
            println!("{:>10} {:>8} {cpu:>28} {rate:>28}", format!("{connections}x{depth}"), format!("{backend:?}"));
        }
    }
    for _ in 0..2 {
        for &backend in &options.backends {
            let mut rounds: Vec<f64> = Vec::new();
            for _ in 0..options.runs {
                rounds.push(measure_bell(options, backend)?);
            }
            println!("{:>10} {:>8} {:>28}", "bell µs", format!("{backend:?}"), spread(rounds.into_iter()));
        }
    }
    Ok(())
}

const ROWS: [(usize, usize); 5] = [(16, 1), (64, 1), (64, 16), (256, 1), (256, 16)];

struct Figures {
    cpu_us_per_op: f64,
    ops_per_second: f64,
}

/// Median (least .. most).
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.first(), sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(least), Some(median), Some(most)) => format!("{median:.2} ({least:.2} .. {most:.2})"),
        _ => String::new(),
    }
}

/// Sends everything back at the end of the turn.
#[derive(Default)]
struct Echo {
    replies: Vec<(ConnId, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

impl Handler for Echo {
    fn on_accept(&mut self, _: ConnId, _: SocketAddr) -> Accept {
        Accept::Yes
    }

    fn on_recv(&mut self, conn: ConnId, bytes: &[u8]) {
        match self.replies.last_mut() {
            Some((last, reply)) if *last == conn => reply.extend_from_slice(bytes),
            _ => {
                let mut reply = self.spare.pop().unwrap_or_default();
                reply.extend_from_slice(bytes);
                self.replies.push((conn, reply));
            }
        }
    }

    fn on_close(&mut self, _: ConnId, _: CloseReason) {}

    fn on_turn(&mut self, io: &mut Io<'_>) {
        for (conn, mut reply) in self.replies.drain(..) {
            io.send(conn, &mut reply);
            self.spare.push(reply);
        }
    }
}

fn cpu_time(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

fn measure_echo(options: &Options, backend: Backend, connections: usize, depth: usize) -> Outcome<Figures> {
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let config = ShardConfig { listen, cpu: options.cpu, ..ShardConfig::new("echo") };
    let handle = spawn_shard(config, backend, |_| Echo::default())?;
    let addr = *handle.addrs().first().ok_or("no address")?;
    let window_bytes = depth * options.message_bytes;
    let (message_bytes, seconds) = (options.message_bytes, options.seconds);
    let load = spawn_pinned("load", options.load_cpu, move || -> Outcome<Figures> {
        let mut load = Load::connect(addr, connections, message_bytes)?;
        load.start(window_bytes)?;
        load.run_for(Duration::from_secs_f64(seconds / 4.0))?;
        let before = (cpu_time(ClockId::ProcessCPUTime), cpu_time(ClockId::ThreadCPUTime), Instant::now());
        let ops = load.run_for(Duration::from_secs_f64(seconds))?;
        let process = cpu_time(ClockId::ProcessCPUTime) - before.0;
        let own = cpu_time(ClockId::ThreadCPUTime) - before.1;
        let server = process.saturating_sub(own);
        Ok(Figures {
            cpu_us_per_op: server.as_secs_f64() * 1e6 / ops,
            ops_per_second: ops / before.2.elapsed().as_secs_f64(),
        })
    })?;
    let figures = load.join().map_err(|_| "the load thread panicked")?;
    handle.ask_stop();
    handle.join()?;
    figures
}

/// Connections that each keep a window of messages under way.
struct Load {
    streams: Vec<TcpStream>,
    epoll: rustix::fd::OwnedFd,
    message_bytes: usize,
    /// Bytes of an unfinished message, per connection.
    carried: Vec<usize>,
    scratch: Vec<u8>,
}

impl Load {
    fn connect(addr: SocketAddr, connections: usize, message_bytes: usize) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Vec::with_capacity(connections);
        for place in 0..connections {
            let stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(u64::try_from(place)?), epoll::EventFlags::IN)?;
            streams.push(stream);
        }
        Ok(Self { streams, epoll, message_bytes, carried: vec![0; connections], scratch: vec![7; 256 * 1024] })
    }

    fn start(&mut self, window_bytes: usize) -> Outcome<()> {
        for mut stream in &self.streams {
            stream.write_all(self.scratch.get(..window_bytes).ok_or("the window is too large")?)?;
        }
        Ok(())
    }

    /// Answers every echo with a new message; returns how many came back.
    fn run_for(&mut self, time: Duration) -> Outcome<f64> {
        let started = Instant::now();
        let mut events = Vec::with_capacity(256);
        let mut messages = 0u32;
        while started.elapsed() < time {
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                messages += self.answer(usize::try_from(event.data.u64())?)?;
            }
        }
        Ok(f64::from(messages))
    }

    fn answer(&mut self, place: usize) -> Outcome<u32> {
        let stream = self.streams.get_mut(place).ok_or("a stray event")?;
        let carried = self.carried.get_mut(place).ok_or("a stray event")?;
        let bytes = stream.read(&mut self.scratch)?;
        if bytes == 0 {
            return Err("the server closed a connection".into());
        }
        let messages = (*carried + bytes) / self.message_bytes;
        *carried = (*carried + bytes) % self.message_bytes;
        if messages > 0 {
            stream.write_all(self.scratch.get(..messages * self.message_bytes).ok_or("the window is too large")?)?;
        }
        Ok(u32::try_from(messages)?)
    }
}

/// Rings back.
struct Answerer {
    bell: ThreadBell,
    asked: Arc<AtomicBool>,
}

impl Handler for Answerer {
    fn on_accept(&mut self, _: ConnId, _: SocketAddr) -> Accept {
        Accept::Refuse
    }
    fn on_recv(&mut self, _: ConnId, _: &[u8]) {}
    fn on_close(&mut self, _: ConnId, _: CloseReason) {}
    fn on_turn(&mut self, _: &mut Io<'_>) {
        if self.asked.swap(false, Ordering::AcqRel) {
            self.bell.ring();
        }
    }
}

/// Round trip from a sleeping thread to a sleeping shard and back, in µs.
fn measure_bell(options: &Options, backend: Backend) -> Outcome<f64> {
    let mut parker = Parker::new(Duration::ZERO);
    let asked = Arc::new(AtomicBool::new(false));
    let answerer = Answerer { bell: parker.bell(), asked: Arc::clone(&asked) };
    let config = ShardConfig { cpu: options.cpu, ..ShardConfig::new("answerer") };
    let handle = spawn_shard(config, backend, move |_| answerer)?;
    let doorbell = handle.doorbell();
    let caller = spawn_pinned("caller", options.load_cpu, move || {
        let started = Instant::now();
        for _ in 0..BELL_ROUNDS {
            asked.store(true, Ordering::Release);
            doorbell.ring();
            parker.wait(None);
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(BELL_ROUNDS)
    })?;
    let round = caller.join().map_err(|_| "the caller panicked")?;
    handle.ask_stop();
    handle.join()?;
    Ok(round)
}

const BELL_ROUNDS: u32 = 10_000;
