//! Who may connect, who keeps the connection, and whose connection ends for it.

use super::raw;
use super::*;
use std::io::Write;

#[test]
fn a_smaller_id_is_hung_up_on_and_called_back_where_the_configuration_says() {
    let (ensemble, at) = servers(2);
    let listener = TcpListener::bind(at[0]).unwrap();
    let port = Port::of(2, &ensemble);
    // What it says of itself is tried last.
    let elsewhere = TcpListener::bind((at[0].ip(), 0)).unwrap();
    let one = raw::connect_as(at[1], 1, &elsewhere.local_addr().unwrap().to_string());
    raw::ends(&one);
    let (socket, caller) = raw::called_by(&listener);
    assert_eq!(caller, ServerId(2));
    assert_eq!(port.next(), reachable(1, true));
    port.send(1, vote(2, 4));
    assert_eq!(raw::round(&socket), 4);
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "nobody called there");
    // It has moved, and the configuration does not know: it is found where it says.
    drop((listener, socket));
    assert_eq!(port.next(), reachable(1, false));
    elsewhere.set_nonblocking(false).unwrap();
    raw::ends(&raw::connect_as(at[1], 1, &elsewhere.local_addr().unwrap().to_string()));
    let (socket, _) = raw::called_by(&elsewhere);
    assert_eq!(raw::round(&socket), 4, "the last vote once more");
}

#[test]
fn a_greater_id_is_told_to_call_back() {
    let (ensemble, at) = servers(2);
    let listener = TcpListener::bind(at[1]).unwrap();
    let port = Port::of(1, &ensemble);
    port.send(2, vote(1, 1));
    let (socket, caller) = raw::called_by(&listener);
    assert_eq!(caller, ServerId(1));
    raw::ends(&socket);
    assert!(port.is_silent());
    let socket = raw::connect_as(at[0], 2, &at[1].to_string());
    assert_eq!(port.next(), reachable(2, true));
    assert_eq!(raw::round(&socket), 1);
}

#[test]
fn the_newer_of_two_connections_to_a_server_stays() {
    let (ensemble, at) = servers(3);
    let port = Port::of(2, &ensemble);
    let older = raw::connect_as(at[1], 3, "x:1");
    assert_eq!(port.next(), reachable(3, true));
    let newer = raw::connect_as(at[1], 3, "x:1");
    raw::ends(&older);
    assert_eq!(port.next(), reachable(3, true), "it was reached all the time");
    port.send(3, vote(2, 1));
    assert_eq!(raw::round(&newer), 1);
    // Called back over, one that stands ends if the call fails: the other side does not know of it.
    let listener = TcpListener::bind(at[0]).unwrap();
    raw::ends(&raw::connect_as(at[1], 1, "127.0.0.1:1"));
    let (socket, _) = raw::called_by(&listener);
    assert_eq!(port.next(), reachable(1, true));
    drop(listener);
    raw::ends(&raw::connect_as(at[1], 1, "127.0.0.1:1"));
    raw::ends(&socket);
    assert_eq!(port.next(), reachable(1, false));
}

#[test]
fn a_joiner_and_an_observer_without_an_id_are_heard_and_answered() {
    let (ensemble, at) = servers(2);
    let port = Port::of(2, &ensemble);
    let notification = raw::framed(&raw::recorded("notification")[0].1);
    let mut joiner = raw::connect_as(at[1], 77, "0.0.0.0:1");
    joiner.write_all(&notification).unwrap();
    assert_eq!(port.next_vote().0, 77);
    port.send(77, vote(2, 3));
    assert_eq!(raw::round(&joiner), 3);
    // Without an id it is one of those with the smaller ones.
    for id in [-1, -2] {
        let listener = TcpListener::bind((at[0].ip(), 0)).unwrap();
        raw::ends(&raw::connect_as(at[1], ServerId::OBSERVER.0, &listener.local_addr().unwrap().to_string()));
        let (mut observer, _) = raw::called_by(&listener);
        observer.write_all(&notification).unwrap();
        assert_eq!(port.next_vote().0, id);
        port.send(id, vote(2, 4));
        assert_eq!(raw::round(&observer), 4);
    }
    // And it is forgotten when it goes.
    drop(joiner);
    let joiner = raw::connect_as(at[1], 77, "0.0.0.0:1");
    port.send(1, vote(2, 5));
    assert_eq!(port.next(), reachable(1, false));
    drop(joiner);
}

#[test]
fn of_many_strangers_the_first_goes_and_members_stay() {
    let (ensemble, at) = servers(3);
    let port = Port::of(2, &ensemble);
    let member = raw::connect_as(at[1], 3, "x:1");
    assert_eq!(port.next(), reachable(3, true));
    let strangers: Vec<_> = (100..117).map(|id| raw::connect_as(at[1], id, "x:1")).collect();
    raw::ends(&strangers[0]);
    let mut last = &strangers[16];
    last.write_all(&raw::framed(&raw::recorded("notification")[0].1)).unwrap();
    assert_eq!(port.next_vote().0, 116);
    port.send(3, vote(2, 1));
    assert_eq!(raw::round(&member), 1);
}

#[test]
fn who_has_our_id_or_none_that_can_be_is_refused() {
    let (ensemble, at) = servers(2);
    let port = Port::of(2, &ensemble);
    for id in [2, -1, i64::MIN] {
        raw::ends(&raw::connect_as(at[1], id, "127.0.0.1:1"));
    }
    // Nor is there anybody to call back where there is no address.
    raw::ends(&raw::connect_as(at[1], 0, "0.0.0.0:1"));
    assert!(port.is_silent());
}
