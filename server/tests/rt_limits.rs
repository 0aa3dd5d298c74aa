//! Many connections, idleness and exhausted descriptors. One test function per concern, since the descriptor limit is the process's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod rt_support;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::Duration;

use ringkeeper_server::rt::Backend;
use rt_support::{ECHO, Event, TestShard, check_echo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

for_each_backend!(two_thousand_connections_are_served, an_idle_shard_sleeps, lack_of_descriptors_only_pauses_accepting);

/// The tests of this binary share one table of descriptors.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    DESCRIPTORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn two_thousand_connections_are_served(backend: Backend) {
    let _alone = alone();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let shard = TestShard::start(backend, ECHO);
    let mut clients: Vec<_> = (0..2_000).map(|_| shard.connect()).collect();
    // All at once, so that more is ready than any ring or buffer pool holds; then one by one.
    for client in &mut clients {
        client.write_all(b"all at once").unwrap();
    }
    for client in &mut clients {
        let mut back = [0; 11];
        std::io::Read::read_exact(client, &mut back).unwrap();
        assert_eq!(&back, b"all at once");
    }
    for client in &mut clients {
        check_echo(client, b"one by one");
    }
    drop(clients);
    let closed = std::iter::repeat_with(|| shard.next()).filter(|event| matches!(event, Event::Closed(..)));
    assert_eq!(closed.take(2_000).count(), 2_000);
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// The CPU that the shard's thread uses meanwhile, the least of five times: what a machine's host takes from it is counted as the thread's own.
fn least_cpu(shard: &TestShard, mut meanwhile: impl FnMut()) -> Duration {
    let once = |_| {
        let before = shard.run(|_| thread_cpu());
        meanwhile();
        shard.run(|_| thread_cpu()) - before
    };
    (0..5).map(once).min().unwrap()
}

fn an_idle_shard_sleeps(backend: Backend) {
    let _alone = alone();
    let shard = TestShard::start(backend, ECHO);
    let mut clients: Vec<_> = (0..100).map(|_| shard.connect()).collect();
    for client in &mut clients {
        check_echo(client, b"then nothing");
    }
    let used = least_cpu(&shard, || {
        let turns = shard.turns().len();
        std::thread::sleep(Duration::from_millis(500));
        let idle_turns = shard.turns().len() - turns;
        assert!(idle_turns <= 1, "{idle_turns} turns without a reason");
    });
    assert!(used < Duration::from_millis(50), "an idle shard used {used:?} of CPU in half a second");
}

/// Takes every descriptor that is left.
fn exhaust_descriptors() -> Vec<OwnedFd> {
    std::iter::repeat_with(|| rustix::io::dup(std::io::stdin())).map_while(Result::ok).collect()
}

fn lack_of_descriptors_only_pauses_accepting(backend: Backend) {
    let _alone = alone();
    // Set before the shard starts: io_uring takes note of the limit when an accept is prepared.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum: limit.maximum }).unwrap();
    let shard = TestShard::start(backend, ECHO);
    let (mut served, _) = shard.connect_known();
    check_echo(&mut served, b"before");
    let waiting: Vec<_> =
        (0..8).map(|_| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()).collect();
    let hoard = exhaust_descriptors();
    for socket in &waiting {
        socket.connect(&shard.addr().into()).unwrap();
    }
    let used = least_cpu(&shard, || {
        for _ in 0..30 {
            check_echo(&mut served, b"meanwhile");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let accepted_meanwhile = shard.events.try_iter().count();
    drop(hoard);
    assert_eq!(accepted_meanwhile, 0, "no descriptor was left");
    assert!(used < Duration::from_millis(150), "accepting spun for {used:?} in 300 ms");
    for _ in &waiting {
        assert!(matches!(shard.next(), Event::Accepted(..)), "those that waited are served when descriptors return");
    }
    setrlimit(Resource::Nofile, limit).unwrap();
}
