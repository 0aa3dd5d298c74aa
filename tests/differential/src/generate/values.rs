//! Paths, versions, ACLs and the other arguments, good and bad.

use crate::random::Random;
use crate::sequence::{AclEntry, ZXID_AHEAD};
use proto::connect::ConnectRequest;
use proto::jute::frame;
use proto::{SessionId, Zxid};

const NAMES: &[&str] = &["a", "b", "c"];

/// A path below the root, mostly a short one.
pub(super) fn good_path(r: &mut Random) -> String {
    let depth = r.weighted(&[(1, 0), (10, 1), (8, 2), (3, 3)]);
    let mut path = "~".to_owned();
    for _ in 0..depth {
        path.push('/');
        path.push_str(r.pick(NAMES));
    }
    match r.weighted(&[(90, 0), (7, 1), (3, 2)]) {
        0 => path,
        1 => format!("{path}/q{:010}", r.below(6)),
        _ => format!("{path}/é{}", r.pick(NAMES)),
    }
}

/// A path that is not as it should be, or none of the sequence's.
const ODD_PATHS: &[&str] = &[
    "",
    "/",
    "x",
    "~/",
    "~/a/",
    "/~",
    "~//a",
    "~/a//b",
    "~/./a",
    "~/../a",
    "~/..",
    "~/.",
    "~/..x",
    "~/a/.b",
    "~/\u{0}",
    "~/a\u{1}",
    "~/\u{1f}",
    "~/\u{7f}",
    "~/\u{9f}",
    "~/\u{a0}",
    "~/\u{e000}",
    "~/\u{f8ff}",
    "~/\u{f900}",
    "~/\u{ffef}",
    "~/\u{fff0}",
    "~/\u{fffd}",
    "~/a b",
    "~/a/b/c/a/b/c",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/zookeeper/quota~",
    "/zookeeper/nothing",
    "~/a:b",
    "~/%s",
    "~/~",
];

/// A path for a read or a watch.
pub(super) fn path(r: &mut Random) -> Option<String> {
    match r.below(100) {
        0 => None,
        1..=6 => Some(r.pick(ODD_PATHS).to_owned()),
        _ => Some(good_path(r)),
    }
}

/// A path for a write: it stays below the root, or fails.
pub(super) fn write_path(r: &mut Random) -> Option<String> {
    if r.chance(1) {
        return Some("~/\u{1f600}".to_owned());
    }
    path(r).map(
        |path| if path == "/" || path.starts_with("/zookeeper") { "/zookeeper/nothing/x".to_owned() } else { path },
    )
}

/// The path of a create: like the others; for sequential names sometimes with a slash at its end.
pub(super) fn create_path(r: &mut Random, sequential: bool) -> Option<String> {
    let path = write_path(r)?;
    Some(match (sequential, r.below(4)) {
        (true, 0) => format!("{path}/"),
        (true, 1 | 2) => format!("{path}/q"),
        _ => path,
    })
}

/// A version: mostly any, or a small one that may be right.
pub(super) fn version(r: &mut Random) -> i32 {
    let small = i32::try_from(r.below(4)).expect("it is small");
    r.weighted(&[(60, -1), (30, small), (2, -2), (2, i32::MAX), (2, i32::MIN), (4, 77)])
}

/// The data of a node.
pub(super) fn data(r: &mut Random) -> Option<String> {
    match r.below(12) {
        0 => None,
        1 => Some(String::new()),
        2 => Some("x".repeat(r.below(300))),
        _ => Some(format!("v{}", r.below(1000))),
    }
}

/// Identities that connections take, and their digests.
pub(super) const USERS: &[(&str, &str)] = &[
    ("ann:a", "ann:i9V/d2HTT0sehGWzvQcFNipywIQ="),
    ("bob:b", "bob:LcrmCNs/wfVD+i5a5yaz89GyjIM="),
    ("cat:c", "cat:UN7gY/f5xbd8krhyFWstvhC2YJg="),
];

fn entry(perms: i32, scheme: &str, id: &str) -> AclEntry {
    AclEntry(perms, Some(scheme.to_owned()), Some(id.to_owned()))
}

/// An ACL that lets everybody do everything.
pub(super) fn open_acl() -> Option<Vec<AclEntry>> {
    Some(vec![entry(31, "world", "anyone")])
}

/// An ACL for a create: mostly open.
pub(super) fn create_acl(r: &mut Random) -> Option<Vec<AclEntry>> {
    if r.chance(80) { open_acl() } else { acl(r) }
}

/// Any ACL.
pub(super) fn acl(r: &mut Random) -> Option<Vec<AclEntry>> {
    match r.below(40) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![odd_entry(r)]),
        3 => Some(vec![entry(31, "world", "anyone"), odd_entry(r)]),
        4..=13 => open_acl(),
        _ => Some((0..=r.below(3)).map(|_| good_entry(r)).collect()),
    }
}

fn good_entry(r: &mut Random) -> AclEntry {
    let perms =
        r.weighted(&[(6, 31), (3, 1), (2, 3), (1, 2), (1, 4), (1, 8), (1, 16), (1, 0), (1, 30), (1, 15), (1, 23)]);
    match r.below(10) {
        0..=3 => entry(perms, "world", "anyone"),
        4..=6 => entry(perms, "digest", r.pick(USERS).1),
        7 => entry(perms, "auth", r.pick(&["", "ann", "nobody"])),
        8 => entry(perms, "ip", r.pick(&["127.0.0.1", "127.0.0.0/8", "10.0.0.1", "127.0.0.1/32", "0.0.0.0/0"])),
        _ => entry(perms, "ip", r.pick(&["::1", "::1/128", "10.1.2.3/31"])),
    }
}

fn odd_entry(r: &mut Random) -> AclEntry {
    let ids: &[(&str, &str)] = &[
        ("world", "somebody"),
        ("world", ""),
        ("digest", "ann"),
        ("digest", "a:b:c"),
        ("digest", ":"),
        ("digest", "a:"),
        ("digest", ""),
        ("ip", "127.0.0.1/33"),
        ("ip", "300.0.0.1"),
        ("ip", "name"),
        ("ip", "10.1"),
        ("ip", ""),
        ("ip", "::1/129"),
        ("ip", "/8"),
        ("ip", "10.0.0.1/"),
        ("ip", "10.0.0.1/-1"),
        ("ip", "10.0.0.1/x"),
        ("x509", "CN=a"),
        ("sasl", "ann"),
        ("super", ""),
        ("super", "super"),
        ("nothing", "x"),
        ("", ""),
    ];
    match r.below(12) {
        0 => AclEntry(31, None, Some("anyone".to_owned())),
        1 => AclEntry(31, Some("world".to_owned()), None),
        2 => AclEntry(31, Some("digest".to_owned()), None),
        3 => entry(r.pick(&[-1, 32, i32::MAX, i32::MIN, 64]), "world", "anyone"),
        _ => {
            let (scheme, id) = r.pick(ids);
            entry(31, scheme, id)
        }
    }
}

/// What is no request, on a connection that has a session.
pub(super) fn broken_frame(r: &mut Random) -> Vec<u8> {
    match r.below(6) {
        0 => vec![0, 0, 0, 0],
        1 => vec![255; 4],
        2 => vec![0, 16, 0, 0],
        3 => vec![127, 255, 255, 255],
        4 => vec![0, 0, 0, 4, 0, 0, 0, 1],
        _ => connect(plain()),
    }
}

/// A handshake of a socket of its own.
pub(super) fn odd_handshake(r: &mut Random) -> Vec<u8> {
    let raw = |body: &[u8]| {
        let mut bytes = Vec::new();
        frame(&mut bytes, |w| w.raw(body));
        bytes
    };
    match r.below(8) {
        0 => vec![0, 0, 0, 0],
        1 => vec![255; 4],
        2 => vec![0, 16, 0, 0],
        3 => raw(&[0, 0, 0, 1, 0, 0, 0, 11]),
        4 => raw(&[0; 20]),
        5 => connect(ConnectRequest { session_id: SessionId(0x1234_5678), ..plain() }),
        6 => connect(ConnectRequest { session_id: SessionId(77), read_only: None, ..plain() }),
        _ => connect(ConnectRequest { last_zxid_seen: Zxid::from_wire(ZXID_AHEAD), ..plain() }),
    }
}

const fn plain() -> ConnectRequest<'static> {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 30_000,
        session_id: SessionId(0),
        password: &[0; 16],
        read_only: Some(false),
    }
}

fn connect(request: ConnectRequest<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, |w| request.write(w));
    bytes
}
