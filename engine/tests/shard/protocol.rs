//! How connections begin and end, and what is said to bytes that are not what they should be.

use crate::rig::{Rig, close_session, create, exists_watch, get, handshake, handshake_of, ping, raw_request, set};
use proto::{OpCode, SessionId, Zxid};
use ringkeeper_engine::replica::Forward;
use ringkeeper_engine::shard::{Action, CloseReason, ShardOptions};
use ringkeeper_engine::stream::{Detach, Refusal};

#[test]
fn a_handshake_is_answered_in_the_form_in_which_it_was_asked() {
    for read_only in [None, Some(false), Some(true)] {
        let mut rig = Rig::new();
        let c = rig.accept(0);
        rig.receive(c, &handshake(None, read_only));
        rig.settle();
        let answer = rig.take_connected(c);
        assert_eq!(answer.read_only, read_only.map(|_| false));
        assert_eq!((answer.protocol_version, answer.timeout_ms), (0, 10_000));
        assert!(answer.session_id.0 != 0 && answer.password != [0; 16]);
        assert!(rig.actions().is_empty());
    }
}

#[test]
fn requests_that_come_with_the_handshake_wait_for_its_answer() {
    let mut rig = Rig::new();
    let c = rig.accept(0);
    rig.receive(c, &[handshake(None, None), get(1, "/none")].concat());
    rig.expect(c, &[get(1, "/none")]);
    rig.serve();
    rig.answer();
    assert_ne!(rig.take_connected(c).session_id.0, 0);
    rig.serve();
    assert_eq!(rig.words(c), ["1 NoNode"]);
}

#[test]
fn an_unknown_session_is_told_and_closed() {
    let mut rig = Rig::new();
    let c = rig.accept(0);
    rig.receive(c, &handshake(Some((SessionId(77), [1; 16])), Some(false)));
    rig.settle();
    let answer = rig.take_connected(c);
    assert_eq!((answer.session_id.0, answer.timeout_ms, answer.password), (0, 0, [0; 16]));
    assert_eq!(rig.actions(), [Action::CloseAfterFlush(c, CloseReason::NoSession)]);
}

#[test]
fn a_client_from_the_future_is_closed_without_an_answer() {
    let mut rig = Rig::new();
    let c = rig.accept(0);
    rig.receive(c, &handshake_of(Zxid(1 << 40), None, Some(false)));
    rig.settle();
    assert!(rig.hear(c).is_empty());
    assert_eq!(rig.actions(), [Action::Abort(c, CloseReason::Refused(Refusal::ZxidAhead))]);
}

#[test]
fn who_makes_no_handshake_in_time_is_closed_at_a_tick() {
    let mut rig = Rig::new();
    let limit_us = ShardOptions::default().handshake_us_max;
    let (silent, done) = (rig.accept(0), rig.connect(1));
    // A part of a handshake is none.
    rig.receive(silent, &handshake(None, None)[..20]);
    rig.settle();
    let accepted_us = rig.now_us;
    rig.heard_on_tick(accepted_us + limit_us);
    assert!(rig.actions().is_empty());
    rig.heard_on_tick(accepted_us + limit_us + 1);
    assert_eq!(rig.actions(), [Action::Abort(silent, CloseReason::HandshakeTimeout)]);
    rig.send(done, &[ping()]);
    rig.serve();
    assert_eq!(rig.words(done), ["-2 ok"]);
}

#[test]
fn a_tick_reports_the_sessions_that_were_heard_of_and_when() {
    let mut rig = Rig::new();
    let (a, b) = (rig.connect(0), rig.connect(1));
    let both: Vec<SessionId> = rig.heard_on_tick(2_000_000).into_iter().map(|(session, _)| session).collect();
    assert_eq!(both.len(), 2, "handshakes are heard");
    assert!(rig.heard_on_tick(2_100_000).is_empty());
    rig.now_us = 2_345_678;
    rig.send(b, &[ping()]);
    assert_eq!(rig.heard_on_tick(2_500_000), [(both[1], 2_345)]);
    // A part of a frame is a sign of life too.
    rig.receive(a, &[0, 0]);
    assert_eq!(rig.heard_on_tick(2_600_000), [(both[0], 2_500)]);
}

#[test]
fn a_connection_that_closes_has_its_last_word_told() {
    let mut rig = Rig::new();
    let c = rig.connect(0);
    let session = rig.heard_on_tick(2_000_000)[0].0;
    rig.now_us = 5_000_000;
    rig.receive(c, &ping());
    rig.shard.closed(c);
    let told = rig.take_forwards();
    let [Forward::Heard(heard), Forward::Closed { .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(heard[..], [(session, 5_000)], "from then on it has its whole timeout");
    // Who said nothing since it was told of has nothing to tell.
    let d = rig.connect(1);
    rig.heard_on_tick(6_000_000);
    rig.shard.closed(d);
    let told = rig.take_forwards();
    assert!(matches!(told[..], [Forward::Closed { .. }]), "{told:?}");
}

#[test]
fn what_lies_unread_in_a_socket_counts_and_an_unread_handshake_is_waited_for() {
    let mut rig = Rig::new();
    let (a, b) = (rig.connect(0), rig.connect(1));
    let both: Vec<SessionId> = rig.heard_on_tick(2_000_000).into_iter().map(|(session, _)| session).collect();
    rig.now_us = 3_000_000;
    let late = rig.accept(2);
    assert!(rig.shard.look_for_unread(2_500_000, 3_100_000, |id| id == a), "who came later is not waited for");
    assert_eq!(rig.heard_on_tick(3_200_000), [(both[0], 3_100)], "a has something to say, b has not");
    assert!(!rig.shard.look_for_unread(3_000_000, 3_300_000, |id| id == late), "a handshake lies in the socket");
    assert!(rig.shard.look_for_unread(3_000_000, 3_300_000, |_| false));
    let hello = handshake(None, None);
    rig.receive(late, &hello[..10]);
    assert!(rig.shard.look_for_unread(3_000_000, 3_300_000, |_| false), "half a handshake may stay half for long");
    rig.receive(late, &hello[10..]);
    assert!(!rig.shard.look_for_unread(3_000_000, 3_300_000, |_| false), "it was received and is not understood yet");
    rig.settle();
    assert!(rig.shard.look_for_unread(3_000_000, 3_300_000, |_| false));
    let _silent = b;
}

#[test]
fn a_four_letter_word_is_one_only_as_the_first_four_bytes() {
    let mut rig = Rig::new();
    let c = rig.accept(0);
    rig.receive(c, b"ru");
    rig.serve();
    assert!(rig.actions().is_empty());
    rig.receive(c, b"ok");
    rig.serve();
    assert_eq!(rig.actions(), [Action::FourLetterWord(c, *b"ruok")]);
    // The connection is the admin's now: nothing more is made of what comes.
    rig.receive(c, b"ruok");
    rig.serve();
    assert!(rig.actions().is_empty() && rig.hear(c).is_empty());

    let unknown = rig.accept(1);
    rig.receive(unknown, b"help");
    rig.serve();
    assert_eq!(rig.actions(), [Action::Abort(unknown, CloseReason::FrameLength)]);

    let later = rig.connect(2);
    rig.receive(later, b"ruok");
    rig.serve();
    assert_eq!(rig.actions(), [Action::Abort(later, CloseReason::FrameLength)]);
}

#[test]
fn a_frame_that_is_too_long_or_negative_aborts_the_connection_before_it_has_come() {
    let max = i32::try_from(ShardOptions::default().frame_bytes_max).unwrap();
    for (length, is_closed) in [(max, false), (max + 1, true), (i32::MAX, true), (-1, true), (i32::MIN, true)] {
        for with_session in [false, true] {
            let mut rig = Rig::new();
            let c = if with_session { rig.connect(0) } else { rig.accept(0) };
            rig.receive(c, &length.to_be_bytes());
            rig.serve();
            let expected = [Action::Abort(c, CloseReason::FrameLength)];
            assert_eq!(rig.actions(), if is_closed { &expected[..] } else { &[] }, "{length}, {with_session}");
        }
    }
}

#[test]
fn a_header_or_handshake_that_cannot_be_decoded_aborts_the_connection() {
    for with_session in [false, true] {
        for frame in [&[][..], &[1, 2, 3], &[0; 7]] {
            let mut rig = Rig::new();
            let c = if with_session { rig.connect(0) } else { rig.accept(0) };
            let length = i32::try_from(frame.len()).unwrap();
            rig.receive(c, &[&length.to_be_bytes(), frame].concat());
            rig.settle();
            assert_eq!(rig.actions(), [Action::Abort(c, CloseReason::Malformed)]);
            assert!(rig.hear(c).is_empty());
        }
    }
}

#[test]
fn an_operation_that_no_client_may_send_is_answered_with_unimplemented_and_closed() {
    let internal = [OpCode::Check, OpCode::DeleteContainer, OpCode::CreateSession, OpCode::Error, OpCode::Notification];
    for op in internal.map(OpCode::to_wire).into_iter().chain([10, 99, i32::MAX, i32::MIN]) {
        let mut rig = Rig::new();
        let c = rig.connect(0);
        rig.send(c, &[raw_request(7, op, |w| w.string("/a")), get(8, "/")]);
        rig.settle();
        let heard = rig.hear(c);
        assert!(matches!(heard[..], [_]), "{op}: {heard:?}");
        assert_eq!((heard[0].text.as_str(), heard[0].zxid), ("7 Unimplemented", -1), "{op}");
        assert_eq!(rig.actions(), [Action::CloseAfterFlush(c, CloseReason::UnknownOperation)]);
    }
}

#[test]
fn a_malformed_body_gets_a_marshalling_error_in_its_turn_and_the_connection_lives() {
    let mut rig = Rig::new();
    let c = rig.connect(0);
    for op in [OpCode::GetData, OpCode::Create, OpCode::SetData, OpCode::Multi] {
        let garbled = raw_request(2, op.to_wire(), |w| w.raw(&[0, 0, 0, 9, b'/']));
        rig.send(c, &[set(1, "/none", ""), garbled, get(3, "/none"), set(4, "/none", "")]);
        rig.settle();
        assert_eq!(rig.words(c), ["1 NoNode", "2 MarshallingError", "3 NoNode", "4 NoNode"], "{op:?}");
    }
    assert!(rig.actions().is_empty());
}

#[test]
fn frames_that_come_one_byte_at_a_time_are_understood() {
    let mut rig = Rig::new();
    let c = rig.accept(0);
    for byte in handshake(None, Some(false)) {
        rig.receive(c, &[byte]);
        rig.settle();
    }
    rig.take_connected(c);
    let requests = [create(1, "/a", "x"), get(2, "/a"), ping()];
    rig.expect(c, &requests);
    for byte in requests.concat() {
        rig.receive(c, &[byte]);
        rig.settle();
    }
    assert_eq!(rig.words(c), ["1 /a", "2 x v0", "-2 ok"]);
    assert_eq!(rig.shard.counts().packets_received, 4);
}

#[test]
fn the_end_of_a_session_is_answered_and_closed_and_nothing_after_it_is_done() {
    let mut rig = Rig::new();
    let (c, other) = (rig.connect(0), rig.connect(1));
    rig.send(c, &[create(1, "/before", ""), close_session(2), create(3, "/after", ""), get(4, "/"), ping()]);
    rig.settle();
    assert_eq!(rig.words(c), ["1 /before", "2 ok"]);
    assert_eq!(rig.actions(), [Action::CloseAfterFlush(c, CloseReason::SessionClosed)]);
    rig.send(c, &[create(5, "/later", "")]);
    rig.send(other, &[get(1, "/before"), get(2, "/after"), get(3, "/later")]);
    rig.settle();
    assert!(rig.hear(c).is_empty());
    assert_eq!(rig.words(other), ["1  v0", "2 NoNode", "3 NoNode"]);
}

#[test]
fn a_connection_whose_session_has_gone_elsewhere_gets_no_more() {
    let mut rig = Rig::new();
    let old = rig.accept(0);
    rig.receive(old, &handshake(None, Some(false)));
    rig.settle();
    let session = rig.take_connected(old);
    rig.send(old, &[exists_watch(1, "/a")]);
    rig.settle();
    assert_eq!(rig.words(old), ["1 NoNode"]);

    let new = rig.accept(1);
    rig.receive(new, &handshake(Some((session.session_id, session.password)), Some(false)));
    rig.serve();
    rig.forward();
    // The session has moved, which the old connection's shard does not know yet.
    rig.send(old, &[create(2, "/moved", ""), get(3, "/")]);
    rig.settle();
    assert_eq!(rig.take_connected(new).session_id, session.session_id);
    assert!(rig.hear(old).is_empty());
    assert_eq!(rig.actions(), [Action::CloseAfterFlush(old, CloseReason::Detached(Detach::SessionMoved))]);

    rig.send(new, &[create(1, "/a", ""), get(2, "/moved")]);
    rig.send(old, &[get(4, "/"), ping()]);
    rig.settle();
    assert_eq!(rig.words(new), ["1 /a", "2 NoNode"]);
    assert!(rig.hear(old).is_empty(), "neither replies nor events");

    // The old connection's end does not take the session from the new one.
    rig.shard.closed(old);
    rig.send(new, &[create(3, "/b", "")]);
    rig.settle();
    assert_eq!(rig.words(new), ["3 /b"]);
}

#[test]
fn a_reply_that_was_on_its_way_when_the_session_moved_is_not_sent() {
    let mut rig = Rig::new();
    let old = rig.accept(0);
    rig.receive(old, &handshake(None, Some(false)));
    rig.settle();
    let session = rig.take_connected(old);
    let new = rig.accept(1);
    // Forwarded before the move: done, and answered before the old connection is told.
    rig.send(old, &[create(1, "/a", ""), create(2, "/b", "")]);
    rig.serve();
    rig.receive(new, &handshake(Some((session.session_id, session.password)), Some(false)));
    rig.serve();
    rig.forward();
    rig.shard.closed(old);
    rig.settle();
    assert!(rig.hear(old).is_empty());
    rig.expect(new, &[get(1, "/a")]);
    let answer = rig.take_connected(new);
    assert_eq!(answer.session_id, session.session_id);
    rig.receive(new, &get(1, "/a"));
    rig.settle();
    assert_eq!(rig.words(new), ["1  v0"], "a write that was taken is done though nobody hears of it");
}
