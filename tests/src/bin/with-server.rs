//! Runs a command against a server of its own: `with-server [--shards N] [--set KEY=VALUE]… -- COMMAND … {addr} …`.
//!
//! The server gets a fresh directory and goes with the command; `{addr}` stands for its address, `{pid}` for its process id. The exit code
//! is 0 where the command's is; a server that ended meanwhile, or that does not end in order afterwards, makes it 1. `RK_TEST_CORE` says where
//! its core lives, as for the tests.
#![forbid(unsafe_code)]

use ringkeeper_tests::{Builder, Server};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: with-server [--shards N] [--set KEY=VALUE]… -- COMMAND [ARGUMENTS, {addr} and {pid} for the server's address and process id]\n\
                     example: with-server --shards 2 -- tests/clients/all.sh {addr}";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(split) = arguments.iter().position(|word| word == "--") else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (options, command) = arguments.split_at(split);
    let Some(builder) = configured(options) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut server = builder.start();
    let address = server.address().to_string();
    let pid = server.pid().to_string();
    let fill = |word: &String| word.replace("{addr}", &address).replace("{pid}", &pid);
    let words: Vec<String> = command.iter().skip(1).map(fill).collect();
    let Some((program, rest)) = words.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let status = match Command::new(program).args(rest).status() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("with-server: {program} could not be started: {error}");
            return ExitCode::from(1);
        }
    };
    if let Some(end) = server.ended() {
        eprintln!("with-server: the server ended by itself ({end}); its log:\n{}", server.log());
        return ExitCode::from(1);
    }
    let end = server.sigterm();
    if !end.success() {
        eprintln!("with-server: the server did not end in order ({end}); its log:\n{}", server.log());
        return ExitCode::from(1);
    }
    ExitCode::from(u8::from(!status.success()))
}

/// The server that the options ask for; `None` where they are wrong.
fn configured(options: &[String]) -> Option<Builder> {
    let mut builder = Server::builder()
        .set("tickTime", "2000")
        .set("zookeeper.DigestAuthenticationProvider.superDigest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    for option in options.chunks(2) {
        builder = match option {
            [name, count] if name == "--shards" => builder.shards(count.parse().ok()?),
            [name, setting] if name == "--set" => {
                let (key, value) = setting.split_once('=')?;
                builder.set(key, value)
            }
            _ => return None,
        };
    }
    Some(builder)
}
