//! `rkctl` looks into the directory of a real server: of one that has ended, and of one that runs; into ZooKeeper's own files; it names damage, and
//! repairs only when told to.

mod damage;
mod dump;
mod page;
mod running;
mod snapshots;
mod zookeeper;

use client::{AclList, ConnectOptions, Connection, Operations};
use proto::request::{CreateMode, CreateRequest, MultiOp, PathVersion, SetDataRequest};
use proto::{Acl, Perms};
use ringkeeper_tests::{Server, binary, until};
use std::path::Path;
use std::process::{Command, Output};

/// What the data of `/app/binary` is: no text.
const BINARY: &[u8] = &[0, 159, 146, 150];

/// Runs `rkctl` to its end.
fn rkctl(words: &[&str]) -> Output {
    Command::new(binary("rkctl")).args(words).output().expect("rkctl can be run")
}

/// Runs `rkctl`, which must say that all is well, and gives what it prints.
fn rkctl_ok(words: &[&str]) -> String {
    let output = rkctl(words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "rkctl {}: {said}", words.join(" "));
    String::from_utf8(output.stdout).expect("rkctl prints text")
}

/// Runs `rkctl`, which must end with 1, and gives what it prints and says.
fn rkctl_refused(words: &[&str]) -> String {
    let output = rkctl(words);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "rkctl {}: {said}", words.join(" "));
    said
}

fn connect(server: &Server) -> Connection {
    Connection::connect(server.address(), &ConnectOptions::default()).expect("the server takes a connection")
}

/// A server that keeps its log in small pieces.
fn server() -> Server {
    Server::builder().in_memory().start()
}

/// Every kind of txn that a client can cause.
fn write_a_bit_of_everything(server: &Server) {
    let mut client = connect(server);
    client.create("/app", b"", CreateMode::Persistent).unwrap();
    client.create("/app/config", b"v1", CreateMode::Persistent).unwrap();
    client.create("/app/binary", BINARY, CreateMode::Persistent).unwrap();
    client.create("/other", b"x", CreateMode::Persistent).unwrap();
    client.set("/app/config", "grün".as_bytes(), -1).unwrap();
    let read_only = Acl { perms: Perms::READ, ..Acl::open() };
    client.set_acl("/other", &AclList::new(&[read_only]), -1).unwrap();
    client.create("/app/config", b"", CreateMode::Persistent).unwrap_err();
    let open = AclList::open();
    let create = CreateRequest {
        path: "/app/two",
        data: Some(b"2"),
        acl: open.as_vec(),
        flags: CreateMode::Persistent as i32,
        ttl_ms: None,
    };
    client
        .multi(vec![
            MultiOp::Create(proto::OpCode::Create, create),
            MultiOp::SetData(SetDataRequest { path: "/app/config", data: Some(b"v3"), version: -1 }),
        ])
        .unwrap();
    client.multi(vec![MultiOp::Delete(PathVersion { path: "/nowhere", version: -1 })]).unwrap();
    client.create("/app/mine-", b"", CreateMode::EphemeralSequential).unwrap();
    client.delete("/app/two", -1).unwrap();
    client.close().unwrap();
}

/// Has the server write an image, and waits until it is there.
fn write_image(server: &Server) {
    let dir = server.data_dir();
    let newest = || names(&dir).into_iter().filter(|name| name.starts_with("image.") && !name.ends_with(".tmp")).max();
    let before = newest();
    rkctl_ok(&["--data-dir", path(&dir), "snapshot", "take"]);
    until("an image", || newest() > before);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}
