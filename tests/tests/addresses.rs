//! Addresses that the server listens on, and those that clients come from: IPv4, IPv6, and one in the other's clothes, as in Java.
//!
//! The words for addresses are ZooKeeper 3.9.5's, asked on `::`, `0.0.0.0`, `::1` and a link-local address. These tests need `::1` on the loopback
//! interface, and the one about zones a network namespace, hence root; they fail where they do not find it.

use client::AclList;
use client::{ClientError, ConnectOptions, Connection, Operations, four_letter_word};
use nix::sched::{CloneFlags, unshare};
use proto::request::CreateMode;
use proto::{Acl, ErrorCode, Perms};
use ringkeeper_tests::{Server, refuse_calls};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);

fn at(ip: IpAddr, server: &Server) -> SocketAddr {
    SocketAddr::new(ip, server.address().port())
}

fn connect(addr: SocketAddr) -> Connection {
    Connection::connect(addr, &ConnectOptions::default()).unwrap_or_else(|error| panic!("{addr}: {error}"))
}

/// What whoAmI says of the scheme `ip`.
fn ip_id(client: &mut Connection) -> String {
    let ids = client.who_am_i().unwrap();
    ids.into_iter().find_map(|(scheme, id)| (scheme == "ip").then_some(id)).expect("everybody has an address")
}

fn is_refused(addr: SocketAddr) -> bool {
    TcpStream::connect_timeout(&addr, PATIENCE)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn the_wildcard_of_either_family_takes_both_and_tells_them_apart() {
    for (any, shards) in [("0.0.0.0", 1), ("::", 2), ("[::]", 1)] {
        let server = Server::builder().in_memory().shards(shards).set("clientPortAddress", any).start();
        let (mut by_v4, mut by_v6) = (connect(at(V4, &server)), connect(at(V6, &server)));
        assert_eq!(ip_id(&mut by_v4), "127.0.0.1", "{any}");
        assert_eq!(ip_id(&mut by_v6), "0:0:0:0:0:0:0:1", "{any}");
        for word in ["cons", "stat", "dump"] {
            let text = four_letter_word(at(V6, &server), word, PATIENCE).unwrap();
            assert!(text.contains("/127.0.0.1:") && text.contains("/[0:0:0:0:0:0:0:1]:"), "{word}: {text}");
            assert!(!text.contains("ffff"), "{word}: {text}");
        }
    }
}

#[test]
fn an_acl_of_the_scheme_ip_holds_for_its_own_family() {
    let server = Server::builder().in_memory().set("clientPortAddress", "::").start();
    let (mut by_v4, mut by_v6) = (connect(at(V4, &server)), connect(at(V6, &server)));
    for (path, id, v4_may, v6_may) in [
        ("/v4", "127.0.0.0/8", true, false),
        ("/v6", "::1", false, true),
        ("/all-v4", "0.0.0.0/0", true, false),
        ("/all-v6", "::/0", false, true),
        ("/mapped", "0:0:0:0:0:ffff:7f00:1", false, false),
    ] {
        let acl = AclList::new(&[Acl { perms: Perms::ALL, scheme: "ip".into(), id: id.into() }]);
        by_v4.create_with(path, Some(b"x"), CreateMode::Persistent, &acl).unwrap();
        for (client, may) in [(&mut by_v4, v4_may), (&mut by_v6, v6_may)] {
            match client.get(path, false) {
                Ok(_) => assert!(may, "{path}"),
                Err(ClientError::Server(ErrorCode::NoAuth)) => assert!(!may, "{path}"),
                Err(error) => panic!("{path}: {error}"),
            }
        }
    }
}

#[test]
fn connections_of_an_address_are_counted_in_whatever_clothes_it_comes() {
    let server = Server::builder().in_memory().set("clientPortAddress", "::").set("maxClientCnxns", "2").start();
    let _two = [connect(at(V4, &server)), connect(at(V4, &server))];
    let one_more = Connection::connect(at(V4, &server), &ConnectOptions::default());
    assert!(matches!(one_more, Err(ClientError::Closed { .. } | ClientError::Io { .. })), "{one_more:?}");
    let _others = [connect(at(V6, &server)), connect(at(V6, &server))];
    assert!(Connection::connect(at(V6, &server), &ConnectOptions::default()).is_err());
    let log = server.log();
    assert!(log.contains("over a limit") && log.contains("peer=127.0.0.1:") && !log.contains("ffff"), "{log}");
}

#[test]
fn one_address_is_one_address() {
    for (written, own, other) in [("::1", V6, V4), ("[::1]", V6, V4), ("127.0.0.1", V4, V6)] {
        let server = Server::builder().in_memory().set("clientPortAddress", written).start();
        assert_eq!(server.address().ip(), own);
        assert_eq!(four_letter_word(at(own, &server), "ruok", PATIENCE).unwrap(), "imok");
        assert!(is_refused(at(other, &server)), "{written} serves {other} as well");
    }
}

#[test]
fn a_port_that_is_taken_on_one_family_is_not_served_on_the_other_alone() {
    for taken in [V4, V6] {
        let listener = TcpListener::bind((taken, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let builder = Server::builder().in_memory().set("clientPortAddress", "::").set("clientPort", &port);
        let said = builder.try_start().expect_err("the port is taken");
        assert!(said.contains("address already in use: [::]:") && said.contains(&port), "{said}");
    }
}

#[test]
fn an_address_of_another_machine_is_refused_with_the_remedy() {
    // Addresses for documentation: nobody has them.
    for elsewhere in ["192.0.2.1", "2001:db8::1"] {
        let builder = Server::builder().in_memory().set("clientPortAddress", elsewhere);
        let said = builder.try_start().expect_err("the address is nobody's");
        assert!(said.contains("cannot listen on") && said.contains(elsewhere), "{said}");
        assert!(said.contains("clientPortAddress must be an address of this machine"), "{said}");
    }
}

#[test]
fn a_kernel_without_ipv6_serves_ipv4() {
    let server = std::thread::scope(|scope| {
        let without = scope.spawn(|| {
            refuse_calls(&[(libc::SYS_socket, Some(libc::AF_INET6))], libc::EAFNOSUPPORT);
            Server::builder().in_memory().set("clientPortAddress", "::").start()
        });
        without.join().unwrap()
    });
    assert_eq!(server.address().ip(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    assert_eq!(ip_id(&mut connect(at(V4, &server))), "127.0.0.1");
    assert!(is_refused(at(V6, &server)));
}

#[test]
fn java_told_to_know_ipv4_alone_listens_there_alone() {
    let server =
        Server::builder().in_memory().set("clientPortAddress", "::").set("java.net.preferIPv4Stack", "true").start();
    assert_eq!(ip_id(&mut connect(at(V4, &server))), "127.0.0.1");
    assert!(is_refused(at(V6, &server)));
}

/// In a network namespace of its own, where the loopback interface may have a link-local address.
#[test]
fn a_zone_is_told_by_its_number_and_no_acl_names_it() {
    const HERE: &str = "fe80::7";
    for written in ["::", "fe80::7%lo"] {
        let apart = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root can have a network namespace");
            for words in ["link set lo up", &format!("address add {HERE}/64 dev lo nodad")] {
                let status = Command::new("ip").args(words.split(' ')).status().expect("ip is there");
                assert!(status.success(), "ip {words}: {status}");
            }
            let server = Server::builder().in_memory().set("clientPortAddress", written).start();
            let addr: SocketAddr = format!("[{HERE}%1]:{}", server.address().port()).parse().unwrap();
            let mut client = connect(addr);
            assert_eq!(ip_id(&mut client), "fe80:0:0:0:0:0:0:7%1");
            let acl = AclList::new(&[Acl { perms: Perms::ALL, scheme: "ip".into(), id: "::/0".into() }]);
            client.create_with("/zone", Some(b"x"), CreateMode::Persistent, &acl).unwrap();
            assert!(matches!(client.get("/zone", false), Err(ClientError::Server(ErrorCode::NoAuth))));
            let text = four_letter_word(addr, "cons", PATIENCE).unwrap();
            assert!(text.contains(" /[fe80:0:0:0:0:0:0:7%1]:"), "{text}");
        });
        apart.join().unwrap();
    }
}

#[test]
fn keep_alive_is_on_where_it_is_asked_for() {
    for (asked, timer) in [("true", "02"), ("false", "00")] {
        let server = Server::builder().in_memory().set("clientTcpKeepAlive", asked).start();
        let mut client = connect(server.address());
        client.ping().unwrap();
        assert_eq!(timer_of(&server), timer, "clientTcpKeepAlive={asked}");
    }
}

/// The timer that the kernel runs for the server's end of its one connection, once all that was sent is acknowledged: 02 is keep-alive.
fn timer_of(server: &Server) -> String {
    const ESTABLISHED: &str = "01";
    const RESEND: &str = "01";
    let local = format!(":{:04X}", server.address().port());
    loop {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row[1].ends_with(&local) && row[3] == ESTABLISHED).expect("a connection");
        let timer = row[5].split(':').next().unwrap();
        if timer != RESEND {
            return timer.to_owned();
        }
    }
}
