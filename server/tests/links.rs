//! The quorum port's sockets: between two reactors, and against plain sockets that misbehave.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::turn::{LinkEvent, LinkLimits, LinkLoss, LinkTable};
use proto::quorum::QuorumPacket;
use proto::{LastZxid, Writer};
use ringkeeper_server::bind::BindAttempts;
use ringkeeper_server::links::{LinkOptions, ListenError, PIECE_BYTES, Reactor, own_addresses};
use ringkeeper_server::rt::{Parker, Woken};
use rustix::event::{PollFd, PollFlags};
use zab::LinkId;
use zab::ensemble::{HostPort, Member};

/// Long enough for the busiest machine; a test that runs into it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, as far as its links go.
struct Host {
    reactor: Reactor,
    table: LinkTable,
    events: Vec<LinkEvent>,
    /// Link and zxid of each packet that came.
    packets: Vec<(LinkId, i64)>,
}

fn at(address: SocketAddr) -> HostPort {
    HostPort { host: address.ip().to_string(), port: address.port() }
}

fn options() -> LinkOptions {
    let listen = vec![HostPort { host: "127.0.0.1".into(), port: 0 }];
    let bind = BindAttempts::new(NonZeroU32::new(1));
    LinkOptions { listen, bind, dial_time_max: PATIENCE, close_time_max: PATIENCE }
}

impl Host {
    fn new() -> Host {
        Host::with(&options(), LinkLimits::default())
    }

    fn with(options: &LinkOptions, limits: LinkLimits) -> Host {
        let reactor = Reactor::new(options).unwrap();
        Host { reactor, table: LinkTable::new(limits), events: Vec::new(), packets: Vec::new() }
    }

    fn address(&self) -> SocketAddr {
        self.reactor.addresses()[0]
    }

    fn turn(&mut self) {
        self.reactor.read(&mut self.table);
        self.events.extend(std::iter::from_fn(|| self.table.next_event()));
        for link in self.table.with_input().collect::<Vec<_>>() {
            let mut unread = self.table.take_unread(link).unwrap();
            while let Some(packet) = unread.next_packet().unwrap() {
                self.packets.push((link, packet.zxid.0));
            }
            self.table.put_back(link, unread);
        }
        self.events.extend(std::iter::from_fn(|| self.table.next_event()));
        self.reactor.write(&mut self.table);
    }

    fn run_until(&mut self, is_done: impl FnMut(&Host) -> bool) {
        run_until(&mut [self], one(is_done));
    }

    /// Takes turns until the thread has ended, which no descriptor tells.
    fn run_beside<T>(&mut self, thread: JoinHandle<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() {
            assert!(Instant::now() < deadline, "the other side does not come to its end");
            self.turn();
            std::thread::yield_now();
        }
        thread.join().unwrap()
    }

    /// Takes turns until there is nothing to do; a busy loop never gets there.
    fn rest(&mut self) {
        let mut parker = Parker::with_eventfd(Duration::ZERO).unwrap();
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.reactor.next_look(&self.table, Instant::now()) != Some(Duration::ZERO)
                && parker.wait_or_readable(self.reactor.fd(), Some(Duration::from_millis(50))) == Woken::TimedOut
            {
                return;
            }
        }
        panic!("still not at rest after {TURNS_MAX} turns");
    }

    /// Connects, and waits until the table has it.
    fn connected(&mut self) -> (TcpStream, LinkId) {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.run_until(|host| !host.events.is_empty());
        match self.events.pop() {
            Some(LinkEvent::Accepted(link)) => (stream, link),
            other => panic!("{other:?}"),
        }
    }
}

/// A condition of one host.
fn one(mut is_done: impl FnMut(&Host) -> bool) -> impl FnMut(&[&mut Host]) -> bool {
    move |hosts| is_done(hosts[0])
}

/// All take turns, and sleep when none has anything to do.
fn run_until(hosts: &mut [&mut Host], mut is_done: impl FnMut(&[&mut Host]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        hosts.iter_mut().for_each(|host| host.turn());
        if is_done(hosts) {
            return;
        }
        let now = Instant::now();
        let left = deadline.checked_duration_since(now).expect("what is waited for comes");
        let looks = hosts.iter().filter_map(|host| host.reactor.next_look(&host.table, now));
        let wait = looks.fold(left, Duration::min);
        let mut fds: Vec<_> =
            hosts.iter().map(|host| PollFd::from_borrowed_fd(host.reactor.fd(), PollFlags::IN)).collect();
        rustix::event::poll(&mut fds, Some(&wait.try_into().unwrap())).unwrap();
    }
}

fn packet(zxid: i64, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    QuorumPacket { ty: 2, zxid: LastZxid(zxid), data: Some(data), authinfo: None }.write(&mut Writer::new(&mut bytes));
    bytes
}

fn append(host: &mut Host, link: LinkId, bytes: &[u8]) {
    host.table.output(link).expect("the link is open").extend_from_slice(bytes);
}

#[test]
fn two_servers_exchange_packets_in_order() {
    let (mut leader, mut learner) = (Host::new(), Host::new());
    learner.reactor.dial(vec![at(leader.address())]);
    run_until(&mut [&mut leader, &mut learner], |hosts| hosts.iter().all(|host| !host.events.is_empty()));
    let [LinkEvent::Accepted(down)] = leader.events[..] else { panic!("{:?}", leader.events) };
    let [LinkEvent::Dialled(up)] = learner.events[..] else { panic!("{:?}", learner.events) };
    for zxid in 0..COUNT {
        // Of all lengths, beyond a piece once in a while.
        let len = if zxid % 100 == 0 { 2 * PIECE_BYTES } else { usize::try_from(zxid).unwrap() };
        append(&mut leader, down, &packet(zxid, &vec![7; len]));
        append(&mut learner, up, &packet(-zxid, b""));
    }
    let count = usize::try_from(COUNT).unwrap();
    run_until(&mut [&mut leader, &mut learner], |hosts| hosts.iter().all(|host| host.packets.len() == count));
    assert_eq!(learner.packets, (0..COUNT).map(|zxid| (up, zxid)).collect::<Vec<_>>());
    assert_eq!(leader.packets, (0..COUNT).map(|zxid| (down, -zxid)).collect::<Vec<_>>());

    leader.table.close(down);
    run_until(&mut [&mut leader, &mut learner], |hosts| hosts[1].events.len() == 2);
    assert_eq!(learner.events[1], LinkEvent::Lost(up, LinkLoss::Ended));
    leader.rest();
    learner.rest();
}

#[test]
fn a_slow_reader_fills_its_link_and_the_link_drains_when_it_reads() {
    let mut host = Host::new();
    let (mut stream, link) = host.connected();
    let sent = packet(1, &vec![9; 100_000]);
    let mut expected = 0;
    // The kernel may take a good deal more after it has said that it is full.
    while !host.table.is_full(link) {
        append(&mut host, link, &sent);
        expected += sent.len();
        host.turn();
        if host.table.is_full(link) {
            host.rest();
        }
    }
    host.events.clear();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; expected];
        stream.read_exact(&mut got).unwrap();
        // Open until all is over: a link that has ended does not say that it has drained.
        (got, stream)
    });
    host.run_until(|host| !host.events.is_empty());
    assert_eq!(host.events, [LinkEvent::Drained(link)]);
    host.run_until(|host| host.table.to_send(link).is_empty());
    let (got, _stream) = reader.join().unwrap();
    assert!(got.chunks(sent.len()).all(|got| got == sent));
}

#[test]
fn a_reader_that_takes_nothing_is_lost_and_hears_of_it() {
    let mut host = Host::new();
    let (stream, link) = host.connected();
    let sent = packet(1, &vec![9; 100_000]);
    while let Some(output) = host.table.output(link) {
        output.extend_from_slice(&sent);
        host.turn();
    }
    host.turn();
    assert_eq!(host.events, [LinkEvent::Lost(link, LinkLoss::Overflowed)]);
    let end = read_on(&stream).unwrap_err().kind();
    assert_eq!(end, ErrorKind::ConnectionReset);
}

#[test]
fn what_a_peer_sent_before_it_closed_is_read_and_then_its_end() {
    for reset in [false, true] {
        let mut host = Host::new();
        let (mut stream, link) = host.connected();
        let bytes = packet(5, b"data");
        // In pieces, each of which arrives alone.
        for piece in bytes.chunks(3) {
            assert!(host.packets.is_empty());
            stream.write_all(piece).unwrap();
            host.rest();
        }
        assert_eq!(host.packets, [(link, 5)]);
        stream.write_all(&[&packet(6, b""), &bytes[..7]].concat()).unwrap();
        host.run_until(|host| host.packets.len() == 2);
        if reset {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(stream);
        host.run_until(|host| !host.events.is_empty());
        let why = if reset { LinkLoss::Failed(ErrorKind::ConnectionReset) } else { LinkLoss::Ended };
        assert_eq!(
            (&host.packets[..], &host.events[..]),
            (&[(link, 5), (link, 6)][..], &[LinkEvent::Lost(link, why)][..])
        );
        assert!(host.table.output(link).is_none());
    }
}

#[test]
fn a_link_that_is_not_read_does_not_keep_the_core_awake_even_if_its_peer_goes_away() {
    let mut host = Host::new();
    let (mut stream, link) = host.connected();
    host.table.hold(link, true);
    stream.set_nonblocking(true).unwrap();
    let bytes = packet(1, &vec![3; 1 << 20]);
    let mut sent = 0;
    // Until the table, the one socket and the other are full.
    loop {
        match stream.write(&bytes[sent % bytes.len()..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let before = host.table.input_room(link);
                host.rest();
                if before == 0 {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(!host.table.wants_input(link));
    let packets = sent / bytes.len();
    drop(stream);
    host.rest();
    assert!(host.events.is_empty(), "its end comes after what it sent");
    host.table.hold(link, false);
    host.run_until(|host| !host.events.is_empty());
    assert_eq!(host.packets.len(), packets);
    assert_eq!(host.events, [LinkEvent::Lost(link, LinkLoss::Ended)]);
}

#[test]
fn a_closed_link_delivers_what_is_unsent_though_its_peer_talks_on() {
    let mut host = Host::new();
    let (mut stream, link) = host.connected();
    let sent = packet(1, &vec![9; 8 << 20]);
    append(&mut host, link, &sent);
    host.table.close(link);
    let mut talker = stream.try_clone().unwrap();
    let talking = std::thread::spawn(move || {
        // Until it sees that nobody listens any more.
        while talker.write_all(&[1; 10_000]).is_ok() {}
    });
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        let outcome = stream.read_to_end(&mut got).map(|_| got.len());
        let _ = stream.shutdown(std::net::Shutdown::Both);
        outcome
    });
    assert_eq!(host.run_beside(reading).unwrap(), sent.len());
    host.run_beside(talking);
    host.rest();
    assert!(host.events.is_empty() && host.packets.is_empty());
    assert_eq!(host.reactor.next_look(&host.table, Instant::now()), None, "nothing of it is left");
}

#[test]
fn a_closed_link_whose_peer_does_nothing_is_cut_off_in_time() {
    let options = LinkOptions { close_time_max: Duration::from_millis(20), ..options() };
    for unsent in [0, 12 << 20] {
        let mut host = Host::with(&options, LinkLimits::default());
        let (stream, link) = host.connected();
        append(&mut host, link, &vec![0; unsent]);
        host.table.close(link);
        host.turn();
        assert!(host.reactor.next_look(&host.table, Instant::now()).is_some());
        host.run_until(|host| host.reactor.next_look(&host.table, Instant::now()).is_none());
        assert!(host.events.is_empty() && host.table.peer(link).is_none());
        drop(stream);
    }
}

#[test]
fn a_quorum_port_that_is_taken_or_has_no_address_is_an_error_after_the_attempts_and_waited_for_without_a_limit() {
    let holder = TcpListener::bind("127.77.0.1:0").unwrap();
    let taken = at(holder.local_addr().unwrap());
    // Longer than a label may be: it is looked up nowhere.
    let nowhere = HostPort { host: "x".repeat(64), port: 1 };
    let options = |at: &HostPort, attempts| LinkOptions {
        listen: vec![at.clone()],
        bind: BindAttempts::new(NonZeroU32::new(attempts)),
        ..options()
    };
    for own in [&taken, &nowhere] {
        for wanted in [1, 2] {
            let refused = Reactor::new(&options(own, wanted));
            let Err(ListenError::Address { attempts, .. }) = &refused else { panic!("{refused:?}") };
            assert_eq!(*attempts, wanted, "{own:?}");
        }
        let waiting = options(own, 0);
        waiting.bind.is_asked_to_end.store(true, Ordering::Relaxed);
        let stopped = Reactor::new(&waiting);
        assert!(matches!(stopped, Err(ListenError::AskedToEnd)), "{own:?} {stopped:?}");
    }
    let waiting = std::thread::spawn(move || Reactor::new(&options(&taken, 0)).map(drop));
    drop(holder);
    waiting.join().unwrap().unwrap();
    let none = Reactor::new(&LinkOptions { listen: Vec::new(), ..options(&nowhere, 0) });
    assert!(matches!(none, Err(ListenError::None)), "what is not in the configuration is not waited for: {none:?}");
}

#[test]
fn a_server_that_listens_on_all_addresses_is_heard_on_each_whatever_its_line_says() {
    let mut own = Member::parse("a:1:2|b:1:2", true).unwrap();
    for (place, address) in own.addresses.iter_mut().enumerate() {
        // Longer than a label may be: it is looked up nowhere.
        (address.host, address.quorum_port) = ("x".repeat(64 + place), 0);
    }
    let listen = |on_all| LinkOptions { listen: own_addresses(&own, on_all), ..options() };
    let by_line = Reactor::new(&listen(false));
    assert!(matches!(&by_line, Err(ListenError::Address { .. })), "{by_line:?}");

    let mut host = Host::with(&listen(true), LinkLimits::default());
    let addresses = host.reactor.addresses();
    assert_eq!(addresses.len(), 2, "a port each: {addresses:?}");
    let mut streams = Vec::new();
    for port in addresses.iter().map(SocketAddr::port) {
        for ip in ["127.0.0.1", "127.9.8.7", "::1"] {
            streams.push(TcpStream::connect((ip, port)).unwrap_or_else(|error| panic!("{ip}: {error}")));
        }
    }
    host.run_until(|host| host.events.len() == 6);
    let from = |event: &LinkEvent| match event {
        LinkEvent::Accepted(link) => host.table.peer(*link).expect("it stands"),
        other => panic!("{other:?}"),
    };
    let mut from: Vec<SocketAddr> = host.events.iter().map(from).collect();
    let mut ours: Vec<SocketAddr> = streams.iter().map(|stream| stream.local_addr().unwrap()).collect();
    from.sort_unstable();
    ours.sort_unstable();
    assert_eq!(from, ours);
}

#[test]
fn an_aborted_link_is_reset_at_once() {
    let mut host = Host::new();
    let (stream, link) = host.connected();
    append(&mut host, link, b"never sent");
    host.table.abort(link);
    host.turn();
    assert_eq!(read_on(&stream).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_dial_to_a_closed_port_is_answered_and_the_second_address_is_tried() {
    // Nobody is given it who asks for any.
    let closed = "127.0.0.1:1".parse().unwrap();
    let mut host = Host::new();
    host.reactor.dial(vec![at(closed)]);
    host.run_until(|host| !host.events.is_empty());
    assert_eq!(host.events, [LinkEvent::NotDialled]);

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = other.local_addr().unwrap();
    host.reactor.dial(vec![at(closed), at(there)]);
    host.run_until(|host| host.events.len() == 2);
    let LinkEvent::Dialled(link) = host.events[1] else { panic!("{:?}", host.events) };
    assert_eq!(host.table.peer(link), Some(there));
    append(&mut host, link, b"hello");
    host.turn();
    let mut got = [0; 5];
    other.accept().unwrap().0.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
}

#[test]
fn of_several_dials_only_the_newest_is_answered() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut host = Host::new();
    for _ in 0..20 {
        host.reactor.dial(vec![at(first.local_addr().unwrap())]);
        host.reactor.give_up_dial();
        host.reactor.dial(vec![at(first.local_addr().unwrap())]);
        host.reactor.dial(vec![at(second.local_addr().unwrap())]);
        host.run_until(|host| !host.events.is_empty());
        match host.events[..] {
            [LinkEvent::Dialled(link)] => assert_eq!(host.table.peer(link), second.local_addr().ok()),
            // As many threads as may be were still with the earlier ones.
            [LinkEvent::NotDialled] => {}
            ref events => panic!("{events:?}"),
        }
        host.events.clear();
    }
    host.rest();
    assert!(host.events.is_empty());
}

#[test]
fn a_thousand_connections_become_as_many_links_as_there_may_be() {
    const LINKS: u64 = 10;
    const CONNECTIONS: u64 = 1_000;
    let limits = LinkLimits { links_max: usize::try_from(LINKS).unwrap(), ..LinkLimits::default() };
    let mut host = Host::with(&options(), limits);
    let address = host.address();
    let connecting = std::thread::spawn(move || -> Vec<TcpStream> {
        (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect()
    });
    host.run_until(|host| host.reactor.counts().accepted + host.reactor.counts().refused == CONNECTIONS);
    assert_eq!((host.reactor.counts().accepted, host.events.len()), (LINKS, 10));
    host.rest();
    drop(connecting.join().unwrap());
    host.run_until(|host| host.events.len() == 20);
    host.events.clear();
    drop(host.connected());
}

#[test]
fn who_sends_without_end_does_not_keep_the_others_from_their_turn() {
    let mut host = Host::new();
    let (mut loud, loud_link) = host.connected();
    let (mut quiet, quiet_link) = host.connected();
    let talking = std::thread::spawn(move || {
        let bytes = packet(1, &vec![0; 100_000]);
        while loud.write_all(&bytes).is_ok() {}
    });
    host.run_until(|host| host.packets.len() > 10);
    quiet.write_all(&packet(2, b"")).unwrap();
    host.run_until(|host| host.packets.contains(&(quiet_link, 2)));
    host.table.abort(loud_link);
    host.run_beside(talking);
}

/// Reads until there is no more.
fn read_on(mut stream: &TcpStream) -> std::io::Result<usize> {
    stream.read_to_end(&mut Vec::new())
}

const COUNT: i64 = 1_000;
/// More than any of the tests needs, each turn being a piece or an edge.
const TURNS_MAX: usize = 10_000;
