//! The binary against a server in this process: honest figures from an honest one, exit code 1 and the reason from one that lies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code: a panic is the finding")]

#[path = "../../client/tests/fake/mod.rs"]
mod fake;

use std::net::SocketAddr;
use std::process::{Command, Output};

use fake::{Asked, Peer, serve};
use proto::reply::{OpResult, Reply};
use proto::request::Request;
use proto::{OpCode, Reader, Stat, Xid, Zxid};

const DATA: &[u8] = b"abcdefgh";

/// Does what a ZooKeeper would, for what rkbench asks outside its measured time.
fn obey(peer: &mut Peer, asked: &Asked) {
    let mut r = Reader::new(&asked.frame[8..]);
    match Request::read(asked.op, &mut r).unwrap().unwrap() {
        Request::Create(_, create) => peer.reply(asked.xid, Zxid(1), 0, &Reply::Path(create.path)),
        Request::GetData(_) => {
            let stat = Stat { data_length: 8, ..Stat::default() };
            peer.reply(asked.xid, Zxid(1), 0, &Reply::DataStat(Some(DATA), stat));
        }
        Request::Multi(multi) => {
            peer.reply(asked.xid, Zxid(1), 0, &Reply::Multi(vec![OpResult::Delete; multi.ops.len()]));
        }
        Request::CloseSession => peer.reply(asked.xid, Zxid(1), 0, &Reply::Empty),
        other => panic!("{other:?}"),
    }
}

/// A connection that is obeyed to its end.
fn obedient(peer: &mut Peer) {
    peer.shake_hands(30_000);
    loop {
        let asked = peer.read_request();
        obey(peer, &asked);
        if asked.op == OpCode::CloseSession {
            return;
        }
    }
}

fn rkbench(addr: SocketAddr, more: &[&str]) -> Output {
    let shape = ["--connections", "1", "--depth", "4", "--keys", "1", "--data-bytes", "8"];
    let time = ["--workload", "get", "--duration", "0.2", "--warmup", "0"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_rkbench"));
    command.args(["run", "--servers", &addr.to_string()]).args(shape).args(time).args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_honest_server_is_measured_and_its_znodes_are_deleted() {
    let (addr, server) = serve(vec![Box::new(obedient), Box::new(obedient), Box::new(obedient)]);
    let json = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("honest.json");
    let pid = std::process::id().to_string();
    let output = rkbench(addr, &["--json", json.to_str().unwrap(), "--server-pid", &pid]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    server.join().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert!(report["ops"].as_u64().unwrap() > 0);
    let latency = &report["latency_us"];
    assert!(latency["p50"].as_f64().unwrap() <= latency["max"].as_f64().unwrap());
    assert!(report["server"]["memory"]["rss_kib"].as_u64().unwrap() > 0);
    assert!(text(&output.stdout).contains("server CPU"));
}

#[test]
fn the_open_loop_offers_what_it_was_told() {
    let (addr, server) = serve(vec![Box::new(obedient), Box::new(obedient), Box::new(obedient)]);
    let json = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("open.json");
    let output = rkbench(addr, &["--rate", "100", "--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    server.join().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    // 100 op/s for 0.2 s is 20; a slow machine may answer some after the measured time, never more.
    assert!((1..=20).contains(&report["ops"].as_u64().unwrap()));
    assert_eq!(report["unfinished"], 0);
}

#[test]
fn wrong_data_is_counted_and_fails_the_run() {
    let liar = |peer: &mut Peer| {
        peer.shake_hands(30_000);
        loop {
            let asked = peer.read_request();
            if asked.op == OpCode::CloseSession {
                return;
            }
            let stat = Stat { data_length: 8, ..Stat::default() };
            peer.reply(asked.xid, Zxid(1), 0, &Reply::DataStat(Some(b"abcdefgX"), stat));
        }
    };
    let (addr, server) = serve(vec![Box::new(obedient), Box::new(liar), Box::new(obedient)]);
    let output = rkbench(addr, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("wrong GetData reply"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("the figures do not count"), "{}", text(&output.stderr));
    server.join().unwrap();
}

#[test]
fn a_reply_out_of_order_and_a_close_stop_the_run() {
    let swapped = |peer: &mut Peer| {
        peer.shake_hands(30_000);
        let asked = peer.read_request();
        peer.reply(Xid(asked.xid.0 + 1), Zxid(1), 0, &Reply::Empty);
        peer.wait_closed();
    };
    let (addr, server) = serve(vec![Box::new(obedient), Box::new(swapped)]);
    let output = rkbench(addr, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("reply to Xid(2) where Some(Xid(1)) was due"), "{}", text(&output.stderr));
    server.join().unwrap();

    let closing = |peer: &mut Peer| _ = peer.shake_hands(30_000);
    let (addr, server) = serve(vec![Box::new(obedient), Box::new(closing)]);
    let output = rkbench(addr, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("broke under load"), "{}", text(&output.stderr));
    server.join().unwrap();
}

#[test]
fn no_server_is_said_with_its_address() {
    // Nobody listens there, and nobody is given it who asks for any port.
    let addr = "127.0.0.1:1".parse().unwrap();
    let output = rkbench(addr, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("connecting to {addr}")), "{}", text(&output.stderr));
}
