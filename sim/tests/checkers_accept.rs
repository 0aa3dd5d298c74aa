//! All checkers accept right histories: those of a tiny correct ensemble under random schedules. And they are not content with anything: what is
//! changed in them at random so that it must be wrong is refused.

mod support;

use ringkeeper_sim::check;
use ringkeeper_sim::history::{Event, History, Zxid};
use support::reference::{Shape, run};

const LOGGED: Shape = Shape { servers: 3, clients: 4, steps: 600, with_log: true, with_expiry: true };

#[track_caller]
fn assert_right(seed: u64, history: &History) {
    if let Some(violation) = check::check(history).first() {
        panic!("seed {seed}: {}\n{}", violation.in_full(history), history.to_text());
    }
}

#[test]
fn histories_of_a_correct_ensemble_with_its_log() {
    for seed in 0..400 {
        assert_right(seed, &run(seed, LOGGED));
    }
}

const CLIENTS_ALONE: Shape = Shape { servers: 1, clients: 2, steps: 150, with_log: false, with_expiry: false };

fn is_given_up(history: &History) -> bool {
    check::undecided(history).iter().any(|what| what.contains("no explanation was found"))
}

/// Without a log the search may give up on writes of unknown outcome; it says so, and it must be rare. It never says that what is right is wrong.
#[test]
fn histories_of_clients_alone() {
    let several = Shape { servers: 3, clients: 4, steps: 300, with_log: false, with_expiry: true };
    for (shape, seeds, given_up_max) in [(CLIENTS_ALONE, 200, 10), (several, 100, 10)] {
        let mut given_up = 0;
        for seed in 0..seeds {
            let history = run(seed, shape);
            assert_right(seed, &history);
            given_up += u32::from(is_given_up(&history));
        }
        println!("of {seeds}: the search gave up on {given_up}");
        assert!(given_up <= given_up_max, "the search gave up on {given_up} of {seeds}");
    }
}

/// What nobody ever wrote is never accepted without a word, and mostly refused.
#[test]
fn other_data_in_a_read_of_clients_alone_is_refused_or_not_decided() {
    let (mut changed, mut refused) = (0, 0);
    for seed in 0..200 {
        let mut history = run(seed, CLIENTS_ALONE);
        let has_data = |event: &Event| matches!(event, Event::Reply { answer, .. } if answer.data.is_some());
        let Some(line) = some(&mut fastrand::Rng::with_seed(seed), &history, has_data) else { continue };
        let Event::Reply { answer, .. } = &mut history.lines_mut()[line].event else { continue };
        answer.data = Some("never written".to_owned());
        changed += 1;
        let is_refused = !check::check(&history).is_empty();
        refused += u32::from(is_refused);
        assert!(is_refused || is_given_up(&history), "seed {seed}: accepted\n{}", history.to_text());
    }
    println!("{refused} of {changed} refused, the rest not decided");
    assert!(changed > 50 && refused * 2 > changed, "only {refused} of {changed} are refused");
}

#[test]
fn a_history_says_what_is_not_decided_without_its_log() {
    let with_open = run(0, CLIENTS_ALONE);
    let undecided = check::undecided(&with_open);
    assert!(undecided.iter().all(|what| what.contains("not decided without the log")) && !undecided.is_empty());
    assert!(check::undecided(&run(0, LOGGED)).is_empty());
}

#[test]
fn a_history_reads_back_from_its_text() {
    let history = run(7, LOGGED);
    assert_eq!(History::parse(&history.to_text()).expect("its own text"), history);
}

/// Changes one line of each right history so that it cannot be right any more.
fn each_changed(mut change: impl FnMut(&mut fastrand::Rng, &mut History) -> bool) {
    let mut changed = 0;
    for seed in 0..200 {
        let mut history = run(seed, LOGGED);
        let mut random = fastrand::Rng::with_seed(seed);
        if change(&mut random, &mut history) {
            changed += 1;
            assert!(!check::check(&history).is_empty(), "seed {seed}: accepted\n{}", history.to_text());
        }
    }
    assert!(changed > 50, "only {changed} histories could be changed");
}

/// The number of some line for which this is so.
fn some(random: &mut fastrand::Rng, history: &History, is_one: impl Fn(&Event) -> bool) -> Option<usize> {
    let all: Vec<usize> = history.events().filter(|(_, event)| is_one(event)).map(|(at, _)| at.0).collect();
    random.choice(all)
}

#[test]
fn other_data_in_a_read_is_refused() {
    each_changed(|random, history| {
        let has_data = |event: &Event| matches!(event, Event::Reply { answer, .. } if answer.data.is_some());
        let Some(line) = some(random, history, has_data) else { return false };
        let Event::Reply { answer, .. } = &mut history.lines_mut()[line].event else { return false };
        answer.data = Some("never written".to_owned());
        true
    });
}

#[test]
fn a_missing_event_is_refused_if_anything_later_is_shown() {
    each_changed(|random, history| {
        let Some(line) = some(random, history, |event| matches!(event, Event::Watch { zxid: Some(_), .. })) else {
            return false;
        };
        let Event::Watch { client, zxid: Some(zxid), .. } = history.lines()[line].event else { return false };
        let mut rest =
            history.lines()[line + 1..].iter().map(|line| &line.event).filter(|event| event.client() == Some(client));
        let shows_more = matches!(rest.next(), Some(Event::Reply { zxid: shown, .. }) if *shown >= zxid);
        history.lines_mut().remove(line);
        shows_more
    });
}

#[test]
fn a_write_that_is_taken_back_is_refused() {
    each_changed(|random, history| {
        // It was acknowledged, and no server ever applied it.
        let has_ok =
            |event: &Event| matches!(event, Event::Reply { err, answer, .. } if err.0 == 0 && answer.path.is_some());
        let Some(line) = some(random, history, has_ok) else { return false };
        let Event::Reply { zxid: lost, .. } = history.lines()[line].event else { return false };
        history.lines_mut().retain(|line| !matches!(line.event, Event::Applied { zxid, .. } if zxid == lost));
        true
    });
}

#[test]
fn an_older_header_is_refused() {
    each_changed(|random, history| {
        let is_read = |event: &Event| matches!(event, Event::Reply { answer, .. } if answer.data.is_some());
        let Some(line) = some(random, history, is_read) else { return false };
        let Event::Reply { zxid, answer, .. } = &mut history.lines_mut()[line].event else { return false };
        let Some(stat) = answer.stat else { return false };
        *zxid = Zxid(stat.mzxid.0 - 1);
        true
    });
}

#[test]
fn a_server_that_skips_a_txn_is_refused() {
    each_changed(|random, history| {
        let Some(line) = some(random, history, |event| matches!(event, Event::Applied { .. })) else { return false };
        let Event::Applied { server, zxid, .. } = history.lines()[line].event else { return false };
        history.lines_mut().remove(line);
        // Not its first or last.
        let of_it =
            |other: &Event| matches!(other, Event::Applied { server: s, zxid: z, .. } if *s == server && *z > zxid);
        let later = history.events().any(|(_, event)| of_it(event));
        later && zxid.counter() > 1
    });
}
