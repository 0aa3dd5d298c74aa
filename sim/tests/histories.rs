//! The text of histories.

use ringkeeper_sim::history::{Code, Event, History, Op, Told, Zxid};

#[test]
fn the_example_of_the_module_is_read() {
    let text = include_str!("../src/history/mod.rs");
    let example: String = text
        .lines()
        .skip_while(|line| *line != "//! ```text")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| format!("{}\n", line.trim_start_matches("//! ")))
        .collect();
    let history = History::parse(&example).expect("the documented form");
    assert_eq!(history.len(), 8);
    let Event::Watch { told: Told::Changed, zxid: Some(Zxid(0x1_0000_0003)), .. } = history.lines()[5].event else {
        panic!("not {:?}", history.lines()[5]);
    };
}

#[test]
fn what_is_left_out_has_its_default_and_what_is_unknown_is_refused_with_its_line() {
    let text = "# a comment\n\n{\"event\":\"ask\",\"client\":1,\"xid\":3,\"op\":\"set\",\"path\":\"/a\"}\n\
                {\"event\":\"reply\",\"client\":1,\"xid\":3,\"zxid\":5,\"err\":-101}\n";
    let history = History::parse(text).expect("right");
    let Event::Ask { op, .. } = &history.lines()[0].event else { panic!() };
    assert_eq!(*op, Op::Set { path: "/a".into(), data: String::new(), version: -1 });
    let Event::Reply { err, .. } = &history.lines()[1].event else { panic!() };
    assert_eq!(*err, Code::NO_NODE);
    let error = History::parse("\n{\"event\":\"asks\"}").expect_err("no such event");
    assert_eq!(error.line, 2);
}

#[test]
fn several_recorders_are_merged_by_time_and_keep_their_own_order() {
    let of = |client: u32, times: &[u64]| {
        let lines = times.iter().map(|at| format!("{{\"at_us\":{at},\"event\":\"lost\",\"client\":{client}}}\n"));
        History::parse(&lines.collect::<String>()).expect("right")
    };
    let merged = History::merge(vec![of(1, &[1, 5, 5]), of(2, &[2, 5])]);
    let clients: Vec<u32> =
        merged.lines().iter().filter_map(|line| line.event.client()).map(|client| client.0).collect();
    assert_eq!(clients, [1, 2, 1, 1, 2]);
}
