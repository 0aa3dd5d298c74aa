//! Every golden vector, captured from the real server, is decoded, says the same as an independent decoder, and is encoded back to the same
//! bytes.

mod golden;

use std::collections::{BTreeMap, BTreeSet};

use golden::between::{
    show_auth_packet, show_initial_message, show_notification, show_packet_of_leader, show_packet_of_learner,
    show_snapshot,
};
use golden::{Vector, show_connect_response, show_event, show_reply, show_txn};
use ringkeeper_proto::connect::{ConnectRequest, ConnectResponse};
use ringkeeper_proto::election::{InitialMessage, Notification};
use ringkeeper_proto::quorum::snap::SnapReader;
use ringkeeper_proto::quorum::{
    DATA_BYTES_MAX_DEFAULT, FromLeader, FromLearner, PacketType, QuorumAuthPacket, QuorumPacket,
};
use ringkeeper_proto::reply::{Reply, ReplyHeader};
use ringkeeper_proto::request::{Request, RequestHeader};
use ringkeeper_proto::txn::TxnRecord;
use ringkeeper_proto::watch::WatcherEvent;
use ringkeeper_proto::{ErrorCode, OpCode, Reader, Received, StatPersisted, Writer, Xid, java_text, jute};
use serde_json::{Value, json};

/// Vectors whose bytes we do not make again, `kind name`, and why.
const NOT_REPRODUCED: &[(&str, &str)] = &[
    ("request body_too_long", "bytes after the record are ignored, and so lost"),
    ("connect connect_null_password", "a null password counts as empty"),
    ("reply multiRead_write_inside", "Java sends a half-built answer beside the error; we send the error alone"),
];

/// Requests that we refuse to decode though Java answers them otherwise than with MarshallingError, and why.
const REFUSED: &[(&str, &str)] = &[
    ("addWatch_null_path", "Java keeps a watch on null, which nothing can fire"),
    ("apart.path", "a path that is not UTF-8 is another one for Java, which it then refuses as BadArguments"),
    ("apart.path_read", "the same, and there is none"),
];

fn encoded(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

/// Reads a part of a snapshot and writes it again. Returns the count of bytes behind it.
fn copy_of_a_snapshot(kind: &str, bytes: &[u8], w: &mut Writer<'_>) -> jute::Result<usize> {
    let mut r = Reader::new(bytes);
    match kind {
        "node" => {
            w.string(r.string()?);
            w.buffer(r.buffer()?);
            w.long(r.long()?);
            StatPersisted::read(&mut r)?.write(w);
        }
        _ => {
            w.long(r.long()?);
            w.int(r.int()?);
            if kind == "digest" {
                w.long(r.long()?);
            }
        }
    }
    Ok(r.rest().len())
}

/// What one vector must satisfy. `errors` has the code with which the real server answered, by file and name.
struct Check<'v> {
    vector: &'v Vector,
    errors: &'v BTreeMap<(String, String), i32>,
}

impl Check<'_> {
    fn id(&self) -> String {
        format!("{} {}", self.vector.kind, self.vector.name)
    }

    #[track_caller]
    fn same_bytes(&self, again: &[u8]) {
        let known = NOT_REPRODUCED.iter().any(|(id, _)| *id == self.id());
        let same = again == self.vector.data;
        assert!(same || known, "{}: encoded as\n{again:02x?}, captured\n{:02x?}", self.id(), self.vector.data);
        assert!(!(same && known), "{} is reproduced: strike it from the exceptions", self.id());
    }

    #[track_caller]
    fn same_fields(&self, shown: &Value) {
        let fields = self.vector.fields.as_ref().unwrap_or_else(|| panic!("{} has no `# =` line", self.id()));
        assert_eq!(shown, fields, "{}", self.id());
    }

    fn run(&self) {
        match self.vector.kind.as_str() {
            "connect" => self.connect(),
            "accepted" => self.accepted(),
            "request" => self.request(),
            "reply" => self.reply(),
            "event" => self.event(),
            "txn" => self.txn(),
            "digest" | "session" | "node" => self.of_a_snapshot(),
            "to_leader" | "to_learner" => self.packet(),
            "snapshot_stream" => self.snapshot_stream(),
            "initial_message" => self.initial_message(),
            "notification" => self.notification(),
            "auth_packet" => self.auth_packet(),
            "text" => self.same_fields(&json!({ "text": java_text(&self.vector.data) })),
            "closed" | "silent" => assert!(self.vector.data.is_empty(), "{} carries bytes", self.id()),
            other => panic!("{}: unknown kind {other}", self.vector.file),
        }
    }

    fn connect(&self) {
        let request =
            ConnectRequest::decode(&self.vector.data).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        self.same_bytes(&encoded(|w| request.write(w)));
    }

    fn accepted(&self) {
        let response =
            ConnectResponse::decode(&self.vector.data).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        self.same_fields(&show_connect_response(&response));
        self.same_bytes(&encoded(|w| response.write(w)));
    }

    fn request(&self) {
        let mut r = Reader::new(&self.vector.data);
        let header = RequestHeader::read(&mut r).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        assert_eq!(header.op, self.vector.op, "{}", self.id());
        let Some(op) = OpCode::from_wire(header.op) else {
            assert_eq!(self.vector.name, "unknown_opcode");
            return;
        };
        match Request::read(op, &mut r) {
            Ok(Some(request)) => self.same_bytes(&encoded(|w| {
                header.write(w);
                request.write(w);
            })),
            Ok(None) => assert!(
                matches!(op, OpCode::Notification | OpCode::CreateSession | OpCode::Error),
                "{}: {op:?} is a client's",
                self.id()
            ),
            Err(error) => {
                let answer = self.errors.get(&(self.vector.file.clone(), self.vector.name.clone()));
                let known = REFUSED.iter().any(|(name, _)| *name == self.vector.name);
                let marshalling = answer == Some(&ErrorCode::MarshallingError.to_wire());
                assert!(marshalling || known, "{}: {error}, but the real server answered {answer:?}", self.id());
                assert!(!(marshalling && known), "{} is refused by Java too: strike it", self.id());
            }
        }
    }

    fn reply(&self) {
        let mut r = Reader::new(&self.vector.data);
        let header = ReplyHeader::read(&mut r).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        if header.err != 0 {
            assert!(ErrorCode::from_wire(header.err).is_some(), "{}: error {} is unknown", self.id(), header.err);
            if r.is_empty() {
                self.same_fields(&show_reply(OpCode::Error, &header, None));
            }
            self.same_bytes(&encoded(|w| header.write(w)));
            return;
        }
        let op = OpCode::from_wire(self.vector.op).unwrap_or_else(|| panic!("{}: op {}", self.id(), self.vector.op));
        let reply = Reply::read(op, &mut r).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        assert!(r.is_empty(), "{}: {} bytes are left", self.id(), r.rest().len());
        self.same_fields(&show_reply(op, &header, Some(&reply)));
        self.same_bytes(&encoded(|w| {
            header.write(w);
            reply.write(w);
        }));
    }

    fn event(&self) {
        let mut r = Reader::new(&self.vector.data);
        let header = ReplyHeader::read(&mut r).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        let event = WatcherEvent::read(&mut r).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        assert!(r.is_empty() && header.xid == Xid::NOTIFICATION, "{}", self.id());
        self.same_fields(&show_event(&header, &event));
        self.same_bytes(&encoded(|w| {
            header.write(w);
            event.write(w);
        }));
    }

    /// The parts of a snapshot file, which has no other reader here yet.
    fn of_a_snapshot(&self) {
        let mut again = Vec::new();
        let left = copy_of_a_snapshot(&self.vector.kind, &self.vector.data, &mut Writer::new(&mut again))
            .unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        assert_eq!(left, 0, "{}", self.id());
        self.same_bytes(&again);
    }

    /// What was received of the whole vector; nothing must be left.
    fn whole<T>(&self, received: jute::Result<Received<T>>) -> T {
        match received {
            Ok(Received::Whole(thing, len)) if len == self.vector.data.len() => thing,
            Ok(Received::Whole(_, len)) => panic!("{}: {len} of {} bytes", self.id(), self.vector.data.len()),
            Ok(Received::NeedsBytes(len)) => panic!("{}: wants {len} bytes", self.id()),
            Err(error) => panic!("{}: {error}", self.id()),
        }
    }

    /// A packet of the quorum port: the record alone, and what it means in its direction.
    fn packet(&self) {
        let packet = self.whole(QuorumPacket::receive(&self.vector.data, DATA_BYTES_MAX_DEFAULT));
        assert_eq!(packet.ty, self.vector.op, "{}", self.id());
        self.same_bytes(&encoded(|w| packet.write(w)));
        if self.vector.kind == "to_leader" {
            let meaning = FromLearner::decode(&packet).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
            self.same_fields(&show_packet_of_learner(&packet, &meaning));
            self.same_bytes(&encoded(|w| meaning.write(w)));
        } else {
            let meaning = FromLeader::decode(&packet).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
            self.same_fields(&show_packet_of_leader(&packet, &meaning));
            self.same_bytes(&encoded(|w| meaning.write(w)));
        }
    }

    fn snapshot_stream(&self) {
        let mut reader = SnapReader::new(DATA_BYTES_MAX_DEFAULT);
        let (mut rest, mut items, mut again) = (self.vector.data.as_slice(), Vec::new(), Vec::new());
        while !reader.is_over() {
            let Ok(Received::Whole(item, len)) = reader.receive(rest) else { panic!("{}: cut short", self.id()) };
            rest = rest.get(len..).expect("within what there is");
            item.write(&mut Writer::new(&mut again));
            items.push(item);
        }
        assert!(rest.is_empty(), "{}", self.id());
        self.same_fields(&show_snapshot(&items));
        self.same_bytes(&again);
    }

    fn initial_message(&self) {
        let message = self.whole(InitialMessage::receive(&self.vector.data));
        self.same_fields(&show_initial_message(&message));
        self.same_bytes(&encoded(|w| message.write(w)));
    }

    fn notification(&self) {
        let vote = Notification::decode(&self.vector.data).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        self.same_fields(&show_notification(&vote));
        self.same_bytes(&encoded(|w| vote.write(w)));
    }

    fn auth_packet(&self) {
        assert_eq!(QuorumAuthPacket::is_next(&self.vector.data), Received::Whole(true, 0), "{}", self.id());
        let packet = self.whole(QuorumAuthPacket::receive(&self.vector.data));
        self.same_fields(&show_auth_packet(&packet));
        self.same_bytes(&encoded(|w| packet.write(w)));
    }

    fn txn(&self) {
        let record = TxnRecord::decode(&self.vector.data).unwrap_or_else(|error| panic!("{}: {error}", self.id()));
        assert_eq!(record.header.op.to_wire(), self.vector.op, "{}", self.id());
        self.same_fields(&show_txn(&record));
        let mut again = Vec::new();
        record.encode(&mut again);
        self.same_bytes(&again);
    }
}

#[test]
fn what_the_real_server_said_is_understood_and_said_again() {
    let vectors = golden::load();
    let errors = vectors
        .iter()
        .filter(|vector| vector.kind == "reply")
        .filter_map(|vector| {
            let err = ReplyHeader::read(&mut Reader::new(&vector.data)).ok()?.err;
            Some(((vector.file.clone(), vector.name.clone()), err))
        })
        .collect();
    for vector in &vectors {
        Check { vector, errors: &errors }.run();
    }
    let kinds: BTreeSet<&str> = vectors.iter().map(|vector| vector.kind.as_str()).collect();
    let client = ["accepted", "closed", "connect", "event", "reply", "request", "silent"];
    let disk = ["digest", "node", "session", "txn"];
    let between = ["auth_packet", "initial_message", "notification", "snapshot_stream", "to_leader", "to_learner"];
    let expected = BTreeSet::from_iter(client.into_iter().chain(disk).chain(between).chain(["text"]));
    assert_eq!(kinds, expected, "every kind is there");
    for (id, _) in NOT_REPRODUCED {
        assert!(vectors.iter().any(|vector| format!("{} {}", vector.kind, vector.name) == *id), "{id} is gone");
    }
}

/// The vectors are complete: an operation without any would be tested by its own idea of the format alone.
#[test]
fn every_operation_and_every_txn_type_has_a_vector() {
    let vectors = golden::load();
    let has = |kind: &str, op: OpCode| vectors.iter().any(|vector| vector.kind == kind && vector.op == op.to_wire());
    for &op in OpCode::ALL {
        assert!(has("request", op), "no request {}", op.name());
        // Logged only by an ensemble, or only inside a multi.
        if op.is_write() && op != OpCode::Reconfig || op == OpCode::Error {
            assert!(has("txn", op), "no txn {}", op.name());
        }
    }
}

/// As above, of the packets between servers. Each version of Java has a file of its own.
#[test]
fn every_packet_type_has_a_vector() {
    let vectors = golden::load();
    for file in ["quorum-3.9.5.txt", "quorum-3.8.0.txt"] {
        let of_file = || vectors.iter().filter(|vector| vector.file == file);
        for &ty in PacketType::ALL {
            assert!(
                of_file().any(|vector| vector.op == ty.to_wire() && vector.kind.starts_with("to_")),
                "{file}: {ty:?}"
            );
        }
        for both_ways in [PacketType::Ping, PacketType::Revalidate] {
            let kinds: BTreeSet<_> =
                of_file().filter(|vector| vector.op == both_ways.to_wire()).map(|v| &v.kind).collect();
            assert_eq!(kinds.len(), 2, "{file}: {both_ways:?} goes both ways");
        }
        // An observer in step is asked by nobody: OBSERVING is said too seldom to be waited for.
        for state in ["LOOKING", "FOLLOWING", "LEADING"] {
            let says = |vector: &Vector| vector.fields.as_ref().is_some_and(|fields| fields["state"] == state);
            assert!(of_file().any(says), "{file}: nobody is {state}");
        }
    }
}
