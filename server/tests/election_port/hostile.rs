//! Bytes that nobody should send: each costs one connection, and the servers vote on.

use super::raw;
use super::*;
use std::io::Write;
use std::net::TcpStream;

/// Ours is server 2; 3 is by hand, 1 a port.
struct Stand {
    port: Port,
    other: Port,
    at: Vec<SocketAddr>,
    round: i64,
}

impl Stand {
    fn new(greeting_timeout: Duration) -> Stand {
        let (ensemble, at) = servers(3);
        let options = ElectionPortOptions { greeting_timeout, ..ElectionPortOptions::new(ServerId(2)) };
        Stand { port: Port::start(options, &ensemble), other: Port::of(1, &ensemble), at, round: 0 }
    }

    /// The servers hear each other.
    fn votes(&mut self) {
        self.round += 1;
        self.other.send(2, vote(1, self.round));
        self.port.hear(1, vote(1, self.round));
        self.port.send(1, vote(2, self.round));
        self.other.hear(2, vote(2, self.round));
    }
}

#[test]
fn what_is_no_greeting_ends_its_connection() {
    let mut stand = Stand::new(Duration::from_secs(3600));
    let long = |value: i64| value.to_be_bytes();
    let of = |version: i64, length: i32| [&long(version)[..], &long(3), &length.to_be_bytes()].concat();
    let greetings = [
        long(-1).to_vec(),
        long(i64::MIN).to_vec(),
        b"ruok\n\0\0\0".to_vec(),
        of(-65536, 0),
        of(-65536, -1),
        of(-65535, i32::MIN),
        of(-65535, i32::MAX),
        of(-65536, 2049),
        [of(-65536, 4), b"\xff\xff\xff\xff".to_vec()].concat(),
        [of(-65536, 1), b"a".to_vec()].concat(),
    ];
    for greeting in greetings {
        let mut socket = raw::connect(stand.at[1]);
        socket.write_all(&greeting).unwrap();
        if greeting.starts_with(b"ruok") {
            // It reads as an id, of a server that nobody can call back, or that may connect.
            drop(socket);
            continue;
        }
        raw::ends(&socket);
    }
    stand.votes();
}

#[test]
fn who_says_nothing_or_half_a_greeting_is_not_waited_for() {
    let mut stand = Stand::new(Duration::from_millis(300));
    let whole = raw::greeting(ServerId(3), "x:1");
    let sockets: Vec<TcpStream> = [0, 1, 8, 17, whole.len() - 1]
        .map(|sent| {
            let mut socket = raw::connect(stand.at[1]);
            socket.write_all(&whole[..sent]).unwrap();
            socket
        })
        .into();
    stand.votes();
    sockets.iter().for_each(raw::ends);
    stand.votes();
}

#[test]
fn what_is_no_frame_ends_its_connection_and_what_is_no_vote_does_not() {
    let mut stand = Stand::new(Duration::from_secs(3600));
    let good = raw::framed(&raw::recorded("notification")[0].1);
    for length in [0, -1, i32::MIN, i32::MAX, 512 * 1024 + 1] {
        let mut socket = raw::connect_as(stand.at[1], 3, "x:1");
        socket.write_all(&[&good[..], &length.to_be_bytes()].concat()).unwrap();
        raw::ends(&socket);
        assert_eq!(stand.port.next_vote().0, 3);
        while stand.port.next() != reachable(3, false) {}
    }
    let mut socket = raw::connect_as(stand.at[1], 3, "x:1");
    for no_vote in [vec![0; 1], vec![0; 27], vec![9; 28], vec![0xff; 44], vec![0xff; 512 * 1024]] {
        socket.write_all(&raw::framed(&no_vote)).unwrap();
    }
    let mut huge = good[4..].to_vec();
    huge[40..44].copy_from_slice(&i32::MAX.to_be_bytes());
    socket.write_all(&raw::framed(&huge)).unwrap();
    socket.write_all(&good).unwrap();
    assert_eq!(stand.port.next_vote().0, 3);
    stand.votes();
}

#[test]
fn two_hundred_connections_at_once_keep_nobody_from_voting() {
    let mut stand = Stand::new(Duration::from_secs(3600));
    let silent: Vec<TcpStream> = (0..200).map(|_| raw::connect(stand.at[1])).collect();
    stand.votes();
    // The oldest went for the newest.
    silent[..100].iter().for_each(raw::ends);
    let greeting: Vec<TcpStream> = (0..200_i64).map(|at| raw::connect_as(stand.at[1], 3 + at % 100, "x:1")).collect();
    stand.votes();
    let members = greeting.len();
    drop(greeting);
    assert_eq!(members, 200);
    stand.votes();
}

#[test]
fn who_does_not_read_does_not_hold_up_the_others() {
    let mut stand = Stand::new(Duration::from_secs(3600));
    let deaf = raw::connect_as(stand.at[1], 3, "x:1");
    while stand.port.next() != reachable(3, true) {}
    // More than the kernel's buffers take.
    for round in 0..20_000 {
        stand.port.send(3, vote(2, round));
    }
    stand.votes();
    drop(deaf);
}
