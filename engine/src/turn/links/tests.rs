//! What the host and the loop may rely on.

use super::*;
use proto::{LastZxid, Writer};
use std::io::ErrorKind;

const LIMITS: LinkLimits = LinkLimits {
    data_bytes_max: 100,
    input_bytes_max: 200,
    output_bytes_full: 200,
    output_bytes_max: 400,
    links_max: 2,
};

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 2888))
}

/// A table with one accepted link, which the loop knows of.
fn one_link() -> (LinkTable, LinkId) {
    let mut table = LinkTable::new(LIMITS);
    let link = table.accept(peer()).expect("the first");
    assert_eq!(table.next_event(), Some(LinkEvent::Accepted(link)));
    assert_eq!(table.next_event(), None);
    (table, link)
}

fn frame(zxid: i64, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    QuorumPacket { ty: 3, zxid: LastZxid(zxid), data: Some(data), authinfo: None }.write(&mut Writer::new(&mut bytes));
    bytes
}

fn receive(table: &mut LinkTable, link: LinkId, bytes: &[u8]) {
    table.input(link).expect("there is room").extend_from_slice(bytes);
    table.came(link);
}

/// The zxids of the packets that can be read now.
fn zxids(table: &mut LinkTable, link: LinkId) -> Vec<i64> {
    let mut zxids = Vec::new();
    if let Some(mut unread) = table.take_unread(link) {
        while let Some(packet) = unread.next_packet().expect("decodes") {
            zxids.push(packet.zxid.0);
        }
        table.put_back(link, unread);
    }
    zxids
}

/// What has come, of which something can be read.
fn unread(table: &mut LinkTable, link: LinkId) -> Unread {
    table.take_unread(link).expect("something has come")
}

#[test]
fn a_packet_is_given_out_when_its_last_byte_has_come_wherever_it_is_split() {
    let bytes = frame(7, b"some data");
    for at in 1..bytes.len() {
        let (mut table, link) = one_link();
        let (first, second) = bytes.split_at(at);
        receive(&mut table, link, first);
        assert!(zxids(&mut table, link).is_empty());
        assert_eq!(table.with_input().count(), 0, "a part of a packet is not worth another look");
        receive(&mut table, link, second);
        assert_eq!(table.with_input().collect::<Vec<_>>(), [link]);
        let mut unread = unread(&mut table, link);
        let packet = unread.next_packet().expect("decodes").expect("is whole");
        assert_eq!((packet.ty, packet.zxid.0, packet.data), (3, 7, Some(&b"some data"[..])));
        table.put_back(link, unread);
        assert!(zxids(&mut table, link).is_empty());
    }
}

#[test]
fn packets_that_come_together_are_given_out_one_by_one_and_memory_does_not_grow() {
    let (mut table, link) = one_link();
    let mut came: Vec<u8> = Vec::new();
    for zxid in 0..1_000 {
        came.extend(frame(zxid, b"x"));
    }
    let mut got = Vec::new();
    for piece in came.chunks(61) {
        receive(&mut table, link, piece);
        got.extend(zxids(&mut table, link));
    }
    assert_eq!(got, (0..1_000).collect::<Vec<_>>());
    let capacity = table.input(link).expect("open").capacity();
    assert!(capacity <= 4 * LIMITS.input_bytes_max, "{capacity} bytes for packets of 25");
}

#[test]
fn what_was_taken_and_not_read_stays_unless_the_link_was_closed_meanwhile() {
    for closes in [false, true] {
        let (mut table, link) = one_link();
        receive(&mut table, link, &[frame(1, b""), frame(2, b"")].concat());
        let mut taken = unread(&mut table, link);
        assert_eq!(taken.next_packet().expect("decodes").map(|packet| packet.zxid.0), Some(1));
        if closes {
            table.close(link);
        }
        table.put_back(link, taken);
        assert_eq!(table.links.get(&link).map(|link| link.input.is_empty()), Some(closes));
        assert_eq!(zxids(&mut table, link), if closes { vec![] } else { vec![2] });
    }
}

#[test]
fn what_cannot_be_a_packet_is_an_error_and_the_abort_is_told_to_the_host_once() {
    let too_long = 101i32.to_be_bytes();
    let negative = (-2i32).to_be_bytes();
    for (length, error) in [(too_long, DecodeError::LengthOutOfBounds), (negative, DecodeError::NegativeLength)] {
        let (mut table, link) = one_link();
        receive(&mut table, link, &[0; 12]);
        receive(&mut table, link, &length);
        assert_eq!(unread(&mut table, link).next_packet(), Err(error));
        table.abort(link);
        assert_eq!((table.over(), table.over()), (vec![link], vec![]));
        assert_eq!(table.next_event(), None, "the loop knows");
        assert!(table.input(link).is_none() && table.output(link).is_none() && !table.wants_input(link));
    }
}

#[test]
fn a_packet_that_the_input_never_holds_is_refused_instead_of_waited_for() {
    let (mut table, link) = one_link();
    let mut bytes = frame(1, &[0; 100]);
    bytes.truncate(bytes.len() - 4);
    // One identity whose scheme is longer than what is left of the input's bound.
    bytes.extend_from_slice(&1i32.to_be_bytes());
    bytes.extend_from_slice(&1_000i32.to_be_bytes());
    receive(&mut table, link, &bytes);
    assert_eq!(unread(&mut table, link).next_packet(), Err(DecodeError::LengthOutOfBounds));
}

#[test]
fn a_full_input_is_not_received_into_until_packets_are_read() {
    let (mut table, link) = one_link();
    let frame = frame(1, &[0; 90]);
    receive(&mut table, link, &frame);
    receive(&mut table, link, &frame[..LIMITS.input_bytes_max - frame.len()]);
    assert!(!table.wants_input(link) && table.input(link).is_none());
    assert_eq!(zxids(&mut table, link), [1]);
    assert_eq!(table.input_room(link), frame.len());
}

#[test]
fn a_lost_link_is_told_after_its_last_packet_and_a_part_of_one_is_dropped() {
    let (mut table, link) = one_link();
    receive(&mut table, link, &frame(1, b""));
    receive(&mut table, link, &frame(2, b"")[..9]);
    table.output(link).expect("open").extend_from_slice(b"too late");
    table.lost(link, LinkLoss::Failed(ErrorKind::ConnectionReset));
    assert!(table.to_send(link).is_empty() && table.output(link).is_none() && !table.wants_input(link));
    assert_eq!(table.next_event(), None, "there is a packet to read");
    assert_eq!(zxids(&mut table, link), [1]);
    let loss = LinkEvent::Lost(link, LinkLoss::Failed(ErrorKind::ConnectionReset));
    assert_eq!((table.next_event(), table.next_event()), (Some(loss), None));
    assert_eq!((table.peer(link), table.over()), (None, vec![]), "the host has closed it itself");
}

#[test]
fn what_a_held_link_has_waits_and_so_does_its_end() {
    let (mut table, link) = one_link();
    receive(&mut table, link, &frame(1, b""));
    table.hold(link, true);
    assert_eq!(table.with_input().count(), 0);
    assert!(zxids(&mut table, link).is_empty());
    table.lost(link, LinkLoss::Ended);
    assert_eq!(table.next_event(), None);
    assert!(table.has_ended(link));
    table.hold(link, false);
    assert_eq!(zxids(&mut table, link), [1]);
    assert_eq!(table.next_event(), Some(LinkEvent::Lost(link, LinkLoss::Ended)));
}

#[test]
fn a_taker_takes_raw_bytes_and_the_packet_after_them_is_read_as_one() {
    let (mut table, link) = one_link();
    receive(&mut table, link, &frame(1, b""));
    receive(&mut table, link, b"a state");
    let mut taken = unread(&mut table, link);
    assert!(taken.next_packet().expect("decodes").is_some());
    table.hold(link, true);
    table.put_back(link, taken);
    assert_eq!(table.raw_input(link).map(std::mem::take).as_deref(), Some(&b"a state"[..]));
    receive(&mut table, link, b"'s end");
    receive(&mut table, link, &frame(2, b""));
    let raw = table.raw_input(link).expect("open");
    assert_eq!(raw.drain(..6).as_slice(), b"'s end");
    table.hold(link, false);
    assert_eq!(zxids(&mut table, link), [2]);
}

#[test]
fn a_closed_link_is_over_when_all_is_sent_and_no_event_follows() {
    let (mut table, link) = one_link();
    table.output(link).expect("open").extend_from_slice(b"bye");
    receive(&mut table, link, &frame(1, b""));
    table.close(link);
    assert!(table.output(link).is_none() && table.raw_input(link).is_none());
    assert_eq!(table.with_input().count(), 0);
    assert_eq!((table.closing().count(), table.over()), (1, vec![]));
    assert_eq!(table.with_output().collect::<Vec<_>>(), [link]);
    assert_eq!(table.to_send(link), b"bye");
    table.sent(link, 3);
    assert_eq!((table.over(), table.over()), (vec![link], vec![]));
    assert_eq!((table.closing().count(), table.next_event()), (0, None));

    let (mut table, link) = one_link();
    table.output(link).expect("open").extend_from_slice(b"bye");
    table.close(link);
    table.lost(link, LinkLoss::Ended);
    assert_eq!((table.next_event(), table.over(), table.peer(link)), (None, vec![], None));
}

#[test]
fn a_full_link_has_room_again_when_a_quarter_is_left_and_says_so_once() {
    let (mut table, link) = one_link();
    let half = LIMITS.output_bytes_full;
    table.output(link).expect("open").resize(half, 0);
    assert!(!table.is_full(link));
    table.output(link).expect("open").push(0);
    assert!(table.is_full(link));
    table.sent(link, half / 2);
    assert!(table.is_full(link), "not before it is told");
    assert_eq!(table.next_event(), None);
    table.sent(link, 1);
    assert!(!table.is_full(link));
    assert_eq!((table.next_event(), table.next_event()), (Some(LinkEvent::Drained(link)), None));

    // Filled again before the loop has heard of it.
    table.output(link).expect("open").resize(half + 2, 0);
    table.sent(link, half);
    table.output(link).expect("open").resize(LIMITS.output_bytes_max, 0);
    assert_eq!(table.next_event(), None);
    table.sent(link, LIMITS.output_bytes_max);
    assert_eq!(table.next_event(), Some(LinkEvent::Drained(link)));
}

#[test]
fn a_link_that_takes_nothing_is_lost_instead_of_growing() {
    let (mut table, link) = one_link();
    let packet = frame(1, &[0; 80]);
    let mut appended = 0;
    receive(&mut table, link, &packet);
    while let Some(output) = table.output(link) {
        output.extend_from_slice(&packet);
        appended += packet.len();
    }
    assert!(appended <= LIMITS.output_bytes_max + packet.len());
    assert_eq!(table.over(), [link]);
    assert_eq!(table.next_event(), Some(LinkEvent::Lost(link, LinkLoss::Overflowed)));
    assert_eq!((table.peer(link), table.over()), (None, vec![]));
}

#[test]
fn there_are_as_many_accepted_links_as_the_limit_says() {
    let (mut table, first) = one_link();
    let second = table.accept(peer()).expect("the second");
    assert_eq!(table.accept(peer()), None);
    let dialled = table.dialled(peer());
    table.abort(first);
    let third = table.accept(peer()).expect("one has gone");
    assert_eq!(table.accept(peer()), None);
    table.not_dialled();
    let events: Vec<_> = std::iter::from_fn(|| table.next_event()).collect();
    let expected =
        [LinkEvent::Accepted(second), LinkEvent::Dialled(dialled), LinkEvent::Accepted(third), LinkEvent::NotDialled];
    assert_eq!(events, expected);
}

#[test]
fn the_answer_to_a_dial_that_was_given_up_is_not_given_out() {
    let (mut table, other) = one_link();
    let dialled = table.dialled(peer());
    table.forget_dial();
    assert_eq!((table.next_event(), table.over()), (None, vec![dialled]));
    table.not_dialled();
    table.forget_dial();
    assert_eq!(table.next_event(), None);
    assert_eq!(table.peer(other), Some(peer()));
}
