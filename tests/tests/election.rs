//! Our election port and `zab`'s election among real ZooKeeper servers: both sides elect the same server, whoever that is.
//!
//! There is no RingKeeper process here, since a server of an ensemble is more than its election: the test drives the election over the port. That Java has elected
//! us shows by its connecting to our quorum port as a follower; that it has elected itself by its listening there.

use proto::election::{InitialVersion, ServerState};
use proto::{Epoch, LastZxid, ServerId};
use ringkeeper_server::election::{ElectionEvent, ElectionPort, ElectionPortOptions};
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zab::election::{Election, ElectionOptions};
use zab::ensemble::Ensemble;
use zab::{Action, Ms};

/// How long a real server may take to start and vote.
const PATIENCE: Duration = Duration::from_secs(120);

/// Java has the greater id: it hangs up on us, calls back, and wins.
#[test]
fn java_with_the_greater_id_is_elected_by_both() {
    let place = Place::new();
    let mut ours = Ours::vote(&place, 1, 0);
    let java = place.java(2, "3.9.5");
    assert_eq!(ours.elect(&[&java]), ServerId(2));
    ours.in_office(ServerState::Following, 2);
    // A leader alone listens on its quorum port.
    ours.until(&[&java], "Java leads", || TcpStream::connect(place.quorum(2)).is_ok());
    // Who comes later hears from the leader itself who leads.
    drop(ours);
    let mut ours = Ours::vote(&place, 1, 0);
    assert_eq!(ours.elect(&[&java]), ServerId(2));
    // At first its last vote comes once more, and then its answer to ours.
    let began = Instant::now();
    while !ours.leading_said {
        ours.turn();
        assert!(began.elapsed() < PATIENCE, "the leader has not said that it leads");
    }
}

/// Java has the greater id and the older history.
#[test]
fn we_are_elected_by_both_for_our_newer_history() {
    let place = Place::new();
    let listener = TcpListener::bind(place.quorum(1)).unwrap();
    let mut ours = Ours::vote(&place, 1, 0x1_0000_0005);
    let java = place.java(2, "3.8.0");
    assert_eq!(ours.elect(&[&java]), ServerId(1));
    ours.in_office(ServerState::Leading, 1);
    ours.until_followers(&listener, &[&java]);
}

/// Two servers of both versions, with smaller ids: they call, and we call back. The second of them finds us in office.
#[test]
fn with_the_greatest_id_we_are_elected_by_two_versions_of_java() {
    let place = Place::new();
    let listener = TcpListener::bind(place.quorum(3)).unwrap();
    let mut ours = Ours::vote(&place, 3, 0);
    let first = place.java(1, "3.9.5");
    assert_eq!(ours.elect(&[&first]), ServerId(3));
    ours.in_office(ServerState::Leading, 3);
    let second = place.java(2, "3.8.0");
    ours.until_followers(&listener, &[&first, &second]);
}

/// `multiAddress.enabled` on both sides, and two addresses of each server: the first words on a connection have the newer form, which names both, whoever has called.
#[test]
fn servers_of_several_addresses_tell_them_each_other_and_elect() {
    let place = Place::with_two_addresses();
    let election = SocketAddr::from((place.ip(1), place.election_port));
    let listener = TcpListener::bind(election).unwrap();
    listener.set_nonblocking(true).unwrap();
    // Java has the greater id: it hangs up on us, and calls back.
    let java = place.java(2, "3.9.5");
    let began = Instant::now();
    let mut called = loop {
        match listener.accept() {
            Ok((called, _)) => break called,
            Err(_) => assert!(began.elapsed() < PATIENCE, "Java does not call"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    called.set_nonblocking(false).unwrap();
    let mut first = [0; 8];
    called.read_exact(&mut first).unwrap();
    assert_eq!(i64::from_be_bytes(first), -65535, "the newer form");
    drop((listener, called));
    let mut ours = Ours::vote(&place, 1, 0);
    assert_eq!(ours.elect(&[&java]), ServerId(2));
    drop((ours, java));
    // We have the greatest id: Java of both versions calls, and we call back.
    let place = Place::with_two_addresses();
    let listener = TcpListener::bind(place.quorum(3)).unwrap();
    let mut ours = Ours::vote(&place, 3, 0);
    let java = [place.java(1, "3.9.5"), place.java(2, "3.8.0")];
    assert_eq!(ours.elect(&[&java[0], &java[1]]), ServerId(3));
    ours.in_office(ServerState::Leading, 3);
    ours.until_followers(&listener, &[&java[0], &java[1]]);
}

/// Three servers: a directory, and an address in 127/8 for each, or two.
struct Place {
    dir: TempDir,
    has_two: bool,
    ips: [Ipv4Addr; 3],
    quorum_port: u16,
    election_port: u16,
}

impl Place {
    fn with_two_addresses() -> Place {
        Place { has_two: true, ..Place::new() }
    }

    fn new() -> Place {
        let free: Vec<SocketAddr> = std::iter::repeat_with(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .take(2)
            .map(|listener| listener.local_addr().unwrap())
            .collect();
        let dir = tempfile::Builder::new().prefix("rk-elect-").tempdir().unwrap();
        // The port is what parts one test from another; the addresses only its servers.
        let ips = [2, 3, 4].map(|last| Ipv4Addr::new(127, 66, 0, last));
        Place { dir, has_two: false, ips, quorum_port: free[0].port(), election_port: free[1].port() }
    }

    fn ip(&self, id: i64) -> Ipv4Addr {
        self.ips[usize::try_from(id).unwrap() - 1]
    }

    fn quorum(&self, id: i64) -> SocketAddr {
        (self.ip(id), self.quorum_port).into()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let at = |ip: Ipv4Addr| format!("{ip}:{}:{}", self.quorum_port, self.election_port);
        let line = move |id| {
            let [a, b, _, last] = self.ip(id).octets();
            let second = if self.has_two { format!("|{}", at(Ipv4Addr::new(a, b, 1, last))) } else { String::new() };
            format!("server.{id}={}{second}:participant", at(self.ip(id)))
        };
        (1..=3).map(line)
    }

    fn java(&self, id: i64, version: &str) -> Java {
        let data_dir = self.dir.path().join(id.to_string());
        std::fs::create_dir_all(&data_dir).unwrap();
        let log = data_dir.with_extension("log");
        let out = File::create(&log).unwrap();
        let mut command = Command::new(ringkeeper_tests::top().join("tests/reference/java-server.sh"));
        let port = TcpListener::bind((self.ip(id), 0)).unwrap().local_addr().unwrap().port();
        command.args(["--version", version, "--port", &port.to_string(), "--host", &self.ip(id).to_string()]);
        command.args(["--fast-start", "--myid", &id.to_string(), "--log", "info", "--data"]).arg(data_dir);
        command.args(["--cfg", "initLimit=30", "--cfg", "syncLimit=10", "--jvm", "-XX:TieredStopAtLevel=1"]);
        if self.has_two {
            // In `zoo.cfg` alone it would not count for the `server.` lines.
            command.args(["--jvm", "-Dzookeeper.multiAddress.enabled=true"]);
        }
        for line in self.lines() {
            command.args(["--cfg", &line]);
        }
        let child = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        Java { child, log }
    }
}

/// A real server; it ends when it is dropped.
struct Java {
    child: Child,
    log: PathBuf,
}

impl Drop for Java {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Java's log:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Our server: its election, its port, and the time.
struct Ours {
    me: ServerId,
    ensemble: Ensemble,
    election: Election,
    port: ElectionPort,
    rung: mpsc::Receiver<()>,
    began: Instant,
    /// Has anybody said that it leads?
    leading_said: bool,
}

impl Ours {
    /// Starts to look as server `me` whose history ends with `last`.
    fn vote(place: &Place, me: i64, last: i64) -> Ours {
        let text: Vec<String> = place.lines().chain(["version=0".into()]).collect();
        let ensemble = Ensemble::parse(&text.join("\n")).unwrap();
        let me = ServerId(me);
        let (ring, rung) = mpsc::channel();
        let rings = move || {
            // A test that has ended listens no more.
            let _heard = ring.send(());
        };
        let mut options = ElectionPortOptions::new(me);
        if place.has_two {
            options.initial_version = InitialVersion::V2;
        }
        let port = ElectionPort::start(options, &ensemble, rings).unwrap();
        let election = Election::new(me, ElectionOptions::default());
        let mut ours = Ours { me, ensemble, election, port, rung, began: Instant::now(), leading_said: false };
        ours.look(last);
        ours
    }

    fn look(&mut self, last: i64) {
        let current = Epoch(u32::try_from(last >> 32).unwrap());
        self.step(|election, now, ensemble, out| election.look(now, ensemble, LastZxid(last), current, out));
    }

    fn in_office(&mut self, state: ServerState, leader: i64) {
        self.election.in_office(state, ServerId(leader), Epoch(0));
    }

    fn step(&mut self, step: impl FnOnce(&mut Election, Ms, &Ensemble, &mut Vec<Action>)) {
        let mut out = Vec::new();
        let now = Ms::try_from(self.began.elapsed().as_millis()).unwrap();
        step(&mut self.election, now, &self.ensemble, &mut out);
        for action in out {
            let Action::Vote { to, vote } = action else { panic!("an election says {action:?}") };
            self.port.send(to, vote);
        }
    }

    /// Works off what has come, and what time brings.
    fn turn(&mut self) {
        let _rung = self.rung.recv_timeout(Duration::from_millis(10));
        while let Some(event) = self.port.take_event() {
            match event {
                ElectionEvent::Voted { from, vote, newer } => {
                    assert_eq!(newer, None, "nobody has another ensemble");
                    self.leading_said |= vote.state == ServerState::Leading && vote.leader == from;
                    self.step(|election, now, ensemble, out| election.voted(now, ensemble, from, vote, out));
                }
                ElectionEvent::Reachable { server, is_up } => {
                    self.step(|election, now, ensemble, out| election.reachable(now, ensemble, server, is_up, out));
                }
            }
        }
        self.step(|election, now, ensemble, out| election.tick(now, ensemble, out));
    }

    /// Answers until `done`.
    fn until(&mut self, java: &[&Java], what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            self.turn();
            assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}, {} servers beside", java.len());
        }
    }

    /// Votes until somebody is elected.
    fn elect(&mut self, java: &[&Java]) -> ServerId {
        let began = Instant::now();
        loop {
            if let Some(leader) = self.election.elected() {
                return leader;
            }
            self.turn();
            assert!(began.elapsed() < PATIENCE, "{:?} elects nobody, with {} servers", self.me, java.len());
        }
    }

    /// Answers until each of these has connected to our quorum port, as only a server does that has elected us.
    fn until_followers(&mut self, listener: &TcpListener, java: &[&Java]) {
        listener.set_nonblocking(true).unwrap();
        let mut followers: Vec<TcpStream> = Vec::new();
        let mut from = Vec::new();
        self.until(java, "Java follows", || {
            while let Ok((socket, _)) = listener.accept() {
                socket.set_nonblocking(true).unwrap();
                followers.push(socket);
            }
            from.extend(followers.iter().filter_map(follower));
            from.sort_unstable();
            from.dedup();
            from.len() == java.len()
        });
    }
}

/// Which server says on this connection that it follows us, if it has said so: the id in its FOLLOWERINFO.
fn follower(socket: &TcpStream) -> Option<i64> {
    let mut bytes = [0; 256];
    let len = socket.peek(&mut bytes).ok()?;
    let packet = proto::quorum::QuorumPacket::receive(&bytes[..len], bytes.len()).ok()?;
    let proto::Received::Whole(packet, _) = packet else { return None };
    match proto::quorum::FromLearner::decode(&packet) {
        Ok(proto::quorum::FromLearner::Info { observer: false, info, .. }) => Some(info.server.0),
        other => panic!("{other:?} instead of FOLLOWERINFO"),
    }
}
