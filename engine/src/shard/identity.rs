//! How a connection proves who it is: auth requests, SASL, and turning away who has proved nothing (`ZooKeeperServer.processPacket`, 3.9.5).
//!
//! Auth requests are answered at once, as in ZooKeeper, where their xid -4 says which reply is meant. A SASL token has an ordinary xid: it waits
//! until every write before it is answered, so that replies keep the order of their requests (ZooKeeper answers it at once; its
//! clients cannot tell, since they send nothing else meanwhile). Every answer here says zxid 0. A proof that fails closes the connection, never
//! the session. `tests/tests/sasl.rs` and `tests/reference/auth_script.py` hold it against the real server's answers.

use super::conn::Conn;
use super::{Action, CloseReason, Note, ShardState, Step, Visit, Way};
use crate::auth::{self, AuthId, Refused};
use crate::sasl::Answer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::reply::ReplyHeader;
use proto::request::{AuthRequest, Request};
use proto::{ErrorCode, OpCode, Xid, Zxid, jute};
use sha2::{Digest as _, Sha256};

impl ShardState {
    /// An auth request: more identities, or the end of the connection.
    pub(super) fn authenticate(&mut self, conn: &mut Conn, xid: Xid, body: &[u8]) -> Step {
        let request = match Request::read(OpCode::Auth, &mut jute::Reader::new(body)) {
            Ok(Some(Request::Auth(request))) => request,
            _ => return Step::Stop(Visit::Abort(CloseReason::Malformed)),
        };
        let AuthRequest { scheme, auth, .. } = request;
        let outcome = self.options.auth.authenticate(scheme, auth, conn.peer);
        if scheme == Some("ensemble") && self.options.auth.ensemble_names.is_some() {
            let is_name_asked = self.options.auth.ensemble_names.as_ref().is_some_and(|names| !names.is_empty());
            let count = match outcome {
                Err(_) => &mut self.counts.ensemble_auth_failures,
                Ok(_) if is_name_asked && auth.is_some_and(|name| !name.is_empty()) => &mut self.counts.ensemble_auths,
                Ok(_) => &mut self.counts.ensemble_auths_skipped,
            };
            *count += 1;
        }
        match outcome.and_then(|ids| add_ids(conn, ids)) {
            Ok(()) => {
                self.answer_header(conn, ReplyHeader::ok(xid, Zxid::ZERO));
                Step::Done
            }
            Err(refused) => {
                self.counts.auth_failures += 1;
                if refused == Refused::WrongEnsemble {
                    return Step::Stop(Visit::Abort(CloseReason::WrongEnsemble));
                }
                self.answer_header(conn, ReplyHeader::error(xid, Zxid::ZERO, ErrorCode::AuthFailed));
                if refused == Refused::TooManyIds {
                    self.counts.ids_refused += 1;
                    return Step::Stop(Visit::Close(CloseReason::TooManyIds));
                }
                Step::Stop(Visit::Close(CloseReason::AuthFailed))
            }
        }
    }

    /// A SASL token, in its turn.
    pub(super) fn sasl(&mut self, conn: &mut Conn, xid: Xid, body: &[u8]) -> Step {
        if !conn.in_flight.is_empty() {
            return Step::Stop(Visit::Waits);
        }
        let Ok(Some(Request::Sasl(Some(token)))) = Request::read(OpCode::Sasl, &mut jute::Reader::new(body)) else {
            return Step::Stop(Visit::Abort(CloseReason::Malformed));
        };
        let rules = &self.options.auth;
        // Where nobody is configured, ZooKeeper answers with a null token.
        let Some(users) = &rules.sasl_users else {
            return self.answer_token(conn, ReplyHeader::ok(xid, Zxid::ZERO), None);
        };
        let (secret, challenges) = (&self.options.nonce_secret, &mut self.challenges);
        let answer = conn.sasl.step(users, token, || {
            *challenges += 1;
            nonce(secret, *challenges)
        });
        let answer = answer.map_err(|_| Refused::AuthFailed).and_then(|answer| match answer {
            Answer::Challenge(token) => Ok(token),
            Answer::Proved { user, token } => add_ids(conn, rules.sasl_ids(&user)).map(|()| token),
        });
        match answer {
            Ok(token) => self.answer_token(conn, ReplyHeader::ok(xid, Zxid::ZERO), Some(&token)),
            Err(refused) => self.sasl_failed(conn, xid, refused),
        }
    }

    fn sasl_failed(&mut self, conn: &mut Conn, xid: Xid, refused: Refused) -> Step {
        self.counts.auth_failures += 1;
        self.counts.sasl_failures += 1;
        let is_bound = refused == Refused::TooManyIds;
        self.counts.ids_refused += u64::from(is_bound);
        let must_log_in = self.options.auth.requires_sasl();
        if self.options.auth.sasl_failed_stay && !must_log_in {
            self.actions.push(Action::Noted(conn.id, Note::SaslFailed));
            return self.answer_token(conn, ReplyHeader::ok(xid, Zxid::ZERO), None);
        }
        let code = if must_log_in { ErrorCode::SessionClosedRequireSaslAuth } else { ErrorCode::AuthFailed };
        self.answer_token(conn, ReplyHeader::error(xid, Zxid::ZERO, code), None);
        Step::Stop(Visit::Close(if is_bound { CloseReason::TooManyIds } else { CloseReason::SaslFailed }))
    }

    /// Whoever must authenticate and has not is told so and sent away; the session lives on until it expires.
    pub(super) fn turn_away(&mut self, conn: &mut Conn, xid: Xid) -> Step {
        let code = ErrorCode::SessionClosedRequireSaslAuth;
        self.answer_header(conn, ReplyHeader::error(xid, Zxid::ZERO, code));
        self.counts.auth_required_closes += 1;
        Step::Stop(Visit::Close(CloseReason::AuthRequired))
    }

    /// ZooKeeper sends the record even where the header tells of an error.
    fn answer_token(&mut self, conn: &mut Conn, header: ReplyHeader, token: Option<&[u8]>) -> Step {
        let out_before = conn.out.len();
        jute::frame(&mut conn.out, |w| {
            header.write(w);
            w.buffer(token);
        });
        conn.counts.packets_sent += 1;
        self.counts.replied(conn.out.len() - out_before);
        self.took(Way::Shard, 0);
        Step::Done
    }
}

/// Adds what is new, up to the limit.
fn add_ids(conn: &mut Conn, new: Vec<AuthId>) -> Result<(), Refused> {
    let mut ids = conn.ids.to_vec();
    ids.extend(new.into_iter().filter(|id| !conn.ids.contains(id)));
    let bytes: usize = ids.iter().map(|id| id.scheme.len() + id.id.len()).sum();
    if ids.len() > auth::AUTH_IDS_MAX || bytes > auth::AUTH_IDS_BYTES_MAX {
        return Err(Refused::TooManyIds);
    }
    if ids.len() > conn.ids.len() {
        conn.ids = ids.into();
    }
    Ok(())
}

/// 40 characters that nobody can foresee who does not know the secret, and that are never the same again under it.
fn nonce(secret: &[u8; 32], number: u64) -> String {
    let hash = Sha256::new().chain_update(secret).chain_update(number.to_be_bytes()).finalize();
    let (bytes, _) = hash.split_at(NONCE_BYTES);
    BASE64.encode(bytes)
}

/// As many as the JDK takes.
const NONCE_BYTES: usize = 30;
