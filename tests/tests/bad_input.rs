//! What a client must not send, and too much of what it may: the right error or a closed connection, bounded memory, and the others served.
//!
//! Each test ends by asking the same server for something as an honest client would: a server that died or hangs fails there. Bounds on
//! memory are several times what is needed, and far below what an unbounded buffer would take.

use client::{ClientError, ConnectOptions, Connection, Operations};
use proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES};
use proto::request::{CreateMode, MultiOp, MultiRequest, ReadRequest, Request, RequestHeader, SetDataRequest};
use proto::{ErrorCode, OpCode, SessionId, Writer, Xid, Zxid, jute};
use ringkeeper_tests::{Server, memory_bytes};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// `jute.maxbuffer` unless set.
const FRAME_BYTES_MAX: i32 = 1_048_575;

// ---- single frames --------------------------------------------------------------------------------------------------------

#[test]
fn a_frame_of_impossible_length_closes_the_connection_before_and_after_the_handshake() {
    let server = Server::builder().start();
    for length in [-1, i32::MIN, FRAME_BYTES_MAX + 1, i32::MAX] {
        let mut client = open(&server);
        client.send_raw(&length.to_be_bytes()).unwrap();
        client.wait_closed().unwrap_or_else(|e| panic!("{length} as the first frame: {e}"));
        let mut client = connect(&server);
        client.send_raw(&length.to_be_bytes()).unwrap();
        client.wait_closed().unwrap_or_else(|e| panic!("{length} after the handshake: {e}"));
    }
    // An honest frame just below the limit passes.
    let data = vec![b'x'; usize::try_from(FRAME_BYTES_MAX).unwrap() - 100];
    connect(&server).create("/large", &data, CreateMode::Persistent).unwrap();
    serves(&server);
}

#[test]
fn a_frame_of_no_bytes_closes_the_connection() {
    let server = Server::builder().start();
    for mut client in [open(&server), connect(&server)] {
        client.send_frame(b"").unwrap();
        client.wait_closed().unwrap();
    }
    serves(&server);
}

#[test]
fn garbage_instead_of_a_handshake_closes_the_connection() {
    let server = Server::builder().start();
    let garbage: [&[u8]; 3] = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 64], b"\x00\x00\x00\x05abcde"];
    for bytes in garbage {
        let mut client = open(&server);
        client.send_raw(bytes).unwrap();
        client.wait_closed().unwrap_or_else(|e| panic!("{bytes:?}: {e}"));
    }
    serves(&server);
}

#[test]
fn a_request_cut_short_by_a_close_leaves_the_session_and_takes_no_effect() {
    let server = Server::builder().start();
    let mut client = connect(&server);
    let session = *client.session().unwrap();
    let mut whole = Vec::new();
    let set = SetDataRequest { path: "/", data: Some(b"half"), version: -1 };
    client::encode_request(&mut whole, Xid(1), &Request::SetData(set));
    client.send_raw(&whole[..whole.len() - 1]).unwrap();
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    client.wait_closed().unwrap();
    let mut client = Connection::connect(server.address(), &ConnectOptions::renewing(&session)).unwrap();
    assert_eq!(client.session_id(), session.session_id);
    assert_eq!(client.get("/", false).unwrap().1.version, 0);
}

#[test]
fn an_unknown_operation_is_answered_with_unimplemented_and_a_close() {
    let server = Server::builder().start();
    for code in [-12, 0, 99, i32::MAX] {
        let mut client = connect(&server);
        client.expect(Xid(5), OpCode::Ping);
        client.send_frame(&request(Xid(5), code, b"anything")).unwrap();
        let reply = client.recv_reply().unwrap_or_else(|e| panic!("operation {code}: {e}"));
        assert_eq!(reply.code().unwrap(), ErrorCode::Unimplemented, "operation {code}");
        client.wait_closed().unwrap_or_else(|e| panic!("operation {code}: {e}"));
    }
    serves(&server);
}

#[test]
fn a_second_handshake_is_an_unknown_operation() {
    let server = Server::builder().start();
    let mut client = connect(&server);
    // Its protocol version reads as xid 0, the upper half of its zxid as operation 0.
    client.expect(Xid(0), OpCode::Ping);
    client.send_raw(&handshake_frame()).unwrap();
    assert_eq!(client.recv_reply().unwrap().code().unwrap(), ErrorCode::Unimplemented);
    client.wait_closed().unwrap();
    serves(&server);
}

#[test]
fn a_body_that_cannot_be_decoded_is_a_marshalling_error_and_the_connection_lives() {
    let server = Server::builder().start();
    let mut client = connect(&server);
    let bodies: [&[u8]; 4] = [b"", &[0, 0, 0, 9, b'/'], &[0x7f, 0xff, 0xff, 0xff, b'/'], &[0xff, 0xff, 0xff, 0xfe]];
    let operations = [OpCode::Create, OpCode::GetData, OpCode::SetData, OpCode::Multi, OpCode::SetWatches2];
    let mut xid = 1_000;
    for op in operations {
        for body in bodies {
            xid += 1;
            client.expect(Xid(xid), op);
            client.send_frame(&request(Xid(xid), op.to_wire(), body)).unwrap();
            let reply = client.recv_reply().unwrap_or_else(|e| panic!("{op:?} {body:?}: {e}"));
            assert_eq!(reply.code().unwrap(), ErrorCode::MarshallingError, "{op:?} {body:?}");
        }
    }
    assert!(client.exists("/", false).unwrap().is_some());
}

// ---- slow and silent ------------------------------------------------------------------------------------------------------

#[test]
fn a_connection_without_a_handshake_is_closed_in_time_and_one_with_a_session_is_not() {
    let server = Server::builder().set("sessionlessCnxnTimeout", "700").start();
    let mut honest = connect(&server);
    let started = Instant::now();
    let mut silent = open(&server);
    let mut half = open(&server);
    half.send_raw(&handshake_frame()[..20]).unwrap();
    silent.wait_closed().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(700), "closed after {:?}", started.elapsed());
    half.wait_closed().unwrap();
    honest.ping().unwrap();
}

#[test]
fn a_client_that_falls_silent_loses_its_session_and_its_connection() {
    let server = Server::builder().start();
    let mut client =
        Connection::connect(server.address(), &ConnectOptions { timeout_ms: 1_000, ..ConnectOptions::default() })
            .unwrap();
    let session = *client.session().unwrap();
    client.create("/gone", b"", CreateMode::Ephemeral).unwrap();
    client.wait_closed().unwrap();
    let renewed = Connection::connect(server.address(), &ConnectOptions::renewing(&session));
    assert!(matches!(renewed, Err(ClientError::SessionExpired)), "{renewed:?}");
    assert_eq!(connect(&server).exists("/gone", false).unwrap(), None);
}

// ---- many -----------------------------------------------------------------------------------------------------------------

#[test]
fn ten_thousand_connections_are_served_in_bounded_memory() {
    const CONNECTIONS: usize = 10_000;
    const AT_ONCE: usize = 100;
    allow_files(CONNECTIONS as u64 + 500);
    let server = Server::builder().start();
    let before = resident_bytes(server.pid());
    let mut sockets = Vec::new();
    while sockets.len() < CONNECTIONS {
        let first = sockets.len();
        for _ in 0..AT_ONCE {
            let mut socket = TcpStream::connect(server.address()).unwrap();
            socket.write_all(&handshake_frame()).unwrap();
            sockets.push(socket);
        }
        for socket in &mut sockets[first..] {
            let response = ConnectResponse::decode(&read_frame(socket)).unwrap();
            assert_ne!(response.session_id, SessionId(0));
        }
    }
    for socket in sockets.iter_mut().step_by(97) {
        let mut exists = Vec::new();
        client::encode_request(&mut exists, Xid(1), &Request::Exists(ReadRequest { path: "/", watch: true }));
        socket.write_all(&exists).unwrap();
        let reply = read_frame(socket);
        assert_eq!(&reply[12..16], [0; 4], "no error");
    }
    let words = client::four_letter_word(server.address(), "mntr", Duration::from_secs(10)).unwrap();
    let alive = words.lines().find_map(|line| line.strip_prefix("zk_num_alive_connections\t")).unwrap();
    // The connection that asks may be counted itself, as in ZooKeeper.
    let alive: usize = alive.parse().unwrap();
    assert!((CONNECTIONS..=CONNECTIONS + 1).contains(&alive), "{alive} connections");
    let after = resident_bytes(server.pid());
    println!("10,000 connections: {} MiB before, {} MiB with them", before / MIB, after / MIB);
    assert!(after < 400 * MIB, "{} MiB", after / MIB);
    drop(sockets);
    serves(&server);
}

#[test]
fn a_large_znode_many_times_in_one_multi_read_is_an_error_in_bounded_memory() {
    const DATA_BYTES: usize = 512 << 10;
    /// As many as one request can ask for: 30 GB if all were sent.
    const READS: usize = 60_000;
    let server = Server::builder().set("ringkeeper.replyBytesMax", "4194304").start();
    let mut client = connect(&server);
    client.create("/a", &vec![b'x'; DATA_BYTES], CreateMode::Persistent).unwrap();
    let mut ask = |count: usize| {
        let op = MultiOp::GetData(ReadRequest { path: "/a", watch: false });
        client.queue(&Request::MultiRead(MultiRequest { ops: vec![op; count] }));
        client.flush().unwrap();
        client.recv_reply().unwrap().code().unwrap()
    };
    assert_eq!(ask(7), ErrorCode::Ok, "3.5 MiB");
    for _ in 0..3 {
        assert_eq!(ask(READS), ErrorCode::SystemError);
    }
    assert_eq!(ask(7), ErrorCode::Ok, "connection and session are as they were");
    let peak = memory_bytes(server.pid(), "VmHWM:");
    assert!(peak < 400 * MIB, "{} MiB", peak / MIB);
    serves(&server);
}

#[test]
fn random_bytes_on_two_thousand_connections_leave_a_server_that_serves() {
    const CONNECTIONS: usize = 2_000;
    const AT_ONCE: usize = 50;
    let seed =
        std::env::var("RK_FUZZ_SEED").map_or_else(|_| u64::from(std::process::id()), |text| text.parse().unwrap());
    println!("RK_FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let mut server = Server::builder().start();
    let mut honest = connect(&server);
    for _ in 0..CONNECTIONS / AT_ONCE {
        let mut sockets: Vec<TcpStream> = (0..AT_ONCE)
            .map(|_| {
                let mut socket = TcpStream::connect(server.address()).unwrap();
                socket.write_all(&handshake_frame()).unwrap();
                socket
            })
            .collect();
        for socket in &mut sockets {
            read_frame(socket);
            // Closed already? Then the server has seen enough.
            let _refused = socket.write_all(&random_requests(&mut random));
        }
        drop(sockets);
        honest.ping().unwrap();
    }
    assert!(server.ended().is_none());
    assert!(!server.log().contains("panicked"), "{}", server.log());
    serves(&server);
}

/// Bytes of no form, or frames with a real operation and a random body, some of them with a path in front.
fn random_requests(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    if random.below(4) == 0 {
        let length = random.below(300);
        bytes.extend((0..length).map(|_| random.byte()));
        return bytes;
    }
    for _ in 0..random.below(8) {
        let op = OpCode::ALL[usize::try_from(random.below(OpCode::ALL.len() as u64)).unwrap()];
        let mut body = Vec::new();
        if random.below(2) == 0 {
            Writer::new(&mut body).string("/fuzz");
        }
        let length = random.below(80);
        body.extend((0..length).map(|_| if random.below(2) == 0 { 0 } else { random.byte() }));
        jute::frame(&mut bytes, |w| w.raw(&request(Xid(1), op.to_wire(), &body)));
    }
    bytes
}

// ---- those who do not read ------------------------------------------------------------------------------------------------

#[test]
fn a_client_that_never_reads_its_events_is_closed_and_the_others_do_not_notice() {
    // Far more than the sockets' buffers and the limit together.
    const EVENT_BYTES_MAX: u64 = 96 * MIB;
    let server = Server::builder().set("ringkeeper.connectionOutputBytesMax", "1048576").start();
    let mut writer = connect(&server);
    let mut other = connect(&server);
    let long_path = format!("/{}", "x".repeat(8_000));
    writer.create(&long_path, b"", CreateMode::Persistent).unwrap();
    let mut deaf = connect(&server);
    deaf.add_watch("/", true).unwrap();
    let before = resident_bytes(server.pid());
    let mut peak = before;
    let mut latencies = Vec::new();
    let mut events = 0_u64;
    while alive_connections(&server) > 2 {
        for _ in 0..64 {
            writer.queue(&Request::SetData(SetDataRequest { path: &long_path, data: None, version: -1 }));
        }
        writer.flush().unwrap();
        for _ in 0..64 {
            writer.recv_reply().unwrap().ok().unwrap();
        }
        events += 64;
        latencies.push(timed(&mut other));
        peak = peak.max(resident_bytes(server.pid()));
        let bytes = events * long_path.len() as u64;
        assert!(bytes < EVENT_BYTES_MAX, "{events} events were not read, and the connection is still open");
    }
    println!("closed after {events} events; {} MiB before, {} MiB at most", before / MIB, peak / MIB);
    assert!(peak - before < 64 * MIB, "{} MiB more", (peak - before) / MIB);
    assert_swift(latencies);
    // What was sent before arrives, then the end.
    deaf.wait_closed().unwrap();
}

#[test]
fn a_client_that_never_reads_its_replies_is_throttled_and_gets_them_all_later() {
    const REQUESTS: usize = 250;
    let server = Server::builder().set("ringkeeper.connectionOutputBytesMax", "4194304").start();
    let data = vec![b'd'; 1_000_000];
    let mut other = connect(&server);
    other.create("/large", &data, CreateMode::Persistent).unwrap();
    let mut deaf = connect(&server);
    let before = resident_bytes(server.pid());
    for _ in 0..REQUESTS {
        deaf.queue(&Request::GetData(ReadRequest { path: "/large", watch: false }));
    }
    deaf.flush().unwrap();
    let mut peak = before;
    let mut latencies = Vec::new();
    for _ in 0..200 {
        latencies.push(timed(&mut other));
        peak = peak.max(resident_bytes(server.pid()));
    }
    println!("{REQUESTS} MB asked for and not read: {} MiB before, {} MiB at most", before / MIB, peak / MIB);
    assert!(peak - before < 64 * MIB, "{} MiB more", (peak - before) / MIB);
    assert_swift(latencies);
    for nth in 0..REQUESTS {
        let reply = deaf.recv_reply().unwrap_or_else(|e| panic!("reply {nth}: {e}"));
        assert!(reply.ok().unwrap().body.len() > data.len());
    }
}

/// A read's and a write's time.
fn timed(client: &mut Connection) -> Duration {
    let started = Instant::now();
    client.exists("/", false).unwrap();
    client.set("/", b"", -1).unwrap();
    started.elapsed()
}

/// Far above what a busy machine takes, far below what waiting for somebody's socket would.
fn assert_swift(mut latencies: Vec<Duration>) {
    latencies.sort();
    let median = latencies[latencies.len() / 2];
    println!("others: median {median:?}, worst {:?}", latencies.last());
    assert!(median < Duration::from_millis(250), "{median:?}");
}

// ---- tools ----------------------------------------------------------------------------------------------------------------

fn open(server: &Server) -> Connection {
    Connection::open(server.address(), &ConnectOptions::default()).unwrap()
}

fn connect(server: &Server) -> Connection {
    Connection::connect(server.address(), &ConnectOptions::default()).unwrap()
}

/// An honest client is served.
fn serves(server: &Server) {
    let mut client = connect(server);
    client.create("/served", b"yes", CreateMode::Persistent).unwrap();
    assert_eq!(client.get("/served", false).unwrap().0, b"yes");
    client.close().unwrap();
}

fn handshake_frame() -> Vec<u8> {
    let hello = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 30_000,
        session_id: SessionId(0),
        password: &[0; PASSWORD_BYTES],
        read_only: Some(false),
    };
    let mut bytes = Vec::new();
    jute::frame(&mut bytes, |w| hello.write(w));
    bytes
}

fn request(xid: Xid, op: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut w = Writer::new(&mut bytes);
    RequestHeader { xid, op }.write(&mut w);
    w.raw(body);
    bytes
}

fn read_frame(socket: &mut TcpStream) -> Vec<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    socket.read_exact(&mut frame).unwrap();
    frame
}

/// Without the one that asks, which ZooKeeper counts too.
fn alive_connections(server: &Server) -> u64 {
    let words = client::four_letter_word(server.address(), "mntr", Duration::from_secs(10)).unwrap();
    let alive = words.lines().find_map(|line| line.strip_prefix("zk_num_alive_connections\t")).unwrap();
    alive.parse::<u64>().unwrap() - 1
}

fn resident_bytes(pid: u32) -> u64 {
    memory_bytes(pid, "VmRSS:")
}

/// This process holds the other ends.
fn allow_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
        assert!(limit.maximum.is_none_or(|maximum| maximum >= count), "this test needs {count} open files");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}
