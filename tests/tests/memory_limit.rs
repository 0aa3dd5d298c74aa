//! Memory runs short, since no image can be written that would give some back: new data is refused with a clear code, all else goes on, and it
//! comes back once data was deleted and there are images again. The kernel kills nobody.

use client::{ClientError, ConnectOptions, Connection, MultiResult, Operations};
use proto::ErrorCode;
use proto::OpCode;
use proto::request::{CreateMode, CreateRequest, MultiOp, PathVersion, Request, SetDataRequest};
use ringkeeper_tests::{Builder, Cgroup, Server, until};
use std::path::PathBuf;
use std::time::Duration;

/// What a server of these tests may have; without data it has far less.
const LIMIT_MIB: usize = 192;
/// Small enough for the allocator to keep when it is freed.
const DATA_BYTES: usize = 60 << 10;
/// Requests that are on their way together.
const DEPTH: usize = 16;

fn connect(server: &Server) -> Connection {
    Connection::connect(server.address(), &ConnectOptions::default()).unwrap()
}

fn figure(server: &Server, key: &str) -> u64 {
    let answer = client::four_letter_word(server.address(), "mntr", Duration::from_secs(10)).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("zk_ringkeeper_memory_")?.strip_prefix(key));
    line.unwrap_or_else(|| panic!("{key} in {answer}")).trim().parse().unwrap()
}

fn name(number: usize) -> String {
    format!("/d/{number:06}")
}

/// Creates znodes until one is refused, and returns how many there are. More than `count_max` is too many.
fn fill(client: &mut Connection, count_max: usize) -> usize {
    let (data, acl) = (vec![b'x'; DATA_BYTES], client::AclList::open());
    let mut made = 0;
    loop {
        assert!(made < count_max, "{made} znodes of {DATA_BYTES} bytes are taken");
        for number in made..made + DEPTH {
            let path = name(number);
            let create = CreateRequest { path: &path, data: Some(&data), acl: acl.as_vec(), flags: 0, ttl_ms: None };
            client.queue(&Request::Create(OpCode::Create, create));
        }
        client.flush().unwrap();
        let codes: Vec<ErrorCode> = (0..DEPTH).map(|_| client.recv_reply().unwrap().code().unwrap()).collect();
        let taken = codes.iter().take_while(|code| **code == ErrorCode::Ok).count();
        made += taken;
        if taken < DEPTH {
            assert!(codes[taken..].iter().all(|code| *code == ErrorCode::SystemError), "{codes:?}");
            return made;
        }
    }
}

/// A server whose images fail, for the directory where they go is away; its log lies elsewhere.
fn without_images(builder: Builder) -> (Server, PathBuf) {
    let log_dir = builder.data_dir().with_extension("log");
    let server = builder.set("dataLogDir", &log_dir.display().to_string()).start();
    let away = server.data_dir().with_extension("away");
    std::fs::rename(server.data_dir(), &away).unwrap();
    (server, away)
}

fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, ClientError>) {
    assert!(matches!(outcome, Err(ClientError::Server(ErrorCode::SystemError))), "{outcome:?}");
}

#[test]
fn above_the_limit_new_data_is_refused_all_else_goes_on_and_deletes_bring_it_back() {
    let limited = Server::builder().in_memory().set("ringkeeper.memoryMax", &format!("{LIMIT_MIB}m"));
    let (server, away) = without_images(limited);
    let mut client = connect(&server);
    client.create("/d", b"", CreateMode::Persistent).unwrap();
    client.create("/e", b"1234", CreateMode::Persistent).unwrap();
    let made = fill(&mut client, (LIMIT_MIB << 20) / DATA_BYTES);
    assert_eq!(figure(&server, "limit_bytes"), (LIMIT_MIB as u64) << 20);
    assert!(figure(&server, "used_bytes") > (LIMIT_MIB as u64) << 20);
    assert_eq!(figure(&server, "short"), 1);
    let refused = figure(&server, "refused_count");
    assert!(refused > 0);
    // What grows is refused, whoever asks and however.
    assert_refused(client.create("/f", b"", CreateMode::Ephemeral));
    assert_refused(client.set("/e", b"12345", -1));
    let grown = vec![
        MultiOp::Delete(PathVersion { path: "/e", version: -1 }),
        MultiOp::SetData(SetDataRequest { path: "/d", data: Some(b"x"), version: -1 }),
    ];
    let results = client.multi(grown).unwrap();
    assert!(matches!(results[1], MultiResult::Error(-1)), "{results:?}");
    assert_eq!(figure(&server, "refused_count"), refused + 3);
    // A rule that the request breaks is told as ever.
    assert!(matches!(
        client.create("/e", b"", CreateMode::Persistent),
        Err(ClientError::Server(ErrorCode::NodeExists))
    ));
    // What does not grow is taken, and everything is read.
    assert_eq!(client.get("/e", false).unwrap().0, b"1234", "the multi was refused whole");
    assert_eq!(client.set("/e", b"4321", -1).unwrap().version, 1);
    let mut newcomer = connect(&server);
    assert_eq!(newcomer.children("/d", false).unwrap().len(), made);
    assert_eq!(newcomer.get(&name(made - 1), true).unwrap().0.len(), DATA_BYTES);
    newcomer.close().unwrap();
    // Half of it goes.
    for number in (0..made).step_by(2) {
        client.delete(&name(number), -1).unwrap();
    }
    std::fs::rename(away, server.data_dir()).unwrap();
    until("new data is taken again", || client.create("/f", b"", CreateMode::Persistent).is_ok());
    let log = server.log();
    assert_eq!(log.matches("memory is short").count(), 1, "{log}");
    assert_eq!(log.matches("memory suffices again").count(), 1, "{log}");
    assert_eq!(figure(&server, "short"), 0);
}

#[test]
fn in_a_cgroup_new_data_is_refused_before_the_kernel_kills_the_server() {
    let limit = LIMIT_MIB << 20;
    let Some(group) = Cgroup::new(limit) else { return };
    let (mut server, _away) = without_images(Server::builder().wrapped(&["sh", "-c", &group.enter(), "sh"]));
    let mut client = connect(&server);
    client.create("/d", b"", CreateMode::Persistent).unwrap();
    let made = fill(&mut client, limit / DATA_BYTES);
    let told = figure(&server, "limit_bytes");
    assert!(told < limit as u64 && told > limit as u64 / 2, "a share of the group's limit: {told}");
    assert!(server.log().contains("80% of the cgroup's limit"), "{}", server.log());
    assert_eq!(client.children("/d", false).unwrap().len(), made);
    assert_eq!(server.ended(), None);
    assert_eq!(server.sigterm().code(), Some(0), "{}", server.log());
    drop(server);
    drop(group);
}
