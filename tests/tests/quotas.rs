//! Quotas, beside what the real server did with the same script (`tests/reference/quotas.py`, recorded from ZooKeeper 3.9.5), and over a restart.

use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::{Server, top, until};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

/// The Python that `tests/clients/install.sh` has prepared.
fn python() -> PathBuf {
    let cache = std::env::var_os("RINGKEEPER_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/ringkeeper"));
    cache.join("venv/bin/python")
}

/// Asks for an image over the control socket, and waits until it is there.
fn write_image(server: &Server) {
    let mut socket = UnixStream::connect(server.data_dir().join("control.sock")).unwrap();
    socket.write_all(b"{\"command\":\"snapshot\"}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).unwrap();
    assert!(answer.contains("true"), "{answer}");
    let is_there = || {
        let mut names = std::fs::read_dir(server.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        names.any(|name| name.to_string_lossy().starts_with("image."))
    };
    until("an image", is_there);
}

#[test]
fn the_figures_of_each_top_level_znode_are_zookeepers() {
    for shards in [1, 3] {
        let server = Server::builder().shards(shards).set("enforceQuota", "true").start();
        let script = top().join("tests/reference/quota_figures.py");
        let output = Command::new(python()).arg(script).arg(server.address().to_string()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let vector = std::fs::read_to_string(top().join("tests/reference/words-3.9.5/quota_figures.txt")).unwrap();
        let quotas = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.contains("_quota_")).map(str::to_owned).collect()
        };
        assert_eq!(quotas(&printed), quotas(&vector), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(quotas(&vector).len(), 9);
    }
}

#[test]
fn the_script_prints_what_it_printed_on_zookeeper() {
    let server = Server::builder().set("enforceQuota", "true").start();
    let output = Command::new(python())
        .arg(top().join("tests/reference/quotas.py"))
        .arg(server.address().to_string())
        .output()
        .expect("tests/clients/install.sh prepares Python and kazoo");
    let printed = String::from_utf8(output.stdout).unwrap();
    let expected = std::fs::read_to_string(top().join("tests/reference/quotas.txt")).unwrap();
    for (number, (line, expected)) in printed.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, expected, "line {}", number + 1);
    }
    assert!(
        output.status.success() && printed.lines().count() == expected.lines().count(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let log = server.log();
    assert_eq!(log.matches("the write was refused (a hard limit)").count(), 3, "each quota and limit once: {log}");
    assert!(log.contains("the write was let pass (a soft limit)"), "{log}");
}

#[test]
fn quotas_and_totals_outlast_a_restart_by_log_and_by_image() {
    for by_image in [false, true] {
        let mut server = Server::builder().set("enforceQuota", "true").start();
        let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
        let create =
            |client: &mut Connection, path: &str, data: &[u8]| client.create(path, data, CreateMode::Persistent);
        create(&mut client, "/q", b"12").unwrap();
        create(&mut client, "/zookeeper/quota/q", b"").unwrap();
        create(&mut client, "/zookeeper/quota/q/zookeeper_limits", b"count=-1,bytes=-1=;countHardLimit=3").unwrap();
        create(&mut client, "/zookeeper/quota/q/zookeeper_stats", b"").unwrap();
        create(&mut client, "/q/a", b"345").unwrap();
        let totals = |client: &mut Connection| client.get("/zookeeper/quota/q/zookeeper_stats", false).unwrap().0;
        assert_eq!(totals(&mut client), b"count=2,bytes=5");
        if by_image {
            write_image(&server);
        }
        server.kill9();
        server.restart();
        let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
        assert_eq!(totals(&mut client), b"count=2,bytes=5");
        create(&mut client, "/q/b", b"6").unwrap();
        assert_eq!(totals(&mut client), b"count=3,bytes=6");
        create(&mut client, "/q/c", b"").unwrap_err();
        client.delete("/q/a", -1).unwrap();
        assert_eq!(totals(&mut client), b"count=2,bytes=3");
    }
}
