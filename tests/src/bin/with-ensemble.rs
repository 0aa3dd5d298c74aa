//! Runs a command against an ensemble of its own: `with-ensemble [--implementation java|java-3.8|ringkeeper] [--member ID=IMPLEMENTATION]… [--servers N] [--set KEY=VALUE]… -- COMMAND … {addrs} …`.
//!
//! The servers get fresh directories and go with the command; `{addrs}` stands for their addresses with commas between, the leader's last (a client that
//! takes the first one asks a follower), `{pids}` for their process ids. The exit code is 0 where the command's is and all servers still run.
#![forbid(unsafe_code)]

use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: with-ensemble [--implementation java|java-3.8|ringkeeper] [--member ID=IMPLEMENTATION]… [--servers N] [--observers N] [--set KEY=VALUE]… -- COMMAND [ARGUMENTS, {addrs} and {pids} for the servers' addresses and process ids]\n\
                     example: with-ensemble --implementation java -- tests/clients/all.sh --super super:test {addrs}";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let split = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let (options, command) = arguments.split_at(split);
    let (Some(plan), Some(words)) = (plan(options), command.get(1..).filter(|words| !words.is_empty())) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let cluster = plan.start();
    let (addresses, pids) = (addresses(&cluster), pids(&cluster));
    let mut words = words.iter().map(|word| word.replace("{addrs}", &addresses).replace("{pids}", &pids));
    let program = words.next().unwrap_or_default();
    let status = match Command::new(&program).args(words).status() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("with-ensemble: {program} could not be started: {error}");
            return ExitCode::from(1);
        }
    };
    let mut all_serve = true;
    for id in cluster.ids().into_iter().filter(|id| cluster.mode(*id).is_none()) {
        eprintln!("with-ensemble: server {id} does not serve any more; its log:\n{}", cluster.log(id));
        all_serve = false;
    }
    ExitCode::from(u8::from(!(status.success() && all_serve)))
}

fn addresses(cluster: &Cluster) -> String {
    let leader = cluster.leader();
    let mut ids = cluster.ids();
    ids.sort_by_key(|id| *id == leader);
    let addresses: Vec<String> = ids.into_iter().map(|id| cluster.address(id).to_string()).collect();
    addresses.join(",")
}

fn pids(cluster: &Cluster) -> String {
    let pids: Vec<String> = cluster.ids().into_iter().map(|id| cluster.pid(id).to_string()).collect();
    pids.join(",")
}

/// The ensemble that the options ask for; `None` where they are wrong.
fn plan(options: &[String]) -> Option<Plan> {
    let mut plan = Plan::new(Implementation::RingKeeper, 3)
        .tied()
        .set("tickTime", "2000")
        // 20 ticks, as where nothing is said.
        .set("maxSessionTimeout", "40000")
        .set("zookeeper.DigestAuthenticationProvider.superDigest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    for option in options.chunks(2) {
        let [name, value] = option else { return None };
        plan = match name.as_str() {
            "--implementation" => Plan { implementation: Implementation::of(value)?, ..plan },
            "--member" => {
                let (id, implementation) = value.split_once('=')?;
                plan.with(id.parse().ok()?, Implementation::of(implementation)?)
            }
            "--servers" => Plan { voters: value.parse().ok().filter(|servers| (1..=9).contains(servers))?, ..plan },
            "--observers" => plan.observers(value.parse().ok().filter(|observers| *observers <= 9)?),
            "--set" => {
                let (key, value) = value.split_once('=')?;
                plan.set(key, value)
            }
            _ => return None,
        };
    }
    Some(plan)
}
