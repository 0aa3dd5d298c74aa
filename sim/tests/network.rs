//! What the simulated network promises, and what it may do.

use ringkeeper_sim::world::chance::Chance;
use ringkeeper_sim::world::network::{ConnId, Fuses, Host, NetEvent, Network, NetworkOptions, Pace, Port, Side};
use ringkeeper_sim::world::time::{Micros, Time};

const A: Host = Host(1);
const B: Host = Host(2);
const PORT: Port = Port(2181);

struct Net {
    network: Network,
    now: Time,
    heard: Vec<(Time, NetEvent)>,
}

impl Net {
    fn new(seed: u64) -> Net {
        let options = NetworkOptions { split_percent: 30, ..NetworkOptions::default() };
        let mut network = Network::new(options, Chance::stream(seed, "network"));
        network.listen(B, PORT);
        Net { network, now: Time(0), heard: Vec::new() }
    }

    /// Lets everything happen up to then.
    fn run_for(&mut self, time: Micros) {
        let until = self.now + time;
        while let Some(at) = self.network.next_at().filter(|at| *at <= until) {
            let event = self.network.step();
            self.heard.extend(event.map(|event| (at, event)));
        }
        self.now = until;
    }

    fn connected(seed: u64) -> (Net, ConnId) {
        let mut net = Net::new(seed);
        let conn = net.network.dial(net.now, A, B, PORT);
        net.run_for(Micros::s(1));
        let events: Vec<NetEvent> = net.take().into_iter().map(|(_, event)| event).collect();
        assert_eq!(
            events,
            [NetEvent::Accepted { conn, at: B, port: PORT, from: A }, NetEvent::Connected { conn, at: A }]
        );
        (net, conn)
    }

    fn take(&mut self) -> Vec<(Time, NetEvent)> {
        std::mem::take(&mut self.heard)
    }

    /// The bytes that came to a side, and whether it was closed after them.
    fn came(&mut self, to: Side) -> (Vec<u8>, bool) {
        let (mut all, mut is_closed) = (Vec::new(), false);
        for (_, event) in self.take() {
            match event {
                NetEvent::Arrived { side, bytes, .. } if side == to => {
                    assert!(!is_closed, "bytes after the end");
                    all.extend(bytes);
                }
                NetEvent::Closed { side, .. } if side == to => is_closed = true,
                _ => {}
            }
        }
        (all, is_closed)
    }
}

#[test]
fn bytes_arrive_in_order_and_before_the_close_whatever_the_delays() {
    for seed in 0..50 {
        let (mut net, conn) = Net::connected(seed);
        let sent: Vec<u8> = (0..200).collect();
        for piece in sent.chunks(7) {
            net.network.send(net.now, conn, Side::Dialler, piece);
            net.run_for(Micros(50));
        }
        net.network.close(net.now, conn, Side::Dialler);
        net.run_for(Micros::s(1));
        assert_eq!(net.came(Side::Acceptor), (sent, true), "seed {seed}");
    }
}

#[test]
fn a_partition_of_one_way_holds_up_that_way_alone_and_heals() {
    let (mut net, conn) = Net::connected(1);
    net.network.block(A, B);
    net.network.send(net.now, conn, Side::Dialler, b"one");
    net.network.send(net.now, conn, Side::Acceptor, b"other");
    net.run_for(Micros::s(5));
    assert_eq!(net.came(Side::Dialler), (b"other".to_vec(), false));
    net.network.send(net.now, conn, Side::Dialler, b"two");
    net.network.unblock(net.now, A, B);
    net.network.send(net.now, conn, Side::Dialler, b"three");
    net.run_for(Micros::s(20));
    assert_eq!(net.came(Side::Acceptor), (b"onetwothree".to_vec(), false));
}

#[test]
fn a_long_partition_breaks_the_senders_end_and_the_other_notices_only_when_it_sends() {
    let (mut net, conn) = Net::connected(1);
    net.network.block(A, B);
    net.network.send(net.now, conn, Side::Dialler, b"lost");
    net.run_for(Micros::s(30));
    let heard: Vec<NetEvent> = net.take().into_iter().map(|(_, event)| event).collect();
    assert_eq!(heard, [NetEvent::Closed { conn, side: Side::Dialler, at: A }]);
    net.network.unblock(net.now, A, B);
    net.run_for(Micros::s(30));
    // What was sent before may come late; the end is still half open.
    assert!(!net.came(Side::Acceptor).1);
    net.network.send(net.now, conn, Side::Acceptor, b"hello?");
    net.run_for(Micros::s(1));
    assert!(net.came(Side::Acceptor).1);
}

#[test]
fn a_killed_process_is_noticed_and_a_machine_without_power_only_in_time() {
    let (mut net, conn) = Net::connected(1);
    net.network.kill(net.now, B);
    net.run_for(Micros::s(1));
    assert!(net.came(Side::Dialler).1);
    let refused = net.network.dial(net.now, A, B, PORT);
    net.run_for(Micros::s(1));
    assert_eq!(net.take()[0].1, NetEvent::NotConnected { conn: refused, at: A });

    let (mut net, conn_2) = Net::connected(2);
    net.network.power_off(net.now, B);
    net.run_for(Micros::s(60));
    assert!(net.take().is_empty(), "nobody has said anything");
    net.network.send(net.now, conn_2, Side::Dialler, b"hello?");
    net.run_for(Micros::s(1));
    assert!(net.take().is_empty());
    net.run_for(Micros::s(30));
    assert!(net.came(Side::Dialler).1);
    let _ = conn;
}

#[test]
fn a_machine_that_is_back_resets_its_former_connections() {
    let (mut net, conn) = Net::connected(3);
    net.network.power_off(net.now, B);
    net.run_for(Micros::s(2));
    net.network.power_on(B);
    net.network.send(net.now, conn, Side::Dialler, b"hello?");
    net.run_for(Micros::s(1));
    assert!(net.came(Side::Dialler).1);
}

#[test]
fn what_comes_to_a_process_that_stands_still_waits_in_order() {
    let (mut net, conn) = Net::connected(4);
    net.network.pause(B);
    for piece in [b"a", b"b", b"c"] {
        net.network.send(net.now, conn, Side::Dialler, piece);
    }
    net.run_for(Micros::s(3));
    assert!(net.take().is_empty());
    let waiting = net.network.resume(B);
    net.heard.extend(waiting.into_iter().map(|event| (net.now, event)));
    assert_eq!(net.came(Side::Acceptor).0, b"abc");
}

#[test]
fn a_slow_link_takes_its_time() {
    let (mut net, conn) = Net::connected(5);
    let pace = Pace { delay_min: Micros::ms(100), delay_max: Micros::ms(100), bytes_per_s: 1_000 };
    net.network.set_pace(A, B, Some(pace));
    net.network.send(net.now, conn, Side::Dialler, &[7; 500]);
    net.network.send(net.now, conn, Side::Dialler, &[7; 500]);
    net.run_for(Micros::ms(590));
    let before = net.came(Side::Acceptor).0.len();
    net.run_for(Micros::ms(600));
    assert_eq!((before < 500, before + net.came(Side::Acceptor).0.len()), (true, 1_000));
}

#[test]
fn a_dial_that_is_cut_short_is_told_once() {
    for seed in 0..50 {
        let mut net = Net::new(seed);
        let conn = net.network.dial(net.now, A, B, PORT);
        net.network.cut(net.now, conn);
        net.run_for(Micros::s(9));
        let told = net.take().into_iter().filter(|(_, event)| event.at() == A);
        let ends = told.filter(|(_, event)| matches!(event, NetEvent::NotConnected { .. } | NetEvent::Closed { .. }));
        assert_eq!(ends.count(), 1, "seed {seed}");
    }
}

#[test]
fn a_killed_process_has_its_last_bytes_arrive_or_not_as_the_seed_says() {
    let run = |seed: u64| {
        let (mut net, conn) = Net::connected(seed);
        net.network.send(net.now, conn, Side::Acceptor, b"last words");
        net.network.kill(net.now, B);
        net.run_for(Micros::s(1));
        let (came, is_closed) = net.came(Side::Dialler);
        assert!(is_closed && (came.is_empty() || b"last words".starts_with(&came[..])), "{came:?}");
        came.len()
    };
    let came: Vec<usize> = (0..40).map(run).collect();
    assert!(came.contains(&0) && came.contains(&10), "{came:?}");
    assert_eq!(came, (0..40).map(run).collect::<Vec<_>>());
}

#[test]
fn a_connection_with_a_fuse_breaks_after_so_many_bytes_and_what_came_is_the_start() {
    let sent: Vec<u8> = (0..200).collect();
    let (mut none, mut all) = (0, 0);
    for seed in 0..50 {
        let mut net = Net::new(seed);
        net.network.set_fuses(PORT, Fuses { percent: 100, bytes_min: 100, bytes_max: 100 });
        let conn = net.network.dial(net.now, A, B, PORT);
        net.run_for(Micros::s(1));
        net.take();
        sent.chunks(7).for_each(|piece| net.network.send(net.now, conn, Side::Dialler, piece));
        net.run_for(Micros::s(1));
        let (came, is_closed) = net.came(Side::Acceptor);
        assert!(is_closed && came.len() <= 100 && sent.starts_with(&came), "{} bytes came", came.len());
        // The reset may overtake it.
        none += u32::from(came.len() < 100);
        all += u32::from(came.len() == 100);
        // One that was dialled later lasts, once the network is good.
        net.network.be_good();
        let conn = net.network.dial(net.now, A, B, PORT);
        net.run_for(Micros::s(1));
        net.take();
        net.network.send(net.now, conn, Side::Dialler, &sent);
        net.run_for(Micros::s(1));
        assert_eq!(net.came(Side::Acceptor), (sent.clone(), false));
    }
    assert!(none > 5 && all > 5, "{none} {all}");
}

#[test]
fn whoever_goes_on_with_a_broken_connection_hears_of_it_though_its_reset_met_a_blocked_way() {
    let mut net = Net::new(1);
    net.network.set_fuses(PORT, Fuses { percent: 100, bytes_min: 8, bytes_max: 8 });
    let conn = net.network.dial(net.now, A, B, PORT);
    net.run_for(Micros::s(1));
    net.network.block(A, B);
    net.network.block(B, A);
    net.network.send(net.now, conn, Side::Dialler, &[0; 9]);
    net.run_for(Micros::ms(500));
    net.network.unblock_all(net.now);
    net.take();
    for side in [Side::Dialler, Side::Acceptor] {
        net.network.send(net.now, conn, side, &[0; 9]);
        net.run_for(Micros::s(1));
        assert!(net.came(side).1, "{side:?}");
    }
}

#[test]
fn what_is_long_arrives_in_pieces_one_after_the_other() {
    let (mut net, conn) = Net::connected(1);
    net.network.set_piece_bytes_max(50);
    let sent: Vec<u8> = (0..200).collect();
    net.network.send(net.now, conn, Side::Dialler, &sent);
    net.run_for(Micros::s(1));
    let lens =
        net.heard.iter().map(|(_, event)| if let NetEvent::Arrived { bytes, .. } = event { bytes.len() } else { 0 });
    assert!(lens.clone().count() >= 4 && lens.max() == Some(50));
    assert_eq!(net.came(Side::Acceptor), (sent, false));
}
