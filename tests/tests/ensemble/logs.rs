//! What a stopped ensemble has written: the txns in each server's log, and each server's tree before the stop, as lines of a history.
//!
//! With them nothing in a history is left open: which of the requests without a reply took place, the log tells. `rkctl log dump` reads both implementations'.

use super::crowd::monotonic_us;
use super::load::ask;
use client::{ClientError, Connection, Operations, ReplyFrame};
use proto::ErrorCode;
use proto::reply::Reply;
use proto::request::{ReadRequest, Request};
use ringkeeper_sim::history::{Event, FinalNode, History, ServerId, SessionId, TxnKind, Xid, Zxid};
use ringkeeper_tests::cluster::Cluster;
use ringkeeper_tests::{binary, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Znodes whose data and children are asked for before the first answer is awaited: fewer requests than a Java server takes in at once.
const ASKED_AT_ONCE: usize = 200;

/// The tree of every server. Nobody may ask for changes meanwhile; sessions that their clients have given up may still end.
pub fn add_final_trees(history: &mut History, cluster: &Cluster) {
    for id in cluster.ids() {
        let mut before = None;
        let mut found = None;
        // Two that are the same, one after the other: so it was when the second began.
        until("a tree that stays", || {
            let (zxid, tree) = ask(cluster, id, |connection| {
                connection.sync("/")?;
                let zxid = Zxid(connection.last_zxid().0);
                Ok((zxid, nodes_of(connection)?))
            });
            found = tree.clone().filter(|_| tree == before).map(|nodes| (zxid, nodes));
            before = tree;
            found.is_some()
        });
        let (zxid, mut nodes) = found.expect("just seen");
        nodes.sort_by(|one: &FinalNode, other| one.path.cmp(&other.path));
        history.push(monotonic_us(), Event::Final { server: ServerId(id.into()), zxid, nodes, sessions: None });
    }
}

/// Every znode but the root and ZooKeeper's own. None: one has gone meanwhile. Many are asked for at once, since a tree has thousands.
fn nodes_of(connection: &mut Connection) -> client::Result<Option<Vec<FinalNode>>> {
    let mut nodes = Vec::new();
    let mut left = vec!["/".to_owned()];
    while !left.is_empty() {
        let paths = left.split_off(left.len().saturating_sub(ASKED_AT_ONCE));
        for path in &paths {
            connection.queue(&Request::GetData(ReadRequest { path, watch: false }));
            connection.queue(&Request::GetChildren(ReadRequest { path, watch: false }));
        }
        connection.flush()?;
        let replies: client::Result<Vec<ReplyFrame>> = (0..2 * paths.len()).map(|_| connection.recv_reply()).collect();
        for (path, replies) in paths.iter().zip(replies?.chunks(2)) {
            let [data, children] = replies else { unreachable!("each path has two") };
            let (Some(data), Some(children)) = (there(data.record())?, there(children.record())?) else {
                return Ok(None);
            };
            let (Reply::DataStat(data, stat), Reply::Strings(names)) = (data, children) else {
                return Err(ClientError::WrongRecord("getData and getChildren"));
            };
            if path != "/" {
                let data = String::from_utf8_lossy(data.unwrap_or_default()).into_owned();
                nodes.push(FinalNode { path: path.clone(), data, stat: (&stat).into() });
            }
            let parent = path.trim_end_matches('/');
            left.extend(names.iter().map(|name| format!("{parent}/{name}")).filter(|child| child != "/zookeeper"));
        }
    }
    Ok(Some(nodes))
}

fn there<T>(answer: client::Result<T>) -> client::Result<Option<T>> {
    match answer {
        Err(ClientError::Server(ErrorCode::NoNode)) => Ok(None),
        answer => answer.map(Some),
    }
}

/// The txns of every server's log, of which the ensemble's first was `begun`. The servers must not run.
pub fn add_txns(history: &mut History, cluster: &Cluster, begun: Zxid) {
    let mut first = Vec::new();
    for id in cluster.ids() {
        let txns = txns_of(&cluster.data_dir(id), ServerId(id.into()));
        first.extend(txns.first().cloned());
        txns.into_iter().for_each(|txn| history.push(monotonic_us(), txn));
    }
    // Whoever got a SNAP has only what came after it.
    let from_the_beginning = |txn: &Event| matches!(txn, Event::Applied { zxid, .. } if *zxid == begun);
    assert!(first.iter().any(from_the_beginning), "no server has the log from its first txn on: {first:?}");
}

/// Each server of Java's with the epochs that it has led, as its own log tells.
pub fn led_by_java(cluster: &Cluster) -> BTreeSet<(ServerId, u64)> {
    let mut led = BTreeSet::new();
    for id in cluster.ids().into_iter().filter(|id| cluster.implementation_of(*id).is_java()) {
        for line in cluster.log(id).lines() {
            let Some((_, zxid)) = line.split_once("starting up and setting last processed zxid: 0x") else { continue };
            let zxid = u64::from_str_radix(zxid.trim(), 16).expect("a zxid");
            led.insert((ServerId(id.into()), Zxid(zxid).epoch()));
        }
    }
    led
}

/// The txns of a server's log, as far as it reads back from its newest state. It may be writing it.
pub fn txns_of(dir: &Path, server: ServerId) -> Vec<Event> {
    let output = Command::new(binary("rkctl")).args(["log", "dump", "--json"]).arg(dir).output().expect("rkctl runs");
    assert!(output.status.success(), "{}: {}", dir.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let snapshots = snapshots_of(dir);
    let mut txns = Vec::new();
    let mut last = Zxid(0);
    for line in text.lines() {
        let (zxid, txn) = applied(&serde_json::from_str(line).expect("a line is JSON"), server);
        if let Some(snapshot) = snapshots.iter().rfind(|snapshot| last < **snapshot && **snapshot < zxid) {
            // Java leaves in its log what a SNAP has replaced, a tail included that was never committed. It does not read it any more.
            txns.clear();
            txns.push(Event::Took { server, zxid: *snapshot, digest: None });
        }
        txns.push(txn);
        last = zxid;
    }
    txns
}

/// The zxids of Java's snapshots, in order. One that lies between two neighbours in the log was taken over from a leader: of its own states a
/// server has every txn.
fn snapshots_of(dir: &Path) -> Vec<Zxid> {
    let entries = std::fs::read_dir(dir.join("version-2")).into_iter().flatten().flatten();
    let zxid = |name: &str| u64::from_str_radix(name.strip_prefix("snapshot.")?, 16).ok();
    let mut all: Vec<Zxid> = entries.filter_map(|entry| zxid(entry.file_name().to_str()?)).map(Zxid).collect();
    all.sort_unstable();
    all
}

fn applied(txn: &Value, server: ServerId) -> (Zxid, Event) {
    let hex = |name: &str| {
        let text = txn[name].as_str()?.strip_prefix("0x")?;
        u64::from_str_radix(text, 16).ok()
    };
    let kind = match txn["type"].as_str().expect("a type") {
        "createSession" => TxnKind::Begin,
        "closeSession" => TxnKind::End,
        "error" => TxnKind::Failed,
        _ => TxnKind::Change,
    };
    let zxid = Zxid(hex("zxid").expect("a zxid"));
    let event = Event::Applied {
        server,
        zxid,
        session: SessionId(hex("session").expect("a session").cast_signed()),
        xid: Xid(txn["cxid"].as_i64().expect("a cxid")),
        kind,
        hash: None,
        digest: hex("digest"),
    };
    (zxid, event)
}
