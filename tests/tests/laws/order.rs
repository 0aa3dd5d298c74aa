//! Law 4: replies of one session leave in request order, and a read shows every earlier write of its own session and no later one.
//!
//! Every request of a pipeline is foreseen by a model, its events too: a watch that is left by r1 and fired by w1 tells between
//! the replies to r1 and w1, wherever in the batch they are.

use crate::{Random, connect, create_all, seed, server};
use client::{AclList, Connection, Incoming, ReplyFrame};
use proto::reply::{OpResult, Reply};
use proto::request::{
    CreateMode, CreateRequest, MultiOp, MultiRequest, PathVersion, ReadRequest, Request, SetDataRequest,
};
use proto::watch::EventType;
use proto::{ErrorCode, OpCode};
use std::collections::VecDeque;

/// What a pipeline consists of. `d` always exists; `t` comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Set,
    SetWrongVersion,
    Get { watch: bool },
    Toggle,
    Exists { watch: bool },
    Multi,
    MultiRead,
    Children,
    Sync,
}

/// What the reply has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The version (or, for `t`, 0) that the reply shows.
    Version(i32),
    /// Number of children of the session's own directory.
    Children(usize),
    Error(ErrorCode),
    Done,
}

/// An event that must come after the reply at `after` and before the one at `before`.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    path: String,
    kind: EventType,
    after: usize,
    before: usize,
}

/// One session's znodes, as they will be once everything sent so far has been done.
struct Model {
    dir: String,
    version: i32,
    there: bool,
    /// The request that left the watch which still stands.
    watch_d: Option<usize>,
    watch_t: Option<usize>,
    sent: usize,
    answers: VecDeque<(Step, Answer)>,
    due: VecDeque<Due>,
}

impl Model {
    fn new(connection: &mut Connection, number: u64) -> Model {
        let dir = format!("/order{number}");
        create_all(connection, &[&dir, &format!("{dir}/d")]);
        Model {
            dir,
            version: 0,
            there: false,
            watch_d: None,
            watch_t: None,
            sent: 0,
            answers: VecDeque::new(),
            due: VecDeque::new(),
        }
    }

    fn queue(&mut self, connection: &mut Connection, step: Step) {
        let (d, t) = (format!("{}/d", self.dir), format!("{}/t", self.dir));
        let acl = AclList::open();
        let set = |version| SetDataRequest { path: &d, data: Some(b"x"), version };
        let create = CreateRequest {
            path: &t,
            data: None,
            acl: acl.as_vec(),
            flags: CreateMode::Persistent as i32,
            ttl_ms: None,
        };
        let delete = PathVersion { path: &t, version: -1 };
        let read = |path, watch| ReadRequest { path, watch };
        let request = match step {
            Step::Set => Request::SetData(set(-1)),
            Step::SetWrongVersion => Request::SetData(set(self.version + 7)),
            Step::Get { watch } => Request::GetData(read(&d, watch)),
            Step::Toggle if self.there => Request::Delete(delete),
            Step::Toggle => Request::Create(OpCode::Create, create),
            Step::Exists { watch } => Request::Exists(read(&t, watch)),
            Step::Multi if self.there => {
                Request::Multi(MultiRequest { ops: vec![MultiOp::SetData(set(self.version)), MultiOp::Delete(delete)] })
            }
            Step::Multi => Request::Multi(MultiRequest {
                ops: vec![MultiOp::SetData(set(self.version)), MultiOp::Create(OpCode::Create, create)],
            }),
            Step::MultiRead => Request::MultiRead(MultiRequest { ops: vec![MultiOp::GetData(read(&d, false))] }),
            Step::Children => Request::GetChildren(read(&self.dir, false)),
            Step::Sync => Request::Sync(&d),
        };
        connection.queue(&request);
        let answer = self.foresee(step);
        self.answers.push_back((step, answer));
        self.sent += 1;
    }

    fn foresee(&mut self, step: Step) -> Answer {
        match step {
            Step::Set => {
                self.change_d();
                Answer::Version(self.version)
            }
            Step::SetWrongVersion => Answer::Error(ErrorCode::BadVersion),
            Step::Get { watch } => {
                // Two watches of one session on one path are one: it stands from the first on.
                self.watch_d = self.watch_d.or(watch.then_some(self.sent));
                Answer::Version(self.version)
            }
            Step::Toggle => {
                self.change_t();
                Answer::Done
            }
            Step::Exists { watch } => {
                self.watch_t = self.watch_t.or(watch.then_some(self.sent));
                if self.there { Answer::Version(0) } else { Answer::Error(ErrorCode::NoNode) }
            }
            Step::Multi => {
                self.change_d();
                self.change_t();
                Answer::Done
            }
            Step::MultiRead => Answer::Version(self.version),
            Step::Children => Answer::Children(1 + usize::from(self.there)),
            Step::Sync => Answer::Done,
        }
    }

    fn change_d(&mut self) {
        self.version += 1;
        if let Some(after) = self.watch_d.take() {
            let path = format!("{}/d", self.dir);
            self.due.push_back(Due { path, kind: EventType::NodeDataChanged, after, before: self.sent });
        }
    }

    fn change_t(&mut self) {
        let kind = if self.there { EventType::NodeDeleted } else { EventType::NodeCreated };
        self.there = !self.there;
        if let Some(after) = self.watch_t.take() {
            self.due.push_back(Due { path: format!("{}/t", self.dir), kind, after, before: self.sent });
        }
    }

    /// Takes all replies and events and holds them against what was foreseen.
    fn agree(&mut self, connection: &mut Connection) {
        let mut at = self.sent - self.answers.len();
        while let Some(&(step, answer)) = self.answers.front() {
            match connection.recv().unwrap() {
                Incoming::Reply(reply) => {
                    assert_eq!(answer_of(&reply), answer, "{step:?}, request {at}: {reply:?}");
                    if let Some(due) = self.due.front() {
                        assert!(due.before > at, "the reply to {step:?}, request {at}, came before {due:?}");
                    }
                    self.answers.pop_front();
                    at += 1;
                }
                Incoming::Event(event) => {
                    let due = self.due.pop_front().unwrap_or_else(|| panic!("request {at}: nothing fires {event:?}"));
                    assert_eq!((&due.path, Some(due.kind)), (&event.path, event.kind()), "request {at}");
                    assert!(due.after < at, "{due:?} came before the reply to its registration: {at} replies came");
                }
            }
        }
    }
}

/// What a reply says, in the model's words.
fn answer_of(reply: &ReplyFrame) -> Answer {
    let code = reply.code().unwrap();
    if code != ErrorCode::Ok {
        return Answer::Error(code);
    }
    match reply.record().unwrap() {
        Reply::Stat(stat) | Reply::DataStat(_, stat) => Answer::Version(stat.version),
        Reply::Strings(names) => Answer::Children(names.iter().count()),
        Reply::Multi(results) => match results.as_slice() {
            [OpResult::GetData(_, stat)] => Answer::Version(stat.version),
            results => {
                assert!(!results.iter().any(|result| matches!(result, OpResult::Error(_))), "{results:?}");
                Answer::Done
            }
        },
        _ => Answer::Done,
    }
}

/// Runs `next` on sessions of their own, at once, in pipelines of several hundred requests.
fn pipelines(shards: usize, next: impl Fn(&mut Random, usize) -> Step + Sync) {
    const SESSIONS: u64 = 4;
    const ROUNDS: usize = 4;
    const DEPTH: usize = 400;
    let (server, seed, next) = (server(shards), seed(), &next);
    std::thread::scope(|scope| {
        for number in 0..SESSIONS {
            let mut connection = connect(&server);
            scope.spawn(move || {
                let mut random = Random::new(seed, number);
                let mut model = Model::new(&mut connection, number);
                for _ in 0..ROUNDS {
                    for at in 0..DEPTH {
                        model.queue(&mut connection, next(&mut random, at));
                    }
                    connection.flush().unwrap();
                    model.agree(&mut connection);
                }
                assert!(model.due.is_empty(), "events are missing: {:?}", model.due);
            });
        }
    });
}

#[test]
fn w1_r1_w2_shows_w1_and_not_w2() {
    for shards in [1, 2, 4] {
        pipelines(shards, |_, at| [Step::Set, Step::Get { watch: false }][at % 2]);
    }
}

#[test]
fn r1_w1_does_not_show_w1_and_the_watch_of_r1_tells_in_between() {
    for shards in [1, 2, 4] {
        pipelines(shards, |_, at| [Step::Get { watch: true }, Step::Set][at % 2]);
    }
}

#[test]
fn a_watch_on_what_is_not_there_yet_tells_in_between_too() {
    for shards in [1, 4] {
        pipelines(shards, |_, at| [Step::Exists { watch: true }, Step::Toggle][at % 2]);
    }
}

#[test]
fn any_mix_of_requests_is_answered_in_order_and_shows_what_it_should() {
    for shards in [1, 2, 4] {
        pipelines(shards, |random, _| {
            random.pick(&[
                Step::Set,
                Step::SetWrongVersion,
                Step::Get { watch: true },
                Step::Get { watch: false },
                Step::Toggle,
                Step::Exists { watch: true },
                Step::Exists { watch: false },
                Step::Multi,
                Step::MultiRead,
                Step::Children,
                Step::Sync,
            ])
        });
    }
}
