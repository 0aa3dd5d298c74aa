//! Authentication against a running server: the answers of ZooKeeper 3.9.5 to some hundred probes under many settings, and SASL among other requests.
//!
//! The expectations are `tests/reference/auth.expected`, which `auth_script.py --record` wrote from the real server. The same script asks here;
//! it needs `python3` and nothing beside its standard library.

use client::{ConnectOptions, Connection};
use proto::OpCode;
use proto::reply::Reply;
use proto::request::{PathVersion, ReadRequest, Request};
use ringkeeper_tests::{Builder, Server, top};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The digest of `super:test`, which the real server had as well.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
/// Servers that run at the same time.
const AT_ONCE: usize = 4;

fn reference(name: &str) -> PathBuf {
    top().join("tests/reference").join(name)
}

/// One part of the file of expectations.
#[derive(Debug, Default)]
struct Setting {
    name: String,
    keys: Vec<(String, String)>,
    lines: Vec<String>,
}

fn settings() -> Vec<Setting> {
    let text = std::fs::read_to_string(reference("auth.expected")).expect("the expectations are there");
    let mut all: Vec<Setting> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            all.push(Setting { name: name.to_owned(), ..Setting::default() });
            continue;
        }
        let setting = all.last_mut().expect("a part begins with its name");
        match line.strip_prefix("set ").and_then(|rest| rest.split_once('=')) {
            Some((key, value)) => setting.keys.push((key.to_owned(), value.to_owned())),
            None => setting.lines.push(line.to_owned()),
        }
    }
    all
}

fn builder(setting: &Setting) -> Builder {
    let jaas = reference("auth.jaas").display().to_string();
    let builder = Server::builder().in_memory().set("DigestAuthenticationProvider.superDigest", SUPER_DIGEST);
    setting
        .keys
        .iter()
        .fold(builder, |builder, (key, value)| builder.set(key, if value == "JAAS" { &jaas } else { value }))
}

/// What differs, or nothing.
fn differences(setting: &Setting) -> String {
    let server = builder(setting).start();
    let mut command = Command::new("python3");
    command.arg(reference("auth_script.py")).args(["--setting", &setting.name]);
    let output = command.arg("--port").arg(server.address().port().to_string()).output();
    let output = output.expect("python3 is installed (tests/clients/install.sh)");
    assert!(output.status.success(), "{}: {}", setting.name, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("the script prints UTF-8");
    let answers: Vec<&str> = text.lines().collect();
    let mut differences = String::new();
    for number in 0..answers.len().max(setting.lines.len()) {
        let (ours, theirs) = (answers.get(number).copied(), setting.lines.get(number).map(String::as_str));
        if ours != theirs {
            let none = "(nothing)";
            differences += &format!(
                "[{}]\n  ZooKeeper  {}\n  RingKeeper {}\n",
                setting.name,
                theirs.unwrap_or(none),
                ours.unwrap_or(none)
            );
        }
    }
    differences
}

#[test]
fn every_probe_is_answered_as_zookeeper_answers_it() {
    let settings = settings();
    assert!(settings.len() >= 13, "{settings:?}");
    let (next, found) = (AtomicUsize::new(0), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(setting) = settings.get(next.fetch_add(1, Ordering::Relaxed)) {
                    assert!(setting.lines.len() > 10, "{setting:?}");
                    let differences = differences(setting);
                    *found.lock().unwrap() += &differences;
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "\n{found}");
}

/// Sends what is queued and checks that the replies come in the order of the requests.
fn replies_in_order(connection: &mut Connection, requests: &[Request<'_>]) -> Vec<client::ReplyFrame> {
    let xids: Vec<_> = requests.iter().map(|request| connection.queue(request)).collect();
    connection.flush().unwrap();
    let reply_to = |xid| {
        let reply = connection.recv_reply().unwrap();
        assert_eq!(reply.header.xid, xid, "{reply:?}");
        reply
    };
    xids.into_iter().map(reply_to).collect()
}

#[test]
fn sasl_among_pipelined_requests_is_answered_in_its_turn() {
    let jaas = reference("auth.jaas").display().to_string();
    let server = Server::builder().in_memory().set("java.security.auth.login.config", &jaas).start();
    let mut connection = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    let write = || Request::Delete(PathVersion { path: "/none", version: -1 });
    let read = || Request::Exists(ReadRequest { path: "/", watch: false });
    let mut requests: Vec<Request<'_>> = Vec::new();
    for _ in 0..50 {
        requests.extend([write(), read(), write()]);
    }
    requests.extend([Request::Sasl(Some(b"")), read(), write(), read()]);
    let replies = replies_in_order(&mut connection, &requests);
    let challenge = &replies[150];
    assert_eq!(challenge.op, OpCode::Sasl);
    let Reply::Token(Some(token)) = challenge.record().unwrap() else { panic!("{challenge:?}") };
    assert!(token.starts_with(b"realm=\"zk-sasl-md5\",nonce=\""), "{token:?}");
    // A wrong answer ends the connection: what was asked before is answered, what comes after is not.
    let requests = [write(), write(), Request::Sasl(Some(b"username=\"bob\"")), write(), read()];
    let xids: Vec<_> = requests.iter().map(|request| connection.queue(request)).collect();
    connection.flush().unwrap();
    for xid in &xids[..3] {
        assert_eq!(connection.recv_reply().unwrap().header.xid, *xid);
    }
    connection.wait_closed().unwrap();
}

#[test]
fn no_two_challenges_have_the_same_nonce() {
    let jaas = reference("auth.jaas").display().to_string();
    let mut server = Server::builder().in_memory().shards(2).set("java.security.auth.login.config", &jaas).start();
    let mut seen = std::collections::HashSet::new();
    for start in 0..2 {
        for number in 0..20 {
            let mut connection = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
            let reply = connection.roundtrip(&Request::Sasl(Some(b""))).unwrap();
            assert!(seen.insert(reply.body), "challenge {number} of start {start}");
        }
        server.restart();
    }
}
