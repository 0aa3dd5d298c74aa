//! The model's rules, each as ZooKeeper 3.9.5 has it.

mod support;

use ringkeeper_sim::check::model::{Model, Origin, split};
use ringkeeper_sim::history::{Code, Op, SessionId, Told};
use support::{create, delete, ephemeral, multi, sequential, set, z};

fn origin(counter: u64, session: i64) -> Origin {
    Origin { session: SessionId(session), zxid: z(counter), at: None }
}

fn failed(model: &mut Model, counter: u64, op: &Op) -> Code {
    model.write(op, origin(counter, 1)).expect_err("it must fail").code
}

#[test]
fn creates_and_deletes_need_their_parents_and_no_children() {
    let mut model = Model::new();
    assert_eq!(failed(&mut model, 1, &create("/a/b", "")), Code::NO_NODE);
    model.write(&create("/a", ""), origin(2, 1)).expect("new");
    assert_eq!(failed(&mut model, 3, &create("/a", "")), Code::NODE_EXISTS);
    model.write(&create("/a/b", ""), origin(4, 1)).expect("new");
    assert_eq!(failed(&mut model, 5, &delete("/a")), Code::NOT_EMPTY);
    assert_eq!(failed(&mut model, 6, &delete("/a/c")), Code::NO_NODE);
    model.write(&delete("/a/b"), origin(7, 1)).expect("empty");
    let stat = model.get("/a").expect("it is there").stat();
    assert_eq!((stat.czxid, stat.pzxid, stat.cversion, stat.children), (z(2), z(7), 2, 0));
}

#[test]
fn ephemerals_have_no_children_and_go_with_their_session_alone() {
    let mut model = Model::new();
    model.write(&ephemeral("/e"), origin(1, 1)).expect("new");
    model.write(&ephemeral("/f"), origin(2, 2)).expect("new");
    assert_eq!(failed(&mut model, 3, &create("/e/x", "")), Code::NO_CHILDREN_FOR_EPHEMERALS);
    model.take_changes();
    model.end_session(origin(4, 1));
    assert_eq!((model.get("/e"), model.get("/f").is_some()), (None, true));
    let changes = model.take_changes();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].told, changes[0].path.as_str()), (Told::Deleted, "/e"));
}

#[test]
fn sequential_numbers_count_creations_and_are_never_given_back() {
    let mut model = Model::new();
    model.write(&create("/a", ""), origin(1, 1)).expect("new");
    let mut next = |counter: u64| model.write(&sequential("/a/s-"), origin(counter, 1)).expect("new").path;
    assert_eq!(next(2).as_deref(), Some("/a/s-0000000000"));
    assert_eq!(next(3).as_deref(), Some("/a/s-0000000001"));
    model.write(&delete("/a/s-0000000001"), origin(4, 1)).expect("empty");
    model.write(&create("/a/other", ""), origin(5, 1)).expect("new");
    let path = model.write(&sequential("/a/s-"), origin(6, 1)).expect("new").path;
    assert_eq!(path.as_deref(), Some("/a/s-0000000003"));
}

#[test]
fn versions_are_compared_and_counted() {
    let mut model = Model::new();
    model.write(&create("/a", "x"), origin(1, 1)).expect("new");
    let at = |version: i32| Op::Set { path: "/a".into(), data: "y".into(), version };
    assert_eq!(failed(&mut model, 2, &at(1)), Code::BAD_VERSION);
    model.write(&at(0), origin(3, 1)).expect("the right version");
    let stat = model.write(&set("/a", "z"), origin(4, 1)).expect("any version").stat.expect("told");
    assert_eq!((stat.version, stat.mzxid, stat.czxid), (2, z(4), z(1)));
    let delete = Op::Delete { path: "/a".into(), version: 1 };
    assert_eq!(failed(&mut model, 5, &delete), Code::BAD_VERSION);
}

#[test]
fn a_multi_is_all_or_nothing_and_each_operation_sees_those_before() {
    let mut model = Model::new();
    let ops = [create("/a", "x"), create("/a/b", ""), delete("/a")];
    let before = model.clone();
    let failure = model.write(&multi(&ops), origin(1, 1)).expect_err("not empty");
    assert_eq!((failure.code, &model), (Code::NOT_EMPTY, &before));
    let codes: Vec<i32> = failure.results.expect("a multi's").iter().map(|part| part.err.0).collect();
    assert_eq!(codes, [0, 0, -111]);
    let check = Op::Check { path: "/a".into(), version: 0 };
    model.write(&multi(&[create("/a", "x"), check, set("/a", "y")]), origin(2, 1)).expect("in this order");
    assert_eq!(model.take_changes().len(), 2);
}

#[test]
fn paths_have_parents() {
    assert_eq!(split("/a"), Some(("/", "a")));
    assert_eq!(split("/a/b"), Some(("/a", "b")));
    assert_eq!((split("/"), split("a"), split("")), (None, None, None));
}
