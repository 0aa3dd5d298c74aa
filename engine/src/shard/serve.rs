//! Requests: frames become reads that are served under the tree's lock, or writes for the core, within the limits of a visit and of a hold.

use super::conn::{Conn, InFlight, Phase};
use super::reads::{Answered, Reader};
use super::{Action, CloseReason, Hold, Note, Served, ShardState, Step, Visit, Way, asked};
use crate::replica::Forward;
use crate::stream::{ConnId, Refusal};
use crate::tree::Tree;
use proto::connect::ConnectRequest;
use proto::reply::ReplyHeader;
use proto::request::{Request, RequestHeader};
use proto::{ErrorCode, OpCode, Xid, jute, watch};
use std::sync::Arc;

/// Requests of one connection that one visit serves, so that a busy one does not keep the others waiting.
const REQUESTS_PER_VISIT: usize = 64;
/// How often a request waits for what it needs to be read in. What is larger than memory would otherwise be read in for ever; after that many
/// times it is served, and whoever serves it waits for the disk.
const COLD_WAITS_MAX: u8 = 3;
/// Bytes of replies that one call of [`ShardState::serve`] produces before it lets go of the lock.
const SERVE_BYTES_MAX: usize = 1 << 20;
/// Requests that one call of [`ShardState::serve`] deals with before it lets go of the lock.
const SERVE_REQUESTS_MAX: usize = 1_024;

impl ShardState {
    /// Serves what is ready, from a tree that shows exactly what the stream has brought. `has_room`: may requests be forwarded?
    ///
    /// # Panics
    /// If the tree is at another position than the stream.
    pub fn serve(&mut self, tree: &Tree, has_room: bool, now_us: u64) -> Served {
        assert!(
            tree.last_zxid() == self.position,
            "the tree is at {}, the stream at {}",
            tree.last_zxid(),
            self.position
        );
        self.in_flight_elsewhere = self.options.throttle.in_flight_elsewhere(usize::from(self.options.shard.0));
        let mut bytes_left = SERVE_BYTES_MAX;
        let mut requests_left = SERVE_REQUESTS_MAX;
        let mut no_room = false;
        let mut visits = self.ready.len();
        while visits > 0 && bytes_left > 0 && requests_left > 0 {
            visits -= 1;
            let Some(id) = self.ready.pop_front() else { break };
            let Some(mut conn) = self.take(id) else { continue };
            conn.is_queued = false;
            self.came(&mut conn);
            let output_before = conn.out.len();
            let received_before = conn.counts.packets_received;
            let visit = self.visit(&mut conn, tree, has_room, now_us);
            bytes_left = bytes_left.saturating_sub(conn.out.len().saturating_sub(output_before));
            let requests = conn.counts.packets_received - received_before;
            requests_left = requests_left.saturating_sub(usize::try_from(requests).unwrap_or(usize::MAX));
            self.counts.packets_received += requests;
            let has_output = !conn.out.is_empty();
            let resume = conn.is_paused && conn.undecoded().len() <= self.options.frame_bytes_max;
            conn.is_paused &= !resume;
            self.pass_on_place(&mut conn, visit);
            self.put_back(conn);
            if resume {
                self.actions.push(Action::Resume(id));
            }
            if has_output {
                self.dirty(id);
            }
            match visit {
                Visit::Waits | Visit::NoPlace => {}
                Visit::More => {
                    self.make_ready(id);
                    visits += 1;
                }
                Visit::Held(hold) => self.hold(id, hold, now_us),
                Visit::NoRoom => {
                    self.make_ready(id);
                    no_room = true;
                }
                Visit::Close(reason) => self.close_after_flush(id, reason),
                Visit::Abort(reason) => {
                    self.counts.large_requests_rejected += u64::from(reason == CloseReason::LargeRequest);
                    self.counts.frame_length_closes += u64::from(reason == CloseReason::FrameLength);
                    self.abort(id, reason);
                }
                Visit::FourLetterWord(word) => {
                    self.counts.packets_received += 1;
                    self.counts.bytes_received += 4;
                    self.set_closing(id);
                    self.actions.push(Action::FourLetterWord(id, word));
                }
            }
        }
        self.options.throttle.set_in_flight(usize::from(self.options.shard.0), self.in_flight);
        // Who was woken for a place may not have taken it.
        self.release_held_if_room();
        match (self.ready.is_empty(), no_room) {
            (true, _) => Served::All,
            (false, true) => Served::NoRoom,
            (false, false) => Served::More,
        }
    }

    /// Deals with a connection's requests until it has to wait.
    fn visit(&mut self, conn: &mut Conn, tree: &Tree, has_room: bool, now_us: u64) -> Visit {
        // The frames are borrowed from the input while the connection changes: so it is taken out for the visit.
        let input = std::mem::take(&mut conn.input);
        let mut start = conn.input_start;
        let mut visit = Visit::More;
        for _ in 0..REQUESTS_PER_VISIT {
            let rest = input.get(start..).unwrap_or_default();
            match self.next_frame(conn, rest) {
                Err(stop) => {
                    visit = stop;
                    break;
                }
                Ok(frame) => match self.deal_with(conn, frame, tree, has_room, now_us) {
                    Step::Done => {
                        conn.cold_waits = 0;
                        conn.counts.packets_received += 1;
                        self.counts.bytes_received += 4 + frame.len() as u64;
                        start += 4 + frame.len();
                    }
                    Step::Stop(stop) => {
                        visit = stop;
                        break;
                    }
                },
            }
        }
        conn.input = input;
        conn.input_start = start;
        conn.consume(0);
        visit
    }

    /// The next whole frame, without its length.
    fn next_frame<'i>(&self, conn: &Conn, input: &'i [u8]) -> Result<&'i [u8], Visit> {
        let blocked = conn.output_bytes() > self.options.output_bytes_soft;
        if blocked || conn.long.is_some() || !matches!(conn.phase, Phase::New | Phase::Ready) {
            return Err(Visit::Waits);
        }
        let (prefix, rest) = input.split_first_chunk::<4>().ok_or(Visit::Waits)?;
        if conn.phase == Phase::New && is_four_letter_word(*prefix) {
            return Err(Visit::FourLetterWord(*prefix));
        }
        match usize::try_from(i32::from_be_bytes(*prefix)) {
            Ok(len) if len <= self.options.frame_bytes_max => {
                let throttle = &self.options.throttle;
                if throttle.is_large(len) && conn.phase == Phase::Ready && !throttle.has_room_for_large(len) {
                    return Err(Visit::Abort(CloseReason::LargeRequest));
                }
                rest.get(..len).ok_or(Visit::Waits)
            }
            _ => Err(Visit::Abort(CloseReason::FrameLength)),
        }
    }

    fn deal_with(&mut self, conn: &mut Conn, frame: &[u8], tree: &Tree, has_room: bool, now_us: u64) -> Step {
        if conn.phase == Phase::New {
            return if has_room { self.handshake(conn, frame, now_us) } else { Step::Stop(Visit::NoRoom) };
        }
        let mut reader = jute::Reader::new(frame);
        let Ok(header) = RequestHeader::read(&mut reader) else {
            return Step::Stop(Visit::Abort(CloseReason::Malformed));
        };
        let body = reader.rest();
        let op = OpCode::from_wire(header.op);
        match op {
            Some(OpCode::Auth) => return self.authenticate(conn, header.xid, body),
            Some(OpCode::Sasl) => return self.sasl(conn, header.xid, body),
            _ if !self.options.auth.admits(&conn.ids) => return self.turn_away(conn, header.xid),
            Some(OpCode::Ping) => {
                self.answer_header(conn, ReplyHeader::ok(Xid::PING, self.position));
                conn.counts.answered("PING", header.xid.0, self.position.0.cast_signed(), now_us, 0);
                self.took(Way::Shard, 0);
                return Step::Done;
            }
            _ => {}
        }
        // deleteContainer is the server's own; ZooKeeper serves it from anybody, which we refuse on purpose.
        let refused = matches!(op, None | Some(OpCode::Check | OpCode::DeleteContainer));
        let mut unreadable_takes_zxid = false;
        let request = match op.filter(|_| !refused).map(|op| Request::read(op, &mut reader)) {
            Some(Ok(Some(request))) => Some(Ok(request)),
            Some(Err(error)) => {
                unreadable_takes_zxid = takes_zxid_unread(op, error);
                Some(Err(ErrorCode::MarshallingError))
            }
            Some(Ok(None)) | None => None,
        };
        let to_core = match &request {
            Some(Ok(request)) => request.op().is_write() || request.op() == OpCode::Sync,
            Some(Err(_)) => unreadable_takes_zxid,
            None => false,
        };
        if let Some(Ok(request)) = &request
            && conn.cold_waits < COLD_WAITS_MAX
            && let Some(cold) = tree.cold_for(conn.session, request)
        {
            (conn.is_cold, conn.cold_waits) = (true, conn.cold_waits + 1);
            self.counts.cold_waits += 1;
            self.cold.push((conn.id, cold));
            return Step::Stop(Visit::Waits);
        }
        if let Some(op) = op.filter(|_| to_core) {
            return match self.admit(conn, &header, op, frame.len(), now_us) {
                Ok(large_bytes) => {
                    let request = InFlight { xid: header.xid, op, large_bytes, received_us: now_us };
                    let step = self.forward(conn, request, body, has_room);
                    if large_bytes > 0 && !matches!(step, Step::Done) {
                        self.options.throttle.give_back_large(large_bytes);
                    }
                    step
                }
                Err(step) => step,
            };
        }
        // What is answered here waits until every write before it has been.
        if !conn.in_flight.is_empty() {
            return Step::Stop(Visit::Waits);
        }
        match request {
            Some(Ok(request)) => match self.read(conn, header.xid, &request, tree) {
                Answered::Whole => {}
                Answered::TooLarge => self.reply_was_too_large(conn.id),
                Answered::Long(dir) => {
                    self.begin_long(conn, header.xid, request.op(), &dir, now_us);
                    return Step::Done;
                }
                Answered::NoPlace => {
                    self.wait_for_place(conn);
                    return Step::Stop(Visit::NoPlace);
                }
            },
            Some(Err(code)) => self.answer_header(conn, ReplyHeader::error(header.xid, self.position, code)),
            None => {
                self.answer_header(conn, ReplyHeader::error(header.xid, watch::NO_ZXID, ErrorCode::Unimplemented));
                return Step::Stop(Visit::Close(CloseReason::UnknownOperation));
            }
        }
        let short = op.map_or("NA", asked::short_name);
        conn.counts.answered(short, header.xid.0, self.position.0.cast_signed(), now_us, 0);
        self.took(Way::Shard, 0);
        Step::Done
    }

    fn handshake(&mut self, conn: &mut Conn, frame: &[u8], now_us: u64) -> Step {
        let Ok(request) = ConnectRequest::decode(frame) else {
            return Step::Stop(Visit::Abort(CloseReason::Malformed));
        };
        if !self.is_serving {
            return Step::Stop(Visit::Abort(CloseReason::Refused(Refusal::NotServing)));
        }
        if !self.options.throttle.try_connect(request.session_id.0 != 0, now_us) {
            self.counts.connects_throttled += 1;
            return Step::Stop(Visit::Abort(CloseReason::NoTokens));
        }
        self.forwards.items.push(Forward::Connect {
            from: self.attachment(conn.id),
            last_zxid_seen: request.last_zxid_seen,
            timeout_ms: request.timeout_ms,
            session: request.session_id,
            password: request.password.try_into().ok(),
            read_only: request.read_only,
        });
        conn.connect_us = now_us;
        conn.renews = request.session_id.0 != 0;
        self.counts.connect_requests += 1;
        self.counts.renewals += u64::from(conn.renews);
        conn.phase = Phase::Connecting;
        Step::Done
    }

    fn forward(&mut self, conn: &mut Conn, request: InFlight, body: &[u8], has_room: bool) -> Step {
        let InFlight { xid, op, .. } = request;
        let was_full = std::mem::replace(&mut conn.is_full, conn.in_flight.len() >= self.options.in_flight_max);
        if conn.is_full {
            self.counts.in_flight_waits += u64::from(!was_full);
            return Step::Stop(Visit::Held(Hold::InFlight));
        }
        if !has_room {
            return Step::Stop(Visit::NoRoom);
        }
        let start = self.forwards.bytes.len();
        self.forwards.bytes.extend_from_slice(body);
        let body = start..self.forwards.bytes.len();
        let (from, session, ids) = (self.attachment(conn.id), conn.session, Arc::clone(&conn.ids));
        self.forwards.items.push(Forward::Request { from, session, xid, op, body, ids });
        conn.in_flight.push_back(request);
        self.in_flight += 1;
        if op == OpCode::CloseSession {
            conn.phase = Phase::Ending;
        }
        Step::Done
    }

    fn read<'t>(&mut self, conn: &mut Conn, xid: Xid, request: &Request<'_>, tree: &'t Tree) -> Answered<'t> {
        conn.write_header_position(self.position);
        let mut reader = Reader {
            tree,
            watches: &mut self.watches,
            conn: conn.id,
            session: conn.session,
            rules: &self.options.auth,
            ids: &conn.ids,
            zxid: self.position,
            reply_bytes_max: self.options.reply_bytes_max,
            listing_long: self.options.listing_long,
            places: &self.places,
            client: conn.peer.ip(),
        };
        let out_before = conn.out.len();
        let answered = reader.answer(xid, request, &mut conn.out);
        if matches!(answered, Answered::Whole | Answered::TooLarge) {
            conn.counts.packets_sent += 1;
            self.counts.replied(conn.out.len() - out_before);
        }
        answered
    }

    pub(super) fn reply_was_too_large(&mut self, id: ConnId) {
        self.counts.reply_limit_errors += 1;
        self.actions.push(Action::Noted(id, Note::ReplyLimit));
    }

    pub(super) fn answer_header(&mut self, conn: &mut Conn, header: ReplyHeader) {
        let out_before = conn.out.len();
        jute::frame(&mut conn.out, |w| header.write(w));
        conn.counts.packets_sent += 1;
        self.counts.replied(conn.out.len() - out_before);
    }
}

/// Does a request that cannot be read become an error txn? In ZooKeeper (`PrepRequestProcessor`, 3.9) a multi does, but not for a null ACL,
/// and so does a create or delete that is whole and has no path.
fn takes_zxid_unread(op: Option<OpCode>, error: jute::DecodeError) -> bool {
    match op {
        Some(OpCode::Multi) => error != jute::DecodeError::NullAcl,
        Some(op) => op.is_write() && error == jute::DecodeError::UnexpectedNull,
        None => false,
    }
}

/// ZooKeeper's four-letter words, and what telnet sends for Ctrl-C.
fn is_four_letter_word(bytes: [u8; 4]) -> bool {
    const WORDS: [&[u8; 4]; 18] = [
        b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"hash", b"isro", b"mntr", b"ruok", b"srst",
        b"srvr", b"stat", b"stmk", b"wchc", b"wchp", b"wchs",
    ];
    WORDS.contains(&&bytes) || bytes == [0xff, 0xf4, 0xff, 0xfd]
}
