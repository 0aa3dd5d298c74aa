use super::*;
use crate::rt::Parker;
use crate::stats::{add, set};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

const LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(1);

/// What core or log show the watchdog.
#[derive(Debug, Default)]
struct Signs {
    beats: AtomicU64,
    idle: AtomicU64,
}

impl Signs {
    fn watched(&self) -> Watched<'_> {
        Watched::new(Role::Core, &self.beats, &self.idle)
    }
}

#[test]
fn a_thread_without_a_beat_is_stuck_once_the_limit_is_over_and_not_before() {
    let signs = Signs::default();
    let mut watched = signs.watched();
    for _ in 0..30 {
        assert_eq!(watched.look(LOOK, LIMIT), None, "slow, below the limit");
    }
    assert_eq!(watched.look(LOOK, LIMIT), Some(Stuck { role: Role::Core, stuck: LOOK * 31, limit: LIMIT }));
}

#[test]
fn a_slow_thread_and_a_busy_one_are_left_alone() {
    let signs = Signs::default();
    let mut watched = signs.watched();
    for _ in 0..20 {
        // One beat just within the limit, each time.
        for _ in 0..29 {
            assert_eq!(watched.look(LOOK, LIMIT), None);
        }
        add(&signs.beats, 1);
        assert_eq!(watched.look(LOOK, LIMIT), None);
    }
    for _ in 0..1_000 {
        add(&signs.beats, 1_000);
        assert_eq!(watched.look(LIMIT * 2, LIMIT), None);
    }
}

#[test]
fn an_idle_thread_is_left_alone_while_it_looks_up_in_time_even_under_a_limit_shorter_than_its_wait() {
    let signs = Signs::default();
    let limit = WAIT_MAX / 10;
    let mut watched = signs.watched();
    for _ in 0..100 {
        set(&signs.idle, 1);
        for _ in 0..10 {
            assert_eq!(watched.look(WAIT_MAX / 10, limit), None);
        }
        set(&signs.idle, 0);
        add(&signs.beats, 1);
    }
}

#[test]
fn a_thread_that_never_comes_back_from_its_wait_is_stuck() {
    let signs = Signs::default();
    set(&signs.idle, 1);
    let mut watched = signs.watched();
    assert_eq!(watched.look(LIMIT + WAIT_MAX, LIMIT), None);
    assert!(watched.look(Duration::from_millis(1), LIMIT).is_some());
}

#[test]
fn time_in_which_the_watchdog_did_not_run_either_is_not_counted() {
    let day = Duration::from_secs(86_400);
    assert_eq!(counted(day, LOOK), LOOK * 2);
    assert_eq!(counted(LOOK, LOOK), LOOK);
}

#[inline(never)]
fn spins_here_for_ever(over: &AtomicBool) -> u64 {
    let mut turns = 0;
    while !over.load(Ordering::Relaxed) {
        turns = black_box(turns + 1);
    }
    turns
}

#[test]
fn a_thread_that_spins_is_reported_first_and_with_the_function_it_spins_in() {
    let (signs, over) = (Signs::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("rk-core".to_owned())
            .spawn_scoped(scope, || {
                add(&signs.beats, 1);
                spins_here_for_ever(&over)
            })
            .unwrap();
        let stuck = watch(&mut [signs.watched()], Duration::from_millis(100), || true);
        assert_eq!(stuck.map(|stuck| stuck.role), Some(Role::Core));
        let text = report::threads(Role::Core);
        over.store(true, Ordering::Relaxed);
        assert!(text.starts_with("  rk-core, thread "), "{text}");
        let own: Vec<&str> = text.lines().skip(1).take_while(|line| line.starts_with("      ")).collect();
        let own = own.join("\n");
        assert!(own.contains("spins_here_for_ever at "), "its function, and the line: {text}");
        assert!(!own.contains("rt::stacks"), "not what the signal has put on top: {text}");
    });
}

/// Goes round as core and log do.
fn lives(signs: &Signs, over: &AtomicBool, is_idle: bool) {
    let mut parker = Parker::new(Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        add(&signs.beats, 1);
        if is_idle {
            set(&signs.idle, 1);
            parker.wait(Some(WAIT_MAX));
            set(&signs.idle, 0);
        }
    }
}

#[test]
fn threads_that_live_are_watched_until_the_server_stops() {
    let (idle, busy, over) = (Signs::default(), Signs::default(), AtomicBool::new(false));
    let limit = Duration::from_secs(2);
    std::thread::scope(|scope| {
        scope.spawn(|| lives(&idle, &over, true));
        scope.spawn(|| lives(&busy, &over, false));
        let ends = Instant::now() + limit * 3;
        let stuck = watch(&mut [idle.watched(), busy.watched()], limit, || Instant::now() < ends);
        over.store(true, Ordering::Relaxed);
        assert_eq!(stuck, None);
    });
}

#[test]
fn the_message_says_who_how_long_and_what_to_do() {
    let stuck = Stuck { role: Role::Log, stuck: Duration::from_millis(30_400), limit: LIMIT };
    let text = report::message(&stuck);
    for part in ["log thread", "30400 ms", "ringkeeper.watchdogTimeoutMs", "30000", "look at the disk"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
