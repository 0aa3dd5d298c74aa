//! Votes from port to port.

use super::raw;
use super::*;
use proto::Epoch;
use proto::election::{Notification, NotificationForm};
use ringkeeper_server::bind::BindAttempts;
use ringkeeper_server::election::StartError;
use std::io::Write;
use std::num::NonZeroU32;
use zab::election::{Election, ElectionOptions};
use zab::{Action, Ms};

#[test]
fn whoever_has_news_first_both_hear_each_other() {
    for first in [1, 2] {
        let (ensemble, _) = servers(2);
        let ports = [Port::of(1, &ensemble), Port::of(2, &ensemble)];
        let (first, second) = (first, 3 - first);
        let port = |id: i64| &ports[usize::try_from(id).unwrap() - 1];
        port(first).send(second, vote(first, 1));
        port(second).hear(first, vote(first, 1));
        port(second).send(first, vote(second, 2));
        port(first).hear(second, vote(second, 2));
        for round in 3..100 {
            port(first).send(second, vote(first, round));
            port(second).hear(first, vote(first, round));
        }
        // No connection took the place of another.
        assert!(ports.iter().all(Port::is_silent));
    }
}

#[test]
fn three_servers_that_begin_at_once_hear_each_other() {
    let (ensemble, _) = servers(3);
    let ports: Vec<Port> = (1..=3).map(|me| Port::of(me, &ensemble)).collect();
    for (me, port) in (1..).zip(&ports) {
        (1..=3).filter(|to| *to != me).for_each(|to| port.send(to, vote(me, 10 * me + to)));
    }
    for (me, port) in (1..).zip(&ports) {
        let mut heard: Vec<i64> = Vec::new();
        while heard.len() < 2 {
            let (from, said) = port.next_vote();
            assert_eq!(said, vote(from, 10 * from + me));
            heard.extend((!heard.contains(&from)).then_some(from));
        }
    }
}

#[test]
fn of_votes_that_could_not_leave_the_newest_arrives() {
    let (ensemble, _) = servers(2);
    let one = Port::of(1, &ensemble);
    for round in 1..=5 {
        one.send(2, vote(1, round));
        if round == 1 {
            assert_eq!(one.next(), reachable(2, false));
        }
    }
    let two = Port::of(2, &ensemble);
    two.send(1, vote(2, 1));
    assert_eq!(two.next(), reachable(1, true));
    assert_eq!(two.next_vote(), (1, vote(1, 5)));
}

#[test]
fn a_server_that_comes_back_hears_the_last_vote_again() {
    let (ensemble, _) = servers(2);
    for (stays, leaves) in [(1, 2), (2, 1)] {
        let port = Port::of(stays, &ensemble);
        let other = Port::of(leaves, &ensemble);
        port.send(leaves, vote(stays, 8));
        other.hear(stays, vote(stays, 8));
        other.stop();
        while port.next() != reachable(leaves, false) {}
        let other = Port::of(leaves, &ensemble);
        other.send(stays, vote(leaves, 1));
        port.hear(leaves, vote(leaves, 1));
        other.hear(stays, vote(stays, 8));
        while !port.is_silent() {}
    }
}

#[test]
fn a_member_that_nobody_answers_for_is_said_to_be_down_at_each_attempt() {
    let (ensemble, _) = servers(3);
    let port = Port::of(2, &ensemble);
    for to in [1, 3, 1] {
        port.send(to, vote(2, 1));
        assert_eq!(port.next(), reachable(to, false));
    }
    // Nobody dials a server that is no member and has not come.
    port.send(9, vote(2, 1));
    port.send(2, vote(2, 1));
    assert!(port.is_silent());
}

#[test]
fn votes_cross_ipv6_and_names() {
    let six: SocketAddr = free("::1".parse().unwrap());
    let four = free(own_ip());
    let text = format!(
        "server.1=localhost:1:{}:participant\nserver.2=[::1]:1:{}:participant\nversion=0",
        four.port(),
        six.port()
    );
    let ensemble = Ensemble::parse(&text).unwrap();
    // The first at every address, so that it is found by whatever localhost is.
    let everywhere = ElectionPortOptions { listen_on_all_ips: true, ..ElectionPortOptions::new(ServerId(1)) };
    let (one, two) = (Port::start(everywhere, &ensemble), Port::of(2, &ensemble));
    one.send(2, vote(1, 1));
    two.hear(1, vote(1, 1));
    two.send(1, vote(2, 2));
    one.hear(2, vote(2, 2));
    raw::connect((Ipv4Addr::new(127, 9, 9, 9), four.port()).into());
    raw::connect(("::1".parse::<IpAddr>().unwrap(), four.port()).into());
}

#[test]
fn a_newer_ensemble_comes_with_the_vote_and_is_said_once_it_is_the_own_one() {
    let (older, _) = servers(2);
    let newer = older.clone().with_version(proto::ConfigVersion(0x1_0000_0000));
    let (one, two) = (Port::of(1, &older), Port::of(2, &newer));
    let heard = |port: &Port, round| loop {
        if let ElectionEvent::Voted { vote: said, newer, .. } = port.next()
            && said.round.0 == round
        {
            return newer.map(|newer| (*newer).clone());
        }
    };
    two.send(1, vote(2, 1));
    assert_eq!(heard(&one, 1), Some(newer.clone()));
    one.send(2, vote(1, 1));
    assert_eq!(heard(&two, 1), None);
    one.set_ensemble(&newer);
    two.send(1, vote(2, 2));
    assert_eq!(heard(&one, 2), None);
}

/// Server 3 of the recording by hand; ours is server 2, which it connects to.
#[test]
fn what_a_real_server_sent_is_heard_and_what_it_was_sent_is_written() {
    let (_, at) = servers(3);
    let greeting = &raw::recorded("initial_message")[0].1;
    let notifications = raw::recorded("notification");
    let text = match Notification::decode(&notifications[0].1).unwrap().form {
        NotificationForm::Config { config, .. } => config,
        form => panic!("{form:?}"),
    };
    let real = Ensemble::parse(text).unwrap();
    let port = Port::of(2, &ensemble(&at));
    port.set_ensemble(&real);
    let of_3: Vec<_> = notifications.iter().filter(|(name, _)| name.contains(".3-")).collect();
    assert!(of_3.len() > 3, "{}", of_3.len());
    let mut socket = raw::connect(at[1]);
    // In pieces, and the first vote with the greeting.
    let first = [&greeting[..], &raw::framed(&of_3[0].1)].concat();
    for piece in first.chunks(7) {
        socket.write_all(piece).unwrap();
    }
    assert_eq!(port.next(), reachable(3, true));
    for (at, (name, bytes)) in of_3.iter().enumerate() {
        if at > 0 {
            raw::framed(bytes).chunks(11).for_each(|piece| socket.write_all(piece).unwrap());
        }
        let expected = Notification::decode(bytes).unwrap();
        let (from, heard) = port.next_vote();
        let fields = (heard.state, heard.leader, heard.zxid, heard.round, heard.peer_epoch);
        let sent = (expected.state, expected.leader, expected.zxid, expected.election_epoch, expected.peer_epoch);
        assert_eq!((from, fields), (3, sent), "{name}");
        if expected.form == NotificationForm::current(text) {
            port.send(3, heard);
            assert_eq!(raw::frame(&socket), *bytes, "{name}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_after_the_attempts_and_waited_for_without_a_limit() {
    let (ensemble, at) = servers(1);
    let holder = TcpListener::bind(at[0]).unwrap();
    let options = |attempts| {
        let bind = BindAttempts::new(NonZeroU32::new(attempts));
        ElectionPortOptions { bind, ..ElectionPortOptions::new(ServerId(1)) }
    };
    let refused = ElectionPort::start(options(1), &ensemble, || {});
    assert!(matches!(&refused, Err(StartError::Bind { attempts: 1, .. })), "{refused:?}");
    let stopped = options(0);
    stopped.bind.is_asked_to_end.store(true, Ordering::Relaxed);
    let stopped = ElectionPort::start(stopped, &ensemble, || {});
    assert!(matches!(&stopped, Err(StartError::AskedToEnd)), "{stopped:?}");
    let waiting = std::thread::spawn(move || ElectionPort::start(options(0), &ensemble, || {}).map(drop));
    drop(holder);
    waiting.join().unwrap().unwrap();
    assert!(matches!(ElectionPort::start(options(1), &Ensemble::default(), || {}), Err(StartError::NotAMember(_))));
}

/// One server's election over its port.
struct Elector {
    port: Port,
    election: Election,
    ensemble: Ensemble,
    began: Instant,
}

impl Elector {
    fn step(&mut self, step: impl FnOnce(&mut Election, Ms, &Ensemble, &mut Vec<Action>)) {
        let mut out = Vec::new();
        let now = Ms::try_from(self.began.elapsed().as_millis()).unwrap();
        step(&mut self.election, now, &self.ensemble, &mut out);
        for action in out {
            let Action::Vote { to, vote } = action else { panic!("{action:?}") };
            self.port.port.send(to, vote);
        }
    }

    /// Votes until somebody is elected.
    fn elect(mut self, last: i64) -> (ServerId, Elector) {
        self.step(|election, now, ensemble, out| election.look(now, ensemble, LastZxid(last), Epoch(0), out));
        while self.election.elected().is_none() {
            match self.port.port.take_event() {
                Some(ElectionEvent::Voted { from, vote, .. }) => {
                    self.step(|election, now, ensemble, out| election.voted(now, ensemble, from, vote, out));
                }
                Some(ElectionEvent::Reachable { server, is_up }) => {
                    self.step(|election, now, ensemble, out| election.reachable(now, ensemble, server, is_up, out));
                }
                None => {
                    // However long: the election says its vote again in time.
                    let _rung = self.port.rung.recv_timeout(Duration::from_millis(10));
                    self.step(|election, now, ensemble, out| election.tick(now, ensemble, out));
                }
            }
        }
        (self.election.elected().unwrap(), self)
    }
}

#[test]
fn three_elections_over_their_ports_elect_the_server_with_the_newest_history() {
    let (ensemble, _) = servers(3);
    // A server that does not listen yet is known to be unreachable, and would not be waited for.
    let ports: Vec<Port> = (1..=3).map(|me| Port::of(me, &ensemble)).collect();
    // On a busy machine the best of them may not have a turn for longer than a vote is waited for; where all have voted nobody waits.
    let election_options = ElectionOptions { finalize_wait_ms: 10_000, ..ElectionOptions::default() };
    let electors = (1..=3).zip([5, 9, 7]).zip(ports).map(|((me, last), port)| {
        let election = Election::new(ServerId(me), election_options);
        let elector = Elector { port, election, ensemble: ensemble.clone(), began: Instant::now() };
        std::thread::spawn(move || elector.elect(last))
    });
    // All begin before one is waited for; ports live until all have elected.
    let electors: Vec<_> = electors.collect();
    let elected: Vec<_> = electors.into_iter().map(|elector| elector.join().unwrap()).collect();
    let leaders: Vec<i64> = elected.iter().map(|(leader, _)| leader.0).collect();
    assert_eq!(leaders, [2; 3]);
}
