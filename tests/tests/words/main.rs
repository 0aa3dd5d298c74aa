//! Every four-letter word of the built server, beside what a real 3.9.5 said to the same steps (`tests/reference/words-3.9.5`, recorded
//! by `tests/reference/words.py`), with one and with three shards; and the limits that the words' figures tell of.

mod large;
mod limits;
mod refusals;
mod shape;

use client::{ConnectOptions, Connection, Operations, four_letter_word};
use proto::request::CreateMode;
// What a connection has just sent or closed is seen by its shard a little later.
pub(crate) use ringkeeper_tests::until;
use ringkeeper_tests::words::{LeftOut, figures};
use ringkeeper_tests::{Core, Server, top};
use shape::{masked, shapes};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn ask(server: &Server, word: &str) -> String {
    four_letter_word(server.address(), word, PATIENCE).unwrap()
}

/// What the real server said.
fn vector(name: &str) -> String {
    let file = top().join(format!("tests/reference/words-3.9.5/{name}.txt"));
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub(crate) fn connect(server: &Server, timeout_ms: i32) -> Connection {
    Connection::connect(server.address(), &ConnectOptions { timeout_ms, ..ConnectOptions::default() }).unwrap()
}

/// A figure of `mntr`.
pub(crate) fn figure(server: &Server, key: &str) -> f64 {
    let text = ask(server, "mntr");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_{key}\t")));
    line.unwrap_or_else(|| panic!("mntr has no {key}:\n{text}")).parse().unwrap()
}

/// A server after the steps of `words.py`: two sessions and a connection that says nothing.
struct Scene {
    server: Server,
    a: Connection,
    b: Connection,
    _silent: TcpStream,
}

impl Scene {
    fn new(shards: usize) -> Scene {
        // With one shard the core takes its turns in it; else it has a thread, and is asked across threads.
        let core = if shards == 1 { "shard" } else { "thread" };
        let builder = Server::builder().in_memory().shards(shards).set("ringkeeper.core", core);
        let server = builder.set("tickTime", "2000").start();
        let mut a = connect(&server, 20_000);
        let mut b = connect(&server, 10_000);
        let silent = TcpStream::connect(server.address()).unwrap();
        a.create("/app", &[b'x'; 10], CreateMode::Persistent).unwrap();
        a.create("/app/e1", b"1", CreateMode::Ephemeral).unwrap();
        a.create("/app/e2", b"2", CreateMode::Ephemeral).unwrap();
        b.create("/app/f1", b"3", CreateMode::Ephemeral).unwrap();
        a.get("/app", true).unwrap();
        b.get("/app", true).unwrap();
        b.children("/app", true).unwrap();
        assert_eq!(b.exists("/none", true).unwrap(), None);
        a.set("/app", b"y", -1).unwrap();
        b.get("/app", true).unwrap();
        a.get("/app", true).unwrap();
        b.delete("/nope", -1).unwrap_err();
        b.get_acl("/app").unwrap();
        // The silent one's shard may accept it late.
        until("four connections", || ask(&server, "srvr").contains("\nConnections: 4\n"));
        ask(&server, "crst");
        Scene { server, a, b, _silent: silent }
    }

    fn ask(&self, word: &str) -> String {
        ask(&self.server, word)
    }
}

fn with_shards(test: impl Fn(Scene)) {
    for shards in [1, 3] {
        test(Scene::new(shards));
    }
}

#[test]
fn short_words_are_answered_to_the_byte() {
    with_shards(|scene| {
        for word in ["ruok", "isro", "gtmk", "hash", "crst", "srst", "wchs"] {
            assert_eq!(scene.ask(word), vector(word), "{word}");
        }
    });
}

#[test]
fn srvr_and_stat_say_what_the_real_server_says() {
    with_shards(|scene| {
        for word in ["srvr", "stat"] {
            assert_eq!(shapes(&scene.ask(word)), shapes(&vector(word)), "{word}");
        }
        let (ours, real) = (scene.ask("srvr"), vector("srvr"));
        for label in ["Connections", "Outstanding", "Zxid", "Mode", "Node count"] {
            let line = |text: &str| text.lines().find(|line| line.starts_with(label)).map(str::to_owned);
            assert_eq!(line(&ours), line(&real));
        }
        scene.ask("srst");
        assert_eq!(
            scene.ask("srvr").lines().skip(1).collect::<Vec<_>>(),
            vector("srvr2").lines().skip(1).collect::<Vec<_>>()
        );
    });
}

#[test]
fn cons_tells_of_every_connection_of_every_shard() {
    for shards in [1, 3] {
        let mut scene = Scene::new(shards);
        assert_eq!(masked(&scene.ask("cons")), masked(&vector("cons2")), "after crst");
        // What b did last in the real server's steps, and a too.
        scene.a.get("/app", false).unwrap();
        scene.b.get_acl("/app").unwrap();
        let cons = scene.ask("cons");
        assert_eq!(shapes(&cons), shapes(&vector("cons")));
        let session = format!("sid=0x{:x},lop=GETA,", scene.b.session_id().0);
        let line = cons.lines().find(|line| line.contains(&session)).unwrap_or_else(|| panic!("{session}: {cons}"));
        assert!(
            line.contains("(queued=0,recved=1,sent=1,") && line.contains(",to=10000,lcxid=0x8,lzxid=0x8,"),
            "{line}"
        );
        let a = format!("sid=0x{:x},lop=GETD,", scene.a.session_id().0);
        assert!(cons.contains(&a), "{a}: {cons}");
    }
}

#[test]
fn dump_shows_sessions_ephemerals_and_connections() {
    with_shards(|scene| {
        let dump = scene.ask("dump");
        assert_eq!(shapes(&dump), shapes(&vector("dump")));
        let (a, b) = (scene.a.session_id().0, scene.b.session_id().0);
        assert!(dump.contains(&format!("0x{b:x}:\n\t/app/f1\n")), "{dump}");
        let of_a = dump.split(&format!("\n0x{a:x}:\n")).nth(1).unwrap_or_else(|| panic!("{dump}"));
        let of_a: BTreeSet<&str> = of_a.lines().take(2).collect();
        assert_eq!(of_a, BTreeSet::from(["\t/app/e1", "\t/app/e2"]));
        assert_eq!(dump.matches(&format!(" sessionId: 0x{a:x}\n")).count(), 1);
        assert_eq!(dump.matches(" sessionId: 0x0\n").count(), 2, "the silent one and who asks");
    });
}

#[test]
fn watches_are_shown_by_session_and_by_path() {
    with_shards(|scene| {
        let (a, b) = (format!("0x{:x}", scene.a.session_id().0), format!("0x{:x}", scene.b.session_id().0));
        for word in ["wchc", "wchp"] {
            assert_eq!(shapes(&scene.ask(word)), shapes(&vector(word)), "{word}");
        }
        let by_session = groups(&scene.ask("wchc"));
        assert_eq!(by_session[&a], set(&["/app"]));
        assert_eq!(by_session[&b], set(&["/app", "/none"]));
        let by_path = groups(&scene.ask("wchp"));
        assert_eq!(by_path["/app"], set(&[&a, &b]));
        assert_eq!(by_path["/none"], set(&[&b]));
        assert_eq!((by_session.len(), by_path.len()), (2, 2));
    });
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Lines behind a tab, by the line before them; each heading stands once.
pub(crate) fn groups(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(member) = line.strip_prefix('\t') {
            assert!(
                groups.get_mut(&current).unwrap().insert(member.to_owned()),
                "{member} stands twice under {current}"
            );
        } else {
            line.clone_into(&mut current);
            assert!(groups.insert(current.clone(), BTreeSet::new()).is_none(), "{current} stands twice");
        }
    }
    groups
}

#[test]
fn mntr_has_the_real_servers_keys_and_says_which_it_leaves_out() {
    let left_out = LeftOut::of_the_page();
    with_shards(|scene| {
        let (ours, real) = (figures(&scene.ask("mntr")), figures(&vector("mntr")));
        for (key, value) in &real {
            match ours.get(key) {
                Some(_) => assert!(!left_out.has(key), "{key} is shown, and stands among what is left out"),
                None => assert!(left_out.has(key), "{key} is neither shown nor named as left out (it is {value})"),
            }
        }
        for (key, value) in &ours {
            let Some(known) = real.get(key) else {
                assert!(key.starts_with("ringkeeper_"), "{key} is no key of ZooKeeper's");
                continue;
            };
            assert_eq!(shape::of(value), shape::of(known), "{key}");
        }
        for key in [
            "server_state",
            "ephemerals_count",
            "num_alive_connections",
            "outstanding_requests",
            "znode_count",
            "global_sessions",
            "watch_count",
            "approximate_data_size",
            "auth_failed_count",
            "connection_request_count",
            "cnt_updatelatency",
            "cnt_readlatency",
            "sum_node_changed_watch_count",
            "watch_bytes",
            "response_bytes",
            "min_client_response_size",
            "max_client_response_size",
            "cnt_fsynctime",
        ] {
            assert_eq!(ours[key], real[key], "{key}");
        }
    });
}

/// Each txn is measured once on its way through queue, log and tree, and a restart tells what it replayed.
#[test]
fn every_txn_is_measured_once_on_its_way() {
    for core in Core::BOTH {
        let mut server = Server::builder().core(core).start();
        let mut conn = connect(&server, 20_000);
        let txns = 1 + (0..30).map(|n| conn.create(&format!("/n{n}"), b"", CreateMode::Persistent).unwrap()).count();
        for key in [
            "sync_processor_request_queued",
            "prep_processor_request_queued",
            "sum_sync_processor_batch_size",
            "sum_prep_processor_queue_size",
            "sum_sync_processor_queue_size",
            "cnt_propagation_latency",
            "cnt_sync_processor_queue_time_ms",
            "cnt_sync_processor_queue_and_flush_time_ms",
        ] {
            assert_eq!(figure(&server, key), txns as f64, "{key} with the core in its {}", core.name());
        }
        let (flushes, syncs) = ("cnt_sync_processor_queue_flush_time_ms", "cnt_fsynctime");
        assert_eq!(figure(&server, flushes), figure(&server, syncs));
        assert!(
            figure(&server, "sum_propagation_latency") >= figure(&server, "sum_sync_processor_queue_and_flush_time_ms")
        );
        assert_eq!(figure(&server, "cnt_dbinittime"), 1.0);
        assert_eq!(figure(&server, "cnt_startup_txns_loaded"), 0.0, "nothing was there");
        server.kill9();
        server.restart();
        assert_eq!(figure(&server, "sum_startup_txns_loaded"), txns as f64);
        assert_eq!(figure(&server, "cnt_startup_txns_load_time"), 1.0);
        assert_eq!(figure(&server, "cnt_startup_snap_load_time"), 0.0, "there was no image");
    }
}

#[test]
fn conf_dirs_and_envi_have_the_real_servers_lines() {
    let scene = Scene::new(1);
    let keys = |text: &str, sign: char| -> Vec<String> {
        text.lines().map(|line| line.split(sign).next().unwrap_or_default().to_owned()).collect()
    };
    for (word, sign) in [("conf", '='), ("envi", '='), ("dirs", ':')] {
        assert_eq!(keys(&scene.ask(word), sign), keys(&vector(word), sign), "{word}");
    }
    assert_eq!(shapes(&scene.ask("dirs")), shapes(&vector("dirs")));
    let conf = scene.ask("conf");
    assert!(conf.contains(&format!("clientPort={}\n", scene.server.address().port())), "{conf}");
    assert!(conf.contains("\ntickTime=2000\n") && conf.contains("\nminSessionTimeout=4000\n"), "{conf}");
}

#[test]
fn the_trace_mask_is_set_and_shown() {
    let scene = Scene::new(1);
    let ask_raw = |bytes: &[u8]| {
        let mut socket = TcpStream::connect(scene.server.address()).unwrap();
        socket.write_all(bytes).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(ask_raw(b"stmk\0\0\0\0\0\0\0\x1a"), vector("stmk"));
    assert_eq!(scene.ask("gtmk"), "26");
    assert_eq!(ask_raw(b"stmk"), "", "without a mask there is no answer");
    assert_eq!(ask_raw(b"ruok\n"), "imok");
    assert_eq!(ask_raw(&[0xff, 0xf4, 0xff, 0xfd]), "", "telnet's way to hang up");
}

#[test]
fn hash_shows_the_digest_of_every_128th_zxid() {
    let mut scene = Scene::new(1);
    for _ in 0..300 {
        scene.a.set("/app", b"z", -1).unwrap();
    }
    let hash = scene.ask("hash");
    let zxids: Vec<&str> = hash.lines().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(zxids, ["80", "100"], "{hash}");
    assert!(hash.lines().all(|line| line.split_once(": ").unwrap().1.parse::<i64>().is_ok()), "{hash}");
}

#[test]
fn a_word_outside_the_whitelist_is_refused_by_its_name() {
    let server = Server::builder().in_memory().set("4lw.commands.whitelist", "ruok, wchs").start();
    let words = [
        "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "srst", "stat", "stmk", "wchc",
        "wchp",
    ];
    for word in words {
        assert_eq!(ask(&server, word), vector("refused").replace("stat", word));
    }
    assert_eq!((ask(&server, "ruok"), ask(&server, "wchs").lines().count()), ("imok".to_owned(), 2));
    assert!(ask(&server, "srvr").contains("\nMode: standalone\n"), "srvr is always allowed: zkServer.sh needs it");
    let with_isro =
        Server::builder().in_memory().set("4lw.commands.whitelist", "").set("readonlymode.enabled", "true").start();
    assert_eq!(ask(&with_isro, "isro"), "rw");
}

#[test]
fn zk_server_status_understands_the_server() {
    let script = "/usr/share/zookeeper/bin/zkServer.sh";
    assert!(std::path::Path::new(script).exists(), "apt-get install zookeeper");
    let server = Server::builder().in_memory().set("4lw.commands.whitelist", "").start();
    let dir = server.data_dir();
    let config = dir.join("status.cfg");
    let port = server.address().port();
    std::fs::write(&config, format!("clientPort={port}\nclientPortAddress=127.0.0.1\ndataDir={}\n", dir.display()))
        .unwrap();
    let out = Command::new(script).arg("status").arg(&config).env("ZOO_LOG_DIR", &dir).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && text.contains("Mode: standalone"),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
