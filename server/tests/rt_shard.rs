//! The seam's promises about connections, for every backend: order, back-pressure, closing, handing over, wake-ups, listeners.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod rt_support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringkeeper_server::rt::{Backend, CloseReason, Error, ShardConfig, spawn_shard};
use rt_support::{
    ECHO, Event, Manners, PATIENCE, QUIET, TestShard, check_echo, config, end_writing, pattern, read_to_end,
};

for_each_backend!(
    echoes,
    pipelined_bytes_come_back_in_order,
    a_slow_reader_holds_up_only_itself,
    a_paused_connection_is_not_received_from,
    a_pause_over_unsent_bytes_can_be_lifted,
    close_after_flush_delivers_every_byte,
    close_after_flush_survives_a_peer_that_still_sends,
    a_peer_that_takes_nothing_is_cut_off,
    abort_resets,
    commands_for_the_dead_are_ignored,
    every_close_is_told_once,
    a_refused_connection_is_closed_at_once,
    a_half_closed_peer_can_still_be_answered,
    a_detached_socket_works_elsewhere,
    accepted_sockets_have_nodelay,
    wakes_at_the_earliest_time,
    a_slot_is_reused_under_another_generation,
    two_shards_share_a_port,
    an_address_in_use_is_a_typed_error,
    ipv6_listens,
    a_stop_closes_what_is_left,
    a_shard_without_listeners_runs,
);

fn echoes(backend: Backend) {
    let shard = TestShard::start(backend, ECHO);
    let mut client = shard.connect();
    for size in [1, 2, 100, 16 * 1024, 16 * 1024 + 1, 300_000] {
        let bytes = pattern(size);
        let mut writer = client.try_clone().unwrap();
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut back = vec![0; size];
        client.read_exact(&mut back).unwrap();
        sender.join().unwrap();
        assert!(back == bytes, "{size} bytes come back unchanged");
    }
}

fn pipelined_bytes_come_back_in_order(backend: Backend) {
    let shard = TestShard::start(backend, ECHO);
    let clients: Vec<_> = (0u8..4)
        .map(|n| {
            let mut client = shard.connect();
            std::thread::spawn(move || {
                let mut writer = client.try_clone().unwrap();
                let bytes: Vec<u8> = pattern(200_000).iter().map(|b| b ^ n).collect();
                let sent = bytes.clone();
                let sender = std::thread::spawn(move || {
                    for piece in sent.chunks(77) {
                        writer.write_all(piece).unwrap();
                    }
                });
                let mut back = vec![0; bytes.len()];
                client.read_exact(&mut back).unwrap();
                sender.join().unwrap();
                assert!(back == bytes, "client {n} gets its own bytes in order");
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

/// More than the kernel's socket buffers hold on both sides together.
const MORE_THAN_SOCKETS_HOLD: usize = 32 << 20;

fn a_slow_reader_holds_up_only_itself(backend: Backend) {
    let shard = TestShard::start(backend, ECHO);
    let (mut slow, conn) = shard.connect_known();
    let bytes = pattern(MORE_THAN_SOCKETS_HOLD);
    let sent = bytes.clone();
    shard.run(move |io| io.send(conn, &mut { sent }));
    let unsent = shard.run(move |io| io.unsent_bytes(conn));
    assert!(unsent > 0 && unsent < MORE_THAN_SOCKETS_HOLD, "the socket took a part: {unsent} unsent");
    // Meanwhile others are served, and more may be queued behind it.
    check_echo(&mut shard.connect(), b"not held up");
    shard.run(move |io| io.send(conn, &mut b"tail".to_vec()));
    assert!(shard.run(move |io| io.detach(conn)).is_none(), "a connection with unsent bytes is not detached");
    let mut got = vec![0; MORE_THAN_SOCKETS_HOLD + 4];
    slow.read_exact(&mut got).unwrap();
    assert!(got[..MORE_THAN_SOCKETS_HOLD] == bytes[..] && &got[MORE_THAN_SOCKETS_HOLD..] == b"tail");
    assert_eq!(shard.run(move |io| io.unsent_bytes(conn)), 0);
}

fn a_paused_connection_is_not_received_from(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (mut client, conn) = shard.connect_known();
    client.write_all(b"first").unwrap();
    assert_eq!(shard.collect(5), b"first");
    shard.run(move |io| io.pause_recv(conn));
    // The command is carried out at the end of its turn; a second turn is after it, and its completions are in order.
    shard.run(|_| ());
    let bytes = pattern(MORE_THAN_SOCKETS_HOLD);
    let (sent, mut writer) = (bytes.clone(), client.try_clone().unwrap());
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let written = write_until_full(&mut writer, &sent);
    assert!(written < bytes.len(), "back-pressure reaches the client");
    assert_eq!(shard.events.try_iter().count(), 0, "nothing is received while paused");
    client.set_write_timeout(None).unwrap();
    shard.run(move |io| io.resume_recv(conn));
    let rest = sent[written..].to_vec();
    let sender = std::thread::spawn(move || writer.write_all(&rest).unwrap());
    assert!(shard.collect(bytes.len()) == bytes, "nothing was lost over the pause");
    sender.join().unwrap();
}

fn write_until_full(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    written
}

fn a_pause_over_unsent_bytes_can_be_lifted(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (mut client, conn) = shard.connect_known();
    // Both in one turn: the bytes are unsent when the handler looks, and gone at the turn's end. It must hear of that.
    let asked = shard.run(move |io| {
        io.send(conn, &mut b"short".to_vec());
        assert_eq!(io.unsent_bytes(conn), 5);
        io.pause_recv(conn);
        io.now()
    });
    let mut got = [0; 5];
    client.read_exact(&mut got).unwrap();
    shard.turn_from(asked + Duration::from_nanos(1));
    assert_eq!(shard.run(move |io| io.unsent_bytes(conn)), 0);
}

fn close_after_flush_delivers_every_byte(backend: Backend) {
    let shard = TestShard::start_with(backend, QUIET, ShardConfig { close_wait: PATIENCE, ..config() });
    let (client, conn) = shard.connect_known();
    let bytes = pattern(MORE_THAN_SOCKETS_HOLD);
    let sent = bytes.clone();
    shard.run(move |io| {
        io.send(conn, &mut { sent });
        io.close_after_flush(conn);
        io.send(conn, &mut b"too late".to_vec());
    });
    assert!(read_to_end(&client).unwrap() == bytes, "all bytes, then the end");
    assert_eq!(shard.closed(), (conn, CloseReason::ByHandler));
}

fn close_after_flush_survives_a_peer_that_still_sends(backend: Backend) {
    let shard = TestShard::start_with(backend, QUIET, ShardConfig { close_wait: PATIENCE, ..config() });
    let (mut client, conn) = shard.connect_known();
    shard.run(move |io| io.pause_recv(conn));
    // These lie unread in the shard's socket when it closes: a plain close would answer with a reset, and the reply be lost.
    client.write_all(&pattern(100_000)).unwrap();
    let bytes = pattern(200_000);
    let sent = bytes.clone();
    shard.run(move |io| {
        io.send(conn, &mut { sent });
        io.close_after_flush(conn);
    });
    assert_eq!(shard.closed(), (conn, CloseReason::ByHandler));
    client.write_all(&pattern(100_000)).unwrap();
    assert!(read_to_end(&client).unwrap() == bytes);
}

fn a_peer_that_takes_nothing_is_cut_off(backend: Backend) {
    let wait = Duration::from_millis(50);
    let shard = TestShard::start_with(backend, QUIET, ShardConfig { close_wait: wait, ..config() });
    let (client, conn) = shard.connect_known();
    shard.run(move |io| {
        io.send(conn, &mut pattern(MORE_THAN_SOCKETS_HOLD));
        io.close_after_flush(conn);
    });
    assert_eq!(shard.closed(), (conn, CloseReason::FlushTimedOut));
    assert_eq!(read_to_end(&client).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn abort_resets(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (client, conn) = shard.connect_known();
    shard.run(move |io| io.abort(conn));
    assert_eq!(shard.closed(), (conn, CloseReason::ByHandler));
    assert_eq!(read_to_end(&client).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn commands_for_the_dead_are_ignored(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (client, conn) = shard.connect_known();
    drop(client);
    assert_eq!(shard.closed(), (conn, CloseReason::Eof));
    shard.run(move |io| {
        let mut bytes = b"for nobody".to_vec();
        io.send(conn, &mut bytes);
        assert!(bytes.is_empty(), "the buffer can be used again");
        io.pause_recv(conn);
        io.resume_recv(conn);
        io.close_after_flush(conn);
        io.abort(conn);
        assert_eq!(io.unsent_bytes(conn), 0);
        assert!(io.detach(conn).is_none());
    });
    assert!(shard.stop().try_iter().next().is_none(), "its close was told before, and only once");
}

fn every_close_is_told_once(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (by_peer, first) = shard.connect_known();
    let (_by_handler, second) = shard.connect_known();
    let (_by_abort, third) = shard.connect_known();
    let (_by_stop, fourth) = shard.connect_known();
    drop(by_peer);
    assert_eq!(shard.closed(), (first, CloseReason::Eof));
    shard.run(move |io| {
        io.close_after_flush(second);
        io.close_after_flush(second);
        io.abort(second);
        io.abort(third);
        io.abort(third);
    });
    let mut told: Vec<_> = [shard.closed(), shard.closed()].to_vec();
    told.sort_by_key(|(conn, _)| *conn);
    assert_eq!(told, [(second, CloseReason::ByHandler), (third, CloseReason::ByHandler)]);
    let rest: Vec<_> = shard.stop().try_iter().collect();
    assert_eq!(rest, [Event::Closed(fourth, CloseReason::ShardStopped)]);
}

fn a_refused_connection_is_closed_at_once(backend: Backend) {
    let shard = TestShard::start(backend, Manners { refuse: true, ..QUIET });
    let client = shard.connect();
    assert_eq!(read_to_end(&client).unwrap(), b"");
    assert!(matches!(shard.next(), Event::Accepted(..)));
    assert!(shard.stop().try_iter().next().is_none(), "no close is told of a refused connection");
}

fn a_half_closed_peer_can_still_be_answered(backend: Backend) {
    let shard = TestShard::start(backend, Manners { keep_after_eof: true, ..QUIET });
    let (mut client, conn) = shard.connect_known();
    client.write_all(b"ruok").unwrap();
    end_writing(&client);
    assert_eq!(shard.collect(4), b"ruok");
    assert_eq!(shard.next(), Event::Eof(conn));
    shard.run(move |io| {
        io.send(conn, &mut b"imok".to_vec());
        io.close_after_flush(conn);
    });
    assert_eq!(read_to_end(&client).unwrap(), b"imok");
    assert_eq!(shard.closed(), (conn, CloseReason::ByHandler));
}

fn a_detached_socket_works_elsewhere(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (mut client, conn) = shard.connect_known();
    client.write_all(b"stat").unwrap();
    assert_eq!(shard.collect(4), b"stat");
    let mut socket = TcpStream::from(shard.run(move |io| io.detach(conn)).unwrap());
    let events = shard.stop();
    socket.write_all(b"Zookeeper version").unwrap();
    let mut got = [0; 17];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"Zookeeper version");
    client.write_all(b"more").unwrap();
    let mut more = [0; 4];
    // It waits: the socket is in blocking mode.
    socket.read_exact(&mut more).unwrap();
    assert_eq!(&more, b"more");
    drop(socket);
    assert_eq!(read_to_end(&client).unwrap(), b"");
    assert!(events.try_iter().next().is_none(), "a detached connection's close is not told");
}

fn accepted_sockets_have_nodelay(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (_client, conn) = shard.connect_known();
    let socket = TcpStream::from(shard.run(move |io| io.detach(conn)).unwrap());
    assert!(socket.nodelay().unwrap());
}

fn wakes_at_the_earliest_time(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (asked, wanted) = shard.run(|io| {
        let wanted = io.now() + Duration::from_millis(30);
        io.wake_at(io.now() + Duration::from_secs(3600));
        io.wake_at(wanted);
        io.wake_at(io.now() + Duration::from_secs(600));
        (io.now(), wanted)
    });
    shard.turn_from(wanted);
    let early = shard.turns().iter().filter(|turn| **turn > asked && **turn < wanted).count();
    assert!(early <= 1, "{early} turns before their time");
}

fn a_slot_is_reused_under_another_generation(backend: Backend) {
    let shard = TestShard::start(backend, QUIET);
    let (client, first) = shard.connect_known();
    drop(client);
    assert_eq!(shard.closed(), (first, CloseReason::Eof));
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The slot is free once the kernel is done with it; that is soon, not at once.
        let (client, next) = shard.connect_known();
        assert_ne!(next, first);
        if next.slot == first.slot {
            break;
        }
        drop(client);
        shard.closed();
        assert!(Instant::now() < deadline, "slots are reused");
    }
}

fn two_shards_share_a_port(backend: Backend) {
    let first = TestShard::start(backend, ECHO);
    let second = TestShard::start_with(backend, ECHO, ShardConfig { listen: vec![first.addr()], ..config() });
    assert_eq!(first.addr(), second.addr());
    let mut clients = Vec::new();
    let (mut by_first, mut by_second) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while by_first == 0 || by_second == 0 {
        assert!(Instant::now() < deadline, "the kernel spreads connections: {by_first} and {by_second}");
        let mut client = first.connect();
        check_echo(&mut client, b"who serves me?");
        clients.push(client);
        by_first += first.events.try_iter().count();
        by_second += second.events.try_iter().count();
    }
    assert_eq!(by_first + by_second, clients.len());
}

fn an_address_in_use_is_a_typed_error(backend: Backend) {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let shard = spawn_shard(ShardConfig { listen: vec![addr], ..config() }, backend, |_| Never);
    let error = shard.expect_err("somebody else listens there");
    assert!(matches!(error, Error::AddressInUse { addr: named } if named == addr), "{error:?}");
    assert!(error.to_string().contains(&addr.to_string()));
}

struct Never;

impl ringkeeper_server::rt::Handler for Never {
    fn on_accept(
        &mut self,
        _: ringkeeper_server::rt::ConnId,
        _: std::net::SocketAddr,
    ) -> ringkeeper_server::rt::Accept {
        ringkeeper_server::rt::Accept::Refuse
    }
    fn on_recv(&mut self, _: ringkeeper_server::rt::ConnId, _: &[u8]) {}
    fn on_close(&mut self, _: ringkeeper_server::rt::ConnId, _: CloseReason) {}
    fn on_turn(&mut self, _: &mut ringkeeper_server::rt::Io<'_>) {}
}

fn ipv6_listens(backend: Backend) {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else {
        return; // A host without IPv6 has nothing to test.
    };
    drop(probe);
    let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let handle = spawn_shard(ShardConfig { listen, ..config() }, backend, |_| Never).unwrap();
    assert!(handle.addrs()[0].is_ipv4() && handle.addrs()[1].is_ipv6());
    for addr in handle.addrs() {
        assert_ne!(addr.port(), 0);
        let client = TcpStream::connect(addr).unwrap();
        assert_eq!(read_to_end(&client).unwrap(), b"", "served, that is refused");
    }
    handle.ask_stop();
    handle.join().unwrap();
}

fn a_stop_closes_what_is_left(backend: Backend) {
    // An address that no other test listens on: its port may be given to one of them as soon as it is free.
    let alone = match backend {
        Backend::Glommio => "127.0.0.2:0",
        Backend::Ring => "127.0.0.3:0",
    };
    let listen = vec![alone.parse().unwrap()];
    let shard = TestShard::start_with(backend, QUIET, ShardConfig { listen, ..config() });
    let (client, conn) = shard.connect_known();
    let (blocked, second) = shard.connect_known();
    let addr = shard.addr();
    let doorbell = shard.doorbell.clone();
    shard.run(move |io| {
        io.send(conn, &mut b"last words".to_vec());
        io.send(second, &mut pattern(MORE_THAN_SOCKETS_HOLD));
        io.stop();
    });
    let mut told: Vec<_> = shard.stop().try_iter().collect();
    told.sort_by_key(|event| match event {
        Event::Closed(conn, _) => conn.slot,
        _ => u32::MAX,
    });
    let stopped = |conn| Event::Closed(conn, CloseReason::ShardStopped);
    assert_eq!(told, [stopped(conn), stopped(second)]);
    assert_eq!(read_to_end(&client).unwrap(), b"last words", "what the last turn sent has left");
    assert_eq!(read_to_end(&blocked).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // The kernel takes glommio's ring apart, and the accept in it, in its own time.
    let deadline = Instant::now() + if backend == Backend::Glommio { PATIENCE } else { Duration::ZERO };
    let refused = loop {
        match TcpStream::connect(addr) {
            Ok(_) if Instant::now() < deadline => std::thread::yield_now(),
            // It was taken in, and is gone with the listener.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && Instant::now() < deadline => {}
            outcome => break outcome,
        }
    };
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused, "it listens no more");
    doorbell.ring();
}

fn a_shard_without_listeners_runs(backend: Backend) {
    let shard = TestShard::start_with(backend, QUIET, ShardConfig { listen: Vec::new(), ..config() });
    assert_eq!(shard.run(|_| 7), 7);
}
