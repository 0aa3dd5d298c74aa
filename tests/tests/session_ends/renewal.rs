//! Renewals that are not in order: what each is answered, and what becomes of the session that they name and of the connection that has it.
//! What is expected here is what ZooKeeper 3.9.5 does.

use crate::{DEADLINE, SHORT_MS, Target};
use client::{ClientError, ConnectOptions, Connection, Operations};
use proto::connect::{ConnectResponse, PASSWORD_BYTES, Password};
use proto::request::CreateMode;
use proto::{SessionId, Writer, jute};
use ringkeeper_tests::until_within;

/// A password as it may come: of any length, or none.
type Sent<'a> = Option<&'a [u8]>;

/// What a handshake came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Told that there is no such session (id 0, timeout 0, a password of zeros), then closed.
    Refused,
    /// Closed without a word.
    Closed,
}

/// A server whose connections land on different shards by chance.
fn target() -> Target {
    Target::start(|builder| builder.shards(2))
}

/// Sends a handshake for a session with this password, and tells what comes.
fn knock(target: &Target, session: SessionId, password: Sent<'_>) -> Outcome {
    let options = ConnectOptions { deadline: DEADLINE, ..ConnectOptions::default() };
    let mut connection = Connection::open(target.address, &options).unwrap();
    let mut bytes = Vec::new();
    jute::frame(&mut bytes, |w: &mut Writer<'_>| {
        w.int(0);
        w.long(0);
        w.int(30_000);
        w.long(session.0);
        w.buffer(password);
        w.bool(false);
    });
    connection.send_raw(&bytes).unwrap();
    let outcome = match connection.recv_frame() {
        Ok(frame) => {
            let said = ConnectResponse::decode(&frame).unwrap();
            let none = ConnectResponse::expired(Some(false));
            assert_eq!(said, none, "a renewal with {password:?}");
            Outcome::Refused
        }
        Err(ClientError::Closed { .. }) => return Outcome::Closed,
        Err(other) => panic!("{password:?}: {other}"),
    };
    connection.wait_closed().unwrap();
    outcome
}

/// The same session on a new connection.
fn renew(target: &Target, session: &ConnectResponse) -> client::Result<Connection> {
    let options =
        ConnectOptions { deadline: DEADLINE, timeout_ms: session.timeout_ms, ..ConnectOptions::renewing(session) };
    Connection::connect(target.address, &options)
}

/// A session with an ephemeral of its own.
fn owner(target: &Target, path: &str) -> Connection {
    let mut owner = target.connect();
    owner.create(path, b"", CreateMode::Ephemeral).unwrap();
    owner
}

fn flipped(password: &Password) -> Password {
    let mut wrong = *password;
    wrong[PASSWORD_BYTES - 1] ^= 1;
    wrong
}

#[test]
fn a_wrong_password_costs_the_owner_its_connection_and_not_its_session() {
    let target = target();
    let first = owner(&target, "/renewed");
    let session = *first.session().unwrap();
    let right = session.password;
    let long = [&right[..], b"x"].concat();
    let wrong: [(&str, Sent<'_>); 7] = [
        ("a bit flipped", Some(&flipped(&right))),
        ("zeros", Some(&[0; PASSWORD_BYTES])),
        ("no bytes", Some(&[])),
        ("the first 15 bytes", Some(&right[..15])),
        ("17 bytes", Some(&long)),
        ("64 KiB", Some(&[7; 65_536])),
        ("null", None),
    ];
    let mut owner = first;
    for (what, password) in wrong {
        assert_eq!(knock(&target, session.session_id, password), Outcome::Refused, "{what}");
        owner.wait_closed().unwrap_or_else(|e| panic!("{what}: the owner's connection stands: {e}"));
        // Nobody has it now; once more is refused all the same.
        assert_eq!(knock(&target, session.session_id, password), Outcome::Refused, "{what}, again");
        owner = renew(&target, &session).unwrap_or_else(|e| panic!("{what}: the session is gone: {e}"));
        assert_eq!(owner.session_id(), session.session_id);
        assert_eq!(owner.ephemerals("/").unwrap(), ["/renewed"], "{what}");
        assert_eq!(owner.session().unwrap().password, right);
    }
    // Its connection is now the newest: it stands, and its end is the session's.
    owner.ping().unwrap();
    owner.close().unwrap();
    assert_eq!(target.connect().exists("/renewed", false).unwrap(), None);
}

#[test]
fn who_waits_for_an_answer_when_it_is_thrown_out_is_closed_and_its_writes_are_whole() {
    let target = target();
    let mut witness = target.connect();
    let mut first = owner(&target, "/thrown");
    let session = *first.session().unwrap();
    for number in 0..200 {
        first.queue(&proto::request::Request::SetData(proto::request::SetDataRequest {
            path: "/thrown",
            data: Some(format!("{number}").as_bytes()),
            version: number,
        }));
    }
    first.flush().unwrap();
    assert_eq!(knock(&target, session.session_id, Some(&flipped(&session.password))), Outcome::Refused);
    let mut answered = 0;
    while first.recv_reply().is_ok_and(|reply| reply.ok().is_ok()) {
        answered += 1;
    }
    let mut again = renew(&target, &session).unwrap();
    let version = again.get("/thrown", false).unwrap().1.version;
    assert!(version >= answered, "{answered} writes were acknowledged, {version} are there");
    assert_eq!(witness.sync("/").and_then(|_| witness.get("/thrown", false)).unwrap().1.version, version);
    again.close().unwrap();
}

#[test]
fn a_session_that_never_was_or_has_ended_is_refused_with_any_password() {
    let target = target();
    let bystander = owner(&target, "/unconcerned");
    let zeros: Sent<'_> = Some(&[0; PASSWORD_BYTES]);
    for id in [1, 77, -1, i64::MIN, i64::MAX] {
        for password in [zeros, Some(b""), None, Some(&java_password(id))] {
            assert_eq!(knock(&target, SessionId(id), password), Outcome::Refused, "session {id:#x}");
        }
    }
    let ended = owner(&target, "/ended");
    let closed = *ended.session().unwrap();
    ended.close().unwrap();
    let mut left = target.connect_for(SHORT_MS);
    left.create("/expired", b"", CreateMode::Ephemeral).unwrap();
    let expired = *left.session().unwrap();
    left.abort();
    let mut witness = target.connect();
    until_within(DEADLINE, "the end of who has left", || witness.exists("/expired", false).unwrap().is_none());
    for gone in [closed, expired] {
        assert_eq!(knock(&target, gone.session_id, Some(&gone.password)), Outcome::Refused);
        assert_eq!(knock(&target, gone.session_id, zeros), Outcome::Refused);
    }
    bystander.close().unwrap();
}

/// The password that a server would give to this session: the first 16 bytes of `java.util.Random`.
fn java_password(id: i64) -> Password {
    let mut seed = ((id ^ 0xB341_5C00) ^ 0x5_DEEC_E66D) & ((1 << 48) - 1);
    let mut password = [0; PASSWORD_BYTES];
    for word in password.chunks_exact_mut(4) {
        seed = (seed.wrapping_mul(0x5_DEEC_E66D) + 0xB) & ((1 << 48) - 1);
        let next = i32::try_from((seed << 16) >> 32).expect("the upper 32 of 48 bits");
        word.copy_from_slice(&next.to_le_bytes());
    }
    password
}

#[test]
fn a_handshake_without_a_session_gets_a_new_one_whatever_password_it_names() {
    let target = target();
    let options =
        ConnectOptions { deadline: DEADLINE, renew: Some((SessionId(0), [9; 16])), ..ConnectOptions::default() };
    let mut connection = Connection::connect(target.address, &options).unwrap();
    assert_ne!(connection.session().unwrap().password, [9; 16]);
    connection.ping().unwrap();
    connection.close().unwrap();
}
