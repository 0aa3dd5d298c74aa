//! The binary `ringkeeper`: parses the command line, starts the server, waits for the end.
#![forbid(unsafe_code)]

use clap::Parser;
use ringkeeper_server::boot::Server;
use ringkeeper_server::cli::{Cli, EXIT_FAILURE, EXIT_USAGE};
use ringkeeper_server::docker::Docker;
use ringkeeper_server::hub::Failure;
#[cfg(feature = "jemalloc")]
use ringkeeper_server::rt::heap;
use ringkeeper_server::{boot, config, logging, unservable};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How often the main thread looks for the end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = logging::init(cli.log_level.as_deref(), cli.log_format) {
        eprintln!("ringkeeper: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    let sources = cli.sources();
    let loaded = match config::load(&sources) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("ringkeeper: {errors}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    for warning in &loaded.warnings {
        if cli.check_config {
            eprintln!("ringkeeper: {warning}");
        } else {
            tracing::warn!("{warning}");
        }
    }
    if let Err(error) = boot::check(&loaded.config) {
        eprintln!("ringkeeper: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    if cli.check_config {
        println!("ringkeeper: the configuration is usable");
        return ExitCode::SUCCESS;
    }
    serve(loaded.config, sources.docker.as_ref())
}

fn serve(config: config::ResolvedConfig, docker: Option<&Docker>) -> ExitCode {
    let asked_to_end = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&asked_to_end)) {
            eprintln!("ringkeeper: cannot listen for signal {signal}: {error}");
            return ExitCode::from(EXIT_FAILURE);
        }
    }
    unservable::name_it();
    // Without it a disk that cannot read under a mapped image ends the process all the same, and does not say where.
    if let Err(error) = snapshot::fault::install() {
        tracing::warn!("a read error of the disk under a mapped image will not be named: {error}");
    }
    // Naming them makes the linker take them.
    #[cfg(feature = "jemalloc")]
    tracing::debug!(settings = %heap::SETTINGS.escape_ascii(), "allocator: jemalloc");
    let data_dir = std::path::absolute(&config.storage.data_dir).unwrap_or_else(|_| config.storage.data_dir.clone());
    let server = match Server::start(config, &asked_to_end) {
        Ok(server) => server,
        Err(error) if error.is_asked_for() => {
            tracing::info!("{error}");
            return ended();
        }
        Err(error) => {
            eprintln!("ringkeeper: {error}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    // Only now: a file left by a start that was refused would hold against the variables that are set right afterwards.
    docker.map(Docker::write).unwrap_or_default().iter().for_each(|warning| tracing::warn!("{warning}"));
    let address = server.address();
    // Nobody connects to the address that stands for all.
    let ip = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
    let here = SocketAddr::new(ip, address.port());
    let mut out = std::io::stdout();
    // Who started the server may not be reading what it prints.
    let _unread = writeln!(
        out,
        "ringkeeper: serving on {address}, data in {}\nringkeeper: connect with  zkCli.sh -server {here}   or  \
         kazoo.client.KazooClient('{here}')",
        data_dir.display()
    )
    .and_then(|()| out.flush());
    while !asked_to_end.load(Ordering::Relaxed) {
        if let Some(failure) = server.failure() {
            // Not in order: nothing that is still on its way may be acknowledged.
            return failed(&failure);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    tracing::info!("asked to end");
    if let Some(failure) = server.stop() {
        return failed(&failure);
    }
    ended()
}

fn ended() -> ExitCode {
    // Nobody may be reading: the end is in order all the same.
    let _unread = writeln!(std::io::stdout(), "ringkeeper: ended");
    ExitCode::SUCCESS
}

fn failed(failure: &Failure) -> ExitCode {
    eprintln!("ringkeeper: {}", failure.why);
    ExitCode::from(failure.exit_code)
}
