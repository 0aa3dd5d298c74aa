//! Each checker refuses a wrong history of each kind that it exists for, and names the lines; what is next to it and right passes all checkers.

mod support;

use ringkeeper_sim::history::{Event, Op, ServerId, Told, TxnKind, Zxid};
use support::{
    Script, children, create, delete, ephemeral, exists, get, lists, multi, named, node, results, says, sequential,
    set, shows, stat, sync, z,
};

fn one_client() -> Script {
    Script::new().connected(1, 10).call(1, 1, create("/a", "x"), 2)
}

// ---- order ------------------------------------------------------------------------------------------------------------

#[test]
fn replies_in_another_order_than_their_requests() {
    let asked = one_client().ask(1, 2, set("/a", "y")).ask(1, 3, get("/a"));
    let wrong = Script(asked.0.clone()).reply(1, 3, 3, 0, says("y")).reply(1, 2, 3, 0, Default::default());
    wrong.is_refused("order::replies_come_in_order", "reply to 3 while the one to 2", &[4, 6]);
    asked.reply(1, 2, 3, 0, Default::default()).reply(1, 3, 3, 0, says("y")).is_right();
}

#[test]
fn a_reply_to_a_request_of_a_connection_that_was_lost() {
    let wrong = one_client().ask(1, 2, get("/a")).lost(1).connected(1, 10).reply(1, 2, 2, 0, says("x"));
    wrong.is_refused("order::replies_come_in_order", "waits for none on this connection", &[7]);
}

#[test]
fn a_second_reply() {
    let wrong = one_client().reads(1, 2, "/a", 2, "x").reply(1, 2, 2, 0, says("x"));
    wrong.is_refused("order::replies_come_in_order", "waits for none", &[6]);
}

// ---- zxids ------------------------------------------------------------------------------------------------------------

#[test]
fn a_read_that_goes_back_behind_an_own_write() {
    let wrong = one_client().call(1, 2, set("/a", "y"), 3).reads(1, 3, "/a", 2, "x");
    wrong.is_refused("zxids::headers_never_decrease", "shown 0x100000002 after it has seen 0x100000003", &[5, 7]);
}

#[test]
fn a_read_on_a_new_connection_that_goes_back_behind_the_former_one() {
    let seen = one_client().connected(2, 20).call(2, 1, set("/a", "y"), 3).reads(1, 2, "/a", 3, "y").lost(1);
    let wrong = Script(seen.0.clone()).connected(1, 10).reads(1, 3, "/a", 2, "x");
    wrong.is_refused("zxids::headers_never_decrease", "session 0xa", &[8, 12]);
    // Another session has seen nothing.
    seen.connected(1, 11).reads(1, 3, "/a", 2, "x").is_right();
}

#[test]
fn a_read_after_an_event_that_goes_back_behind_it() {
    let watched = one_client().connected(2, 20).watches(1, 2, "/a", 2).call(2, 1, set("/a", "y"), 3);
    let heard = watched.hears(1, Told::Changed, "/a", Some(3));
    Script(heard.0.clone()).reads(1, 3, "/a", 2, "x").is_refused(
        "zxids::headers_never_decrease",
        "after it has seen",
        &[9, 11],
    );
    heard.reads(1, 3, "/a", 3, "y").is_right();
}

#[test]
fn a_header_that_is_smaller_than_what_it_shows() {
    let wrong = one_client().call(1, 2, set("/a", "y"), 3);
    let wrong = wrong.connected(2, 20).ask(2, 1, get("/a")).reply(2, 1, 2, 0, shows(stat(2, 3, 1, 0)));
    wrong.is_refused("zxids::headers_cover_what_they_show", "shows the txn 0x100000003", &[8]);
}

#[test]
fn a_header_that_is_past_an_event_still_to_come() {
    // The ping-like read of another znode says 3, though the event of 3 was not queued before it.
    let wrong = one_client().watches(1, 2, "/a", 2).connected(2, 20).call(2, 1, set("/a", "y"), 3);
    let wrong = wrong.fails(1, 3, get("/b"), 3, -101).hears(1, Told::Changed, "/a", Some(3));
    wrong.is_refused("zxids::headers_wait_for_events", "hears of 0x100000003 after a reply", &[10, 11]);
}

#[test]
fn events_out_of_order() {
    let right = one_client().call(1, 2, create("/b", "x"), 3).watches(1, 3, "/a", 3).watches(1, 4, "/b", 3);
    let right = right.connected(2, 20).call(2, 1, set("/a", "y"), 4).call(2, 2, set("/b", "y"), 5);
    let wrong = Script(right.0.clone()).hears(1, Told::Changed, "/b", Some(5)).hears(1, Told::Changed, "/a", Some(4));
    wrong.is_refused("zxids::headers_wait_for_events", "hears of 0x100000004 after 0x100000005", &[15, 16]);
    right.hears(1, Told::Changed, "/a", Some(4)).hears(1, Told::Changed, "/b", Some(5)).is_right();
}

// ---- writes -----------------------------------------------------------------------------------------------------------

#[test]
fn a_write_before_what_was_seen_when_it_was_asked() {
    let wrong = one_client().call(1, 2, create("/b", ""), 5).connected(2, 20).call(2, 1, set("/a", "y"), 4);
    wrong.is_refused("writes::real_time", "was asked when 0x100000005 had been seen", &[5, 7, 8]);
}

#[test]
fn a_sessions_writes_in_another_order_than_asked() {
    let asked = one_client().ask(1, 2, set("/a", "y")).ask(1, 3, set("/a", "z"));
    let wrong = Script(asked.0.clone()).reply(1, 2, 4, 0, Default::default()).reply(1, 3, 3, 0, Default::default());
    wrong.is_refused("writes::real_time", "after the one at 0x100000004", &[5, 6, 7]);
    asked.reply(1, 2, 3, 0, Default::default()).reply(1, 3, 4, 0, Default::default()).is_right();
}

#[test]
fn a_read_that_shows_what_was_overwritten() {
    let wrong = one_client().call(1, 2, set("/a", "y"), 3).reads(1, 3, "/a", 3, "x");
    wrong.is_refused("writes::explained", r#"the data "x", and not "y""#, &[4, 6, 7]);
}

#[test]
fn a_read_that_shows_a_later_write() {
    // Client 2 reads at 2 what is only set at 3.
    let wrong = one_client().connected(2, 20).ask(1, 2, set("/a", "y")).reads(2, 1, "/a", 2, "y");
    wrong.reply(1, 2, 3, 0, Default::default()).is_refused("writes::explained", r#""y", and not "x""#, &[2, 6, 7]);
}

#[test]
fn two_writes_with_one_zxid() {
    let wrong = one_client().connected(2, 20).ask(1, 2, set("/a", "y")).call(2, 1, set("/a", "z"), 3);
    wrong.reply(1, 2, 3, 0, Default::default()).is_refused("writes::explained", "same zxid", &[7, 8]);
}

#[test]
fn a_create_that_succeeds_twice() {
    let twice = one_client().connected(2, 20);
    Script(twice.0.clone()).call(2, 1, create("/a", "y"), 3).is_refused(
        "writes::explained",
        "no error, and not NodeExists",
        &[2, 5, 6],
    );
    twice.fails(2, 1, create("/a", "y"), 3, -110).is_right();
}

#[test]
fn an_error_for_no_reason() {
    one_client().fails(1, 2, set("/a", "y"), 3, -101).is_refused(
        "writes::explained",
        "nothing stands against it",
        &[2, 4, 5],
    );
}

#[test]
fn a_lost_update() {
    // Two conditional writes on the same version both succeed.
    let conditional = |data: &str| Op::Set { path: "/a".into(), data: data.into(), version: 0 };
    let one = one_client().connected(2, 20).call(1, 2, conditional("y"), 3);
    Script(one.0.clone()).call(2, 1, conditional("z"), 4).is_refused("writes::explained", "not BadVersion", &[5, 7, 8]);
    one.fails(2, 1, conditional("z"), 4, -103).is_right();
}

#[test]
fn a_wrong_version_or_zxid_in_a_stat() {
    let set_once = one_client().ask(1, 2, set("/a", "y"));
    for wrong in [stat(2, 3, 2, 0), stat(1, 3, 1, 0), stat(2, 2, 1, 0)] {
        let wrong = Script(set_once.0.clone()).reply(1, 2, 3, 0, shows(wrong));
        wrong.is_refused("writes::explained", "the Stat", &[2, 4, 5]);
    }
    set_once.reply(1, 2, 3, 0, shows(stat(2, 3, 1, 0))).is_right();
}

#[test]
fn a_child_that_is_missing_or_too_many() {
    let made = one_client().call(1, 2, create("/a/b", ""), 3).ask(1, 3, children("/a", false));
    for wrong in [&[][..], &["b", "c"]] {
        Script(made.0.clone()).reply(1, 3, 3, 0, lists(wrong)).is_refused(
            "writes::explained",
            "the children",
            &[4, 6, 7],
        );
    }
    made.reply(1, 3, 3, 0, lists(&["b"])).is_right();
}

#[test]
fn a_sequential_number_that_is_given_twice() {
    let once = one_client().ask(1, 2, sequential("/a/s-")).reply(1, 2, 3, 0, named("/a/s-0000000000"));
    let deleted = once.call(1, 3, delete("/a/s-0000000000"), 4).ask(1, 4, sequential("/a/s-"));
    let wrong = Script(deleted.0.clone()).reply(1, 4, 5, 0, named("/a/s-0000000000"));
    wrong.is_refused("writes::explained", "0000000001", &[6, 8, 9]);
    deleted.reply(1, 4, 5, 0, named("/a/s-0000000001")).is_right();
}

#[test]
fn a_multi_by_halves() {
    let ops = [set("/a", "y"), create("/a", "z")];
    let failed = one_client().ask(1, 2, multi(&ops)).reply(1, 2, 3, -110, results(&[0, -110]));
    Script(failed.0.clone()).reads(1, 3, "/a", 3, "y").is_refused(
        "writes::explained",
        r#""y", and not "x""#,
        &[2, 6, 7],
    );
    failed.reads(1, 3, "/a", 3, "x").is_right();
    let wrong = one_client().ask(1, 2, multi(&ops)).reply(1, 2, 3, -110, results(&[-110, -2]));
    wrong.is_refused("writes::explained", "as result 0", &[4, 5]);
    // A read between its parts.
    let both = [set("/a", "y"), create("/b", "")];
    let whole = one_client().call(1, 2, multi(&both), 3).ask(1, 3, exists("/b", false));
    whole.reply(1, 3, 3, -101, Default::default()).is_refused(
        "writes::explained",
        "NoNode, and it is there",
        &[4, 6, 7],
    );
}

#[test]
fn an_unknown_write_is_legal_both_ways_and_not_both_at_once() {
    let open = one_client().ask(1, 2, set("/a", "y")).lost(1).connected(2, 20);
    Script(open.0.clone()).reads(2, 1, "/a", 2, "x").is_right();
    Script(open.0.clone()).ask(2, 1, get("/a")).reply(2, 1, 3, 0, says("y")).is_right();
    // First not, then yes: it was on its way.
    Script(open.0.clone()).reads(2, 1, "/a", 2, "x").reads(2, 2, "/a", 5, "y").is_right();
    // First yes, then not.
    let wrong = Script(open.0.clone()).reads(2, 1, "/a", 3, "y").reads(2, 2, "/a", 4, "x");
    wrong.is_refused("writes::explained", "writes of unknown outcome", &[2, 7, 8]);
    // What nobody ever wrote.
    open.reads(2, 1, "/a", 3, "z").is_refused("writes::explained", "nothing explains it", &[2, 7, 8]);
}

#[test]
fn several_unknown_writes_that_only_make_sense_together() {
    let open = one_client().ask(1, 2, create("/a/b", "")).ask(1, 3, set("/a/b", "y")).ask(1, 4, delete("/a/b")).lost(1);
    let open = open.connected(2, 20);
    Script(open.0.clone()).reads(2, 1, "/a/b", 4, "y").fails(2, 2, get("/a/b"), 5, -101).is_right();
    let wrong = Script(open.0.clone()).ask(2, 1, get("/a/b")).reply(2, 1, 4, 0, shows(stat(4, 3, 1, 0)));
    wrong.is_refused("writes::explained", "and not NoNode", &[2, 9, 10]);
}

#[test]
fn the_log_decides_what_an_unknown_write_came_to() {
    let open = one_client().ask(1, 2, set("/a", "y")).lost(1).connected(2, 20);
    let log = |script: Script| script.applied(1, 2, 10, 1, TxnKind::Change, 0).applied(1, 3, 10, 2, TxnKind::Change, 1);
    log(Script(open.0.clone()).reads(2, 1, "/a", 3, "y")).is_right();
    log(open.reads(2, 1, "/a", 3, "x")).is_refused("writes::explained", r#""x", and not "y""#, &[4, 7, 8]);
}

#[test]
fn an_acknowledged_write_that_is_not_in_the_log() {
    let acked = one_client().call(1, 2, set("/a", "y"), 3).applied(1, 2, 10, 1, TxnKind::Change, 0);
    Script(acked.0.clone()).is_refused("writes::none_lost", "which no server has applied", &[4, 5]);
    Script(acked.0.clone()).applied(1, 3, 20, 7, TxnKind::Change, 0).is_refused(
        "writes::none_lost",
        "the log has request 7",
        &[4, 5, 7],
    );
    acked.applied(1, 3, 10, 2, TxnKind::Change, 0).is_right();
}

#[test]
fn a_final_tree_that_lacks_an_acknowledged_write_or_has_more() {
    let acked = one_client().call(1, 2, set("/a", "y"), 3);
    let end = |zxid: u64, nodes| Script(acked.0.clone()).ends_with(1, zxid, nodes, None);
    end(3, vec![node("/a", "y", stat(2, 3, 1, 0))]).is_right();
    end(3, vec![node("/a", "x", stat(2, 2, 0, 0))]).is_refused("writes::none_lost", "should be", &[4, 6]);
    end(3, vec![]).is_refused("writes::none_lost", "/a is missing", &[4, 6]);
    let extra = vec![node("/a", "y", stat(2, 3, 1, 0)), node("/b", "", stat(3, 3, 0, 0))];
    end(3, extra).is_refused("writes::none_lost", "/b is there and should not be", &[6]);
    end(2, vec![node("/a", "x", stat(2, 2, 0, 0))]).is_refused("writes::none_lost", "ends with 0x100000002", &[5, 6]);
}

#[test]
fn a_single_server_that_starts_with_less_than_it_has_acknowledged() {
    let wrong = Script::new().started(1, 1, 7).connected(1, 10).call(1, 1, create("/a", "x"), 2).started(1, 1, 7);
    wrong.is_refused("writes::none_lost", "starts with 0x100000001", &[4, 5]);
}

#[test]
fn a_sync_that_does_not_catch_up() {
    let behind = one_client().connected(2, 20).call(1, 2, set("/a", "y"), 3);
    Script(behind.0.clone()).call(2, 1, sync(), 2).is_refused("writes::syncs", "acknowledged before", &[6, 7, 8]);
    behind.call(2, 1, sync(), 3).is_right();
}

// ---- watches ----------------------------------------------------------------------------------------------------------

fn watched() -> Script {
    one_client().watches(1, 2, "/a", 2).connected(2, 20).call(2, 1, set("/a", "y"), 3)
}

#[test]
fn a_reply_that_shows_a_change_before_its_event() {
    watched().reads(1, 3, "/a", 3, "y").is_refused("watches::events", "has not come before it", &[5, 7, 10]);
    // Also one that shows something else of a later state.
    watched().fails(1, 3, get("/b"), 3, -101).is_refused("watches::events", "has not come before it", &[5, 7, 10]);
    watched().hears(1, Told::Changed, "/a", Some(3)).reads(1, 3, "/a", 3, "y").is_right();
    watched().reads(1, 3, "/a", 2, "x").is_right();
}

#[test]
fn an_event_before_the_reply_that_registered_it() {
    let asked = one_client().ask(1, 2, Op::Get { path: "/a".into(), watch: true }).connected(2, 20);
    let early = asked.call(2, 1, set("/a", "y"), 3).hears(1, Told::Changed, "/a", Some(3)).reply(1, 2, 2, 0, says("x"));
    early.is_refused("watches::events", "no watch is left", &[8]);
}

#[test]
fn an_event_that_nobody_asked_for_or_that_comes_twice() {
    let wrong = one_client().connected(2, 20).call(2, 1, set("/a", "y"), 3).hears(1, Told::Changed, "/a", Some(3));
    wrong.is_refused("watches::events", "no watch is left", &[7]);
    let wrong = watched().hears(1, Told::Changed, "/a", Some(3)).hears(1, Told::Changed, "/a", Some(3));
    wrong.is_refused("watches::events", "no watch is left", &[10]);
}

#[test]
fn an_event_of_another_change_than_the_first() {
    let twice = watched().call(2, 2, delete("/a"), 4);
    Script(twice.0.clone()).hears(1, Told::Deleted, "/a", Some(4)).is_refused(
        "watches::events",
        "not the first",
        &[5, 11],
    );
    Script(twice.0.clone()).hears(1, Told::Deleted, "/a", Some(3)).is_refused(
        "watches::events",
        "not the first",
        &[5, 11],
    );
    twice.hears(1, Told::Changed, "/a", Some(3)).is_right();
}

#[test]
fn watches_of_exists_and_of_children() {
    let both = one_client().call(1, 2, children("/a", true), 2).fails(1, 3, exists("/a/b", true), 2, -101);
    let made = both.connected(2, 20).call(2, 1, create("/a/b", ""), 3);
    let wrong = Script(made.0.clone()).hears(1, Told::Created, "/a/b", Some(3)).fails(1, 4, get("/c"), 3, -101);
    wrong.is_refused("watches::events", "event of /a at", &[5, 9, 13]);
    let right = made.hears(1, Told::Created, "/a/b", Some(3)).hears(1, Told::Children, "/a", Some(3));
    right.fails(1, 4, get("/c"), 3, -101).is_right();
    // One event of a deletion is for both kinds of watch.
    let both = one_client().watches(1, 2, "/a", 2).call(1, 3, children("/a", true), 2).connected(2, 20);
    let gone = both.call(2, 1, delete("/a"), 3).hears(1, Told::Deleted, "/a", Some(3));
    Script(gone.0.clone()).fails(1, 4, get("/a"), 3, -101).is_right();
    gone.hears(1, Told::Deleted, "/a", Some(3)).is_refused("watches::events", "no watch is left", &[12]);
}

#[test]
fn an_event_of_a_write_of_unknown_outcome_is_right_and_one_before_it_is_still_due() {
    let open = one_client().watches(1, 2, "/a", 2).connected(2, 20).ask(2, 1, set("/a", "y")).lost(2);
    // It took place, and nothing shows it but the event.
    open.hears(1, Told::Changed, "/a", Some(3)).is_right();
    let told = watched().ask(2, 2, set("/a", "z")).lost(2);
    told.reads(1, 3, "/a", 3, "y").is_refused("watches::events", "has not come before it", &[5, 7, 12]);
}

fn set_watches(relative: u64, data: &[&str]) -> Op {
    let data = data.iter().map(|path| (*path).to_owned()).collect();
    Op::SetWatches { relative: z(relative), data, exist: Vec::new(), child: Vec::new() }
}

#[test]
fn what_changed_while_nobody_was_connected_is_told_by_set_watches() {
    let gone =
        one_client().watches(1, 2, "/a", 2).lost(1).connected(2, 20).call(2, 1, set("/a", "y"), 3).connected(1, 10);
    let asked = gone.ask(1, -8, set_watches(2, &["/a"]));
    let wrong = Script(asked.0.clone()).reply(1, -8, 3, 0, Default::default());
    wrong.is_refused("watches::events", "setWatches does not tell Changed of /a", &[11, 12]);
    let wrong = Script(asked.0.clone()).hears(1, Told::Deleted, "/a", None).reply(1, -8, 3, 0, Default::default());
    wrong.is_refused("watches::events", "does not tell Changed", &[11, 13]);
    let right = asked.hears(1, Told::Changed, "/a", None).reply(1, -8, 3, 0, Default::default());
    right.reads(1, 3, "/a", 3, "y").is_right();
}

#[test]
fn what_set_watches_renews_is_told_later() {
    let renewed = one_client().watches(1, 2, "/a", 2).lost(1).connected(1, 10).call(1, -8, set_watches(2, &["/a"]), 2);
    let later = renewed.connected(2, 20).call(2, 1, set("/a", "y"), 3);
    Script(later.0.clone()).reads(1, 3, "/a", 3, "y").is_refused("watches::events", "has not come", &[9, 11, 14]);
    later.hears(1, Told::Changed, "/a", Some(3)).reads(1, 3, "/a", 3, "y").is_right();
    let extra = one_client().watches(1, 2, "/a", 2).lost(1).connected(1, 10).ask(1, -8, set_watches(2, &["/a"]));
    let extra = extra.hears(1, Told::Changed, "/a", None).reply(1, -8, 2, 0, Default::default());
    extra.is_refused("watches::events", "which is not so", &[8, 10]);
}

#[test]
fn an_event_that_is_lost_because_a_header_was_too_large() {
    // The header of an earlier reply said 3 before the event of 3 was queued; the client came back with it and hears of nothing.
    let seen =
        one_client().watches(1, 2, "/a", 2).connected(2, 20).call(2, 1, set("/a", "y"), 3).lost(1).connected(1, 10);
    let wrong = seen.call(1, -8, set_watches(3, &["/a"]), 3);
    wrong.is_refused("watches::events", "is lost", &[5, 7, 11]);
}

// ---- sessions ---------------------------------------------------------------------------------------------------------

fn with_ephemeral() -> Script {
    Script::new().connected(1, 10).connected(2, 20).ask(1, 1, ephemeral("/e")).reply(1, 1, 2, 0, named("/e"))
}

#[test]
fn an_ephemeral_that_outlives_its_session() {
    let closed = with_ephemeral().call(1, 2, Op::Close, 3).ask(2, 1, get("/e"));
    let wrong = Script(closed.0.clone()).reply(2, 1, 3, 0, shows(stat(2, 2, 0, 10)));
    wrong.is_refused("sessions::ephemerals", "that ended at 0x100000003", &[6, 8]);
    closed.reply(2, 1, 3, -101, Default::default()).is_right();
    let left = with_ephemeral().call(1, 2, Op::Close, 3).ends_with(1, 3, vec![node("/e", "", stat(2, 2, 0, 10))], None);
    left.is_refused("sessions::ephemerals", "shown at", &[6, 7]);
    let left = with_ephemeral().call(1, 2, Op::Close, 3).ends_with(1, 3, vec![], Some(&[10, 20]));
    left.is_refused("sessions::ephemerals", "is still there", &[6, 7]);
    let orphan = with_ephemeral().ends_with(1, 2, vec![node("/e", "", stat(2, 2, 0, 10))], Some(&[20]));
    orphan.is_refused("sessions::ephemerals", "which is not there", &[5]);
}

#[test]
fn an_ephemeral_that_goes_before_its_session() {
    let log = |script: Script| script.applied(1, 2, 10, 1, TxnKind::Change, 0).applied(1, 3, 20, 9, TxnKind::Failed, 0);
    let wrong = log(with_ephemeral()).fails(2, 1, get("/e"), 3, -101);
    wrong.is_refused("sessions::ephemerals", "the session lives", &[4, 7, 8]);
    let ended = log(with_ephemeral()).applied(1, 4, 10, 0, TxnKind::End, 0);
    ended.fails(2, 1, get("/e"), 4, -101).is_right();
    // Without a log it may have expired.
    with_ephemeral().fails(2, 1, get("/e"), 3, -101).is_right();
}

fn local_sessions(upgraded: bool) -> Script {
    Script::new().event(Event::LocalSessions { upgraded }).connected_to(1, 10, 1)
}

#[test]
fn a_local_session_that_is_renewed_elsewhere() {
    for upgraded in [false, true] {
        let elsewhere = local_sessions(upgraded).lost(1).connected_to(1, 10, 2);
        elsewhere.is_refused("sessions::locals", "is renewed at server 2", &[2, 4]);
        local_sessions(upgraded).lost(1).connected_to(1, 10, 1).is_right();
        // What has expired needs no txn.
        local_sessions(upgraded).lost(1).expired(1).connected_to(1, 11, 2).is_right();
    }
    let asked = |upgraded| local_sessions(upgraded).ask(1, 1, ephemeral("/e")).lost(1).connected_to(1, 10, 2);
    asked(true).is_right();
    asked(false).is_refused("sessions::locals", "is renewed at server 2", &[2, 5]);
}

#[test]
fn a_local_session_with_an_ephemeral() {
    let begun = |upgraded| local_sessions(upgraded).applied(1, 1, 10, 0, TxnKind::Begin, 0);
    begun(false).is_refused("sessions::locals", "and none is to be", &[3]);
    let made = |script: Script| script.call(1, 1, ephemeral("/e"), 2).applied(1, 2, 10, 1, TxnKind::Change, 0);
    made(begun(true)).is_right();
    made(local_sessions(true)).is_refused("sessions::locals", "is not the ensemble's", &[3, 4]);
    made(begun(true)).call(1, 2, Op::Close, 2).is_refused("sessions::locals", "ends without a txn", &[5, 7, 8]);
    made(begun(true)).call(1, 2, Op::Close, 3).applied(1, 3, 10, 2, TxnKind::End, 0).is_right();
    let refused = |script: Script| {
        script.fails(1, 1, ephemeral("/e"), 2, -120).applied(1, 2, 10, 1, TxnKind::Failed, 0).call(1, 2, Op::Close, 2)
    };
    refused(local_sessions(false)).is_right();
    refused(local_sessions(true)).is_refused("writes::explained", "EphemeralOnLocalSession", &[3, 4]);
    let granted = local_sessions(false).call(1, 1, ephemeral("/e"), 2).applied(1, 2, 10, 1, TxnKind::Change, 0);
    granted.is_refused("writes::explained", "EphemeralOnLocalSession", &[3, 4]);
}

#[test]
fn a_session_of_the_ensemble_that_ends_unheard_after_its_upgrade() {
    let upgraded = local_sessions(true).ask(1, 1, ephemeral("/e")).applied(1, 1, 10, 0, TxnKind::Begin, 0).lost(1);
    let wrong = Script(upgraded.0.clone()).connected_to(1, 10, 2).lost(1).expired(1);
    wrong.is_refused("sessions::ends", "no txn ended it", &[8]);
    upgraded.connected_to(1, 10, 2).lost(1).applied(1, 2, 10, 0, TxnKind::End, 0).expired(1).is_right();
}

#[test]
fn a_session_that_goes_on_after_its_end() {
    let ended = with_ephemeral().applied(1, 2, 10, 1, TxnKind::Change, 0).applied(1, 3, 10, 0, TxnKind::End, 0);
    let wrong = Script(ended.0.clone()).applied(1, 4, 20, 9, TxnKind::Failed, 0).fails(1, 2, get("/b"), 4, -101);
    wrong.is_refused("sessions::ends", "in a session that ended at 0x100000003", &[6, 9]);
    ended.expired(1).is_right();
    // The search finds the same where no log tells: the ephemeral is gone, so the session is over.
    let wrong = with_ephemeral().fails(2, 1, get("/e"), 3, -101).fails(1, 2, get("/b"), 4, -101);
    wrong.is_refused("writes::explained", "NoNode, and it is there", &[3, 5, 6]);
}

#[test]
fn an_end_that_is_told_and_never_was() {
    let wrong = with_ephemeral().applied(1, 2, 10, 1, TxnKind::Change, 0).expired(1);
    wrong.is_refused("sessions::ends", "no txn ended it", &[6]);
    // It has asked for the end itself: whoever ordered that may be gone with it.
    let applied = with_ephemeral().applied(1, 2, 10, 1, TxnKind::Change, 0);
    applied.ask(1, 2, Op::Close).lost(1).expired(1).is_right();
}

// ---- servers ----------------------------------------------------------------------------------------------------------

#[test]
fn two_leaders_of_one_epoch() {
    Script::new().leads(1, 1).leads(2, 2).leads(1, 1).is_right();
    Script::new().leads(1, 1).leads(2, 1).is_refused("servers::one_leader", "both lead epoch 1", &[1, 2]);
}

#[test]
fn servers_that_do_not_agree() {
    let one = || Script::new().applied(1, 1, 10, 1, TxnKind::Change, 5);
    one().applied(2, 1, 20, 1, TxnKind::Change, 5).is_refused("servers::same_txns", "two txns at", &[1, 2]);
    one().applied(2, 1, 10, 1, TxnKind::Change, 6).is_refused("servers::same_digests", "digest", &[1, 2]);
    one().started(1, 1, 6).is_refused("servers::same_digests", "digest", &[1, 2]);
    one().applied(2, 1, 10, 1, TxnKind::Change, 5).started(1, 1, 5).is_right();
}

#[test]
fn a_committed_txn_that_another_server_leaves_out() {
    let second = |script: Script| script.applied_at(1, Zxid(2 << 32 | 1), 10, 2, TxnKind::Change, 7);
    let both = Script::new().applied(1, 1, 10, 1, TxnKind::Change, 5).applied(2, 1, 10, 1, TxnKind::Change, 5);
    // Server 1 goes on to epoch 2 without what server 2 applies of epoch 1, before or after.
    let before = second(Script(both.0.clone()).applied(2, 2, 20, 1, TxnKind::Change, 6));
    before.is_refused("servers::same_txns", "leaves out 0x100000002", &[1, 3, 4]);
    let after = second(both).applied(2, 2, 20, 1, TxnKind::Change, 6);
    after.is_refused("servers::same_txns", "leaves out 0x100000002", &[1, 3, 4]);
}

#[test]
fn gaps_and_steps_back() {
    let one = || Script::new().started(1, 1, 0).applied(1, 2, 10, 1, TxnKind::Change, 5);
    one().applied(1, 4, 10, 2, TxnKind::Change, 6).is_refused("servers::no_gaps", "does not follow", &[2, 3]);
    one().applied(1, 2, 10, 1, TxnKind::Change, 5).is_refused("servers::no_gaps", "does not follow", &[2, 3]);
    let next = |counter: u64| one().applied_at(1, Zxid(2 << 32 | counter), 10, 2, TxnKind::Change, 6);
    next(2).is_refused("servers::no_gaps", "does not follow", &[2, 3]);
    next(1).is_right();
    let took = one().event(Event::Took { server: ServerId(1), zxid: z(9), digest: None });
    took.applied(1, 10, 10, 2, TxnKind::Change, 6).is_right();
}
