#!/usr/bin/env python3
"""Asks real ZooKeeper 3.9.5 and 3.8.0 servers odd questions and writes the answers into behaviour.md, below its marker line.

Every probe runs on a session of its own, so that a closed connection spoils nothing. An answer reads
`error · reply zxid · zxids consumed · connection`: the reply's zxid relative to the server's before the probe, the number of zxids that the
request used up, and whether the connection was closed afterwards. It starts its own servers (see capture.py) and ends them.
"""

import argparse
import os
import socket

import capture
import zkwire
from zkwire import ANYONE, Closed, Conn, create, create_ttl, multi, path_int, path_watch, set_acl, set_data, set_watches, ustr

MARKER = "<!-- generated below this line by behaviour.py -->"
HERE = os.path.dirname(os.path.abspath(__file__))
NOPE = [(31, "nope", "x")]


def short_conn(port):
    c = Conn(port, timeout_s=3)
    c.connect()
    return c


def name_of(err):
    return "OK" if err == 0 else f"{zkwire.ERRORS.get(err, '?')} ({err})"


def now(port):
    """The server's zxid, from a session-less command, so that asking changes nothing."""
    for line in zkwire.four_letter(port, "srvr").splitlines():
        if line.startswith("Zxid:"):
            return int(line.split()[1], 16)
    raise ValueError("srvr without Zxid")


def ask(port, op, body=b"", xid=None, conn=None):
    """One probe's answer as text."""
    c = conn or short_conn(port)
    before = c.ask("ping", xid=-2)["zxid"]
    try:
        reply = c.call(op, body, xid)
    except Closed:
        return f"no reply · consumed {now(port) - before} · closed"
    except TimeoutError:
        return f"no reply within 3 s · consumed {now(port) - before} · open"
    if op == -10:
        return f"no reply header but a second ConnectResponse ({len(reply)} bytes: {reply[:8].hex()}…) · consumed {now(port) - before}"
    fields = zkwire.decode_reply(zkwire.OPS.get(op, op), reply)
    zxid = fields["zxid"] if fields["zxid"] in (0, -1) else f"+{fields['zxid'] - before}"
    try:
        state = f"consumed {c.ask('ping', xid=-2)['zxid'] - before} · open"
    except (Closed, TimeoutError):
        state = f"consumed {now(port) - before} · closed"
    errors = ""
    if "results" in fields:
        errors = " [" + ", ".join(str(r["body"].get("err", 0)) for r in fields["results"][:-1]) + "]"
    body = fields.get("body", {})
    told = {k: body[k] for k in ("path", "totalNumber", "ephemerals", "version", "ephemeralOwner", "aversion") if k in body}
    return f"{name_of(fields['err'])}{errors} · zxid {zxid} · {state}" + (f" · {told}" if told else "")


def prepare(port):
    """The tree that the probes expect. The returned session owns the ephemerals."""
    c = zkwire.session(port)
    for op, body in (
            ("create", create("/n", b"data")), ("create", create("/n/c")), ("create", create("/e", b"", flags=1)), ("create", create("/dc")),
            ("create", create("/ro2")), ("create", create("/ro")), ("create", create("/ro/x")), ("setACL", set_acl("/ro", [(1, "world", "anyone")])),
            ("setACL", set_acl("/ro/x", [(1, "world", "anyone")])), ("create", create("/noread", b"", [(30, "world", "anyone")])),
            ("createContainer", create("/cont", b"", flags=4))):
        c.call(op, body)
    return c


PROBES = [
    ("Plain reads, writes, errors", [
        ("getData", "getData", path_watch("/n")), ("setData", "setData", set_data("/n", b"1")), ("setData, BadVersion", "setData", set_data("/n", b"1", 77)),
        ("getData, NoNode", "getData", path_watch("/none")), ("setData, NoNode", "setData", set_data("/none", b"")),
        ("sync", "sync", ustr("/n")), ("ping, xid -2", "ping", b"", -2), ("ping, xid 5", "ping", b"", 5), ("auth, good", "auth", zkwire.auth("digest", b"a:b"), -4),
        ("auth, xid 9", "auth", zkwire.auth("digest", b"a:b"), 9), ("auth, token without colon", "auth", zkwire.auth("digest", b"ab"), -4),
        ("auth, null token", "auth", zkwire.auth("digest", None), -4), ("auth, null scheme", "auth", zkwire.auth(None, b"x"), -4),
        ("auth, scheme world", "auth", zkwire.auth("world", b"anyone"), -4), ("auth, type 7", "auth", zkwire.auth("digest", b"a:b", 7), -4),
        ("setWatches, xid -8", "setWatches", set_watches(0, [], [], []), -8), ("setWatches, xid 3", "setWatches", set_watches(0, [], [], []), 3),
        ("setWatches, huge relative zxid", "setWatches", set_watches(1 << 62, ["/n"], [], []), -8), ("getData, xid 0", "getData", path_watch("/n"), 0),
        ("getData, xid -7", "getData", path_watch("/n"), -7),
        ("multi of one failing op", "multi", multi([("delete", path_int("/none"))])), ("multi, empty", "multi", multi([])),
        ("multiRead, empty", "multiRead", multi([]))]),
    ("Opcodes", [
        ("999", 999, b""), ("0 notification", 0, b""), ("-1 error", -1, b""), ("10", 10, b""), ("-10 createSession, body 4 bytes", -10, zkwire.i32(30000)),
        ("check alone", "check", path_int("/n")), ("sasl, not configured", "sasl", zkwire.buf(b"x")), ("sasl, null token", "sasl", zkwire.buf(None)),
        ("reconfig, not enabled", "reconfig", ustr("server.9=a:1:2;3") + ustr(None) + ustr(None) + zkwire.i64(-1)),
        ("deleteContainer, jute path, missing", "deleteContainer", ustr("/none")), ("deleteContainer, raw path, missing", "deleteContainer", b"/none"),
        ("deleteContainer of an ordinary empty node", "deleteContainer", ustr("/dc")),
        ("deleteContainer of an ephemeral", "deleteContainer", ustr("/e")), ("whoAmI with a body", "whoAmI", b"xxxx")]),
    ("create", [
        ("flags 7", "create", create("/x", b"", flags=7)), ("flags -1", "create", create("/x", b"", flags=-1)), ("flags 1000", "create2", create("/x", b"", flags=1000)),
        ("null path", "create", create(None)), ("flags 4 by opcode create", "create", create("/viaflag4", b"", flags=4)),
        ("flags 0 by opcode createContainer", "createContainer", create("/viaop19", b"", flags=0)),
        ("flags 1 by opcode createContainer", "createContainer", create("/viaop19e", b"", flags=1)),
        ("flags 5 by opcode create", "create", create("/x", b"", flags=5)),
        ("flags 5 by opcode createContainer", "createContainer", create("/x", b"", flags=5)),
        ("createTTL flags 0, ttl 5 (never send ttl -1)", "createTTL", create_ttl("/x", b"", flags=0, ttl=5)),
        ("createTTL flags 1, ttl 5", "createTTL", create_ttl("/x", b"", flags=1, ttl=5)),
        ("createTTL ttl 0", "createTTL", create_ttl("/x", ttl=0)), ("createTTL ttl -1, flags 5", "createTTL", create_ttl("/x", ttl=-1)),
        ("createTTL ttl -5", "createTTL", create_ttl("/x", ttl=-5)), ("createTTL ttl 2^40", "createTTL", create_ttl("/x", ttl=1 << 40)),
        ("createTTL ttl 2^40-1", "createTTL", create_ttl("/ttlmax", ttl=(1 << 40) - 1)), ("createTTL ttl 2^63-1", "createTTL", create_ttl("/x", ttl=(1 << 63) - 1)),
        ("createTTL without the ttl field", "createTTL", create("/x", b"", flags=5)),
        ("under a container", "create", create("/cont/x")), ("under an ephemeral", "create", create("/e/x")),
        ("sequential, path ends with /", "create", create("/n/", b"", flags=2)), ("sequential, /", "create", create("/", b"", flags=2)),
        ("/zookeeper/x", "create", create("/zookeeper/x")), ("/zookeeper/quota/x", "create", create("/zookeeper/quota/x")),
        ("/zookeeper/config/x", "create", create("/zookeeper/config/x")), ("data of 1,048,000 bytes", "create", create("/big", b"x" * 1048000)),
        ("ephemeral", "create", create("/eph3", b"", flags=1))]),
    ("create: which error wins", [
        ("exists, and no CREATE on the parent", "create", create("/ro/x")), ("exists, and bad ACL", "create", create("/n", b"", NOPE)),
        ("no parent, and bad ACL", "create", create("/no/x", b"", NOPE)), ("no parent, and bad path below it", "create", create("/no/a//b")),
        ("no CREATE, and bad last component", "create", create("/ro/\u0001")), ("no CREATE, and bad ACL", "create", create("/ro/y", b"", NOPE)),
        ("bad flags, and null path", "create", create(None, b"", flags=99)), ("bad ttl, and bad ACL", "createTTL", create_ttl("/x", b"", NOPE, ttl=0)),
        ("path without slash, and bad ACL", "create", create("x", b"", NOPE)), ("bad last component, and bad ACL", "create", create("/\u0001", b"", NOPE)),
        ("ephemeral parent, and bad last component", "create", create("/e/\u0001")), ("exists, child of itself: /", "create", create("/"))]),
    ("ACL forms in setACL (and create)", [
        ("null list", "setACL", set_acl("/n", None)), ("empty list", "setACL", set_acl("/n", [])), ("null scheme", "setACL", set_acl("/n", [(31, None, "x")])),
        ("world with another id", "setACL", set_acl("/n", [(31, "world", "x")])), ("world, null id", "setACL", set_acl("/n", [(31, "world", None)])),
        ("auth without digest auth", "setACL", set_acl("/n", [(31, "auth", "")])), ("digest without colon", "setACL", set_acl("/n", [(31, "digest", "bob")])),
        ("digest a:b:c", "setACL", set_acl("/n", [(31, "digest", "a:b:c")])), ("digest, null id", "setACL", set_acl("/n", [(31, "digest", None)])),
        ("digest ':'", "setACL", set_acl("/n", [(31, "digest", ":")])), ("digest 'a:'", "setACL", set_acl("/n", [(31, "digest", "a:")])),
        ("ip 127.0.0.1", "setACL", set_acl("/n", [(31, "ip", "127.0.0.1"), *ANYONE])),
        ("ip 127.0.0.1/33", "setACL", set_acl("/n", [(31, "ip", "127.0.0.1/33")])), ("ip 300.0.0.1", "setACL", set_acl("/n", [(31, "ip", "300.0.0.1")])),
        ("ip ::1", "setACL", set_acl("/n", [(31, "ip", "::1"), *ANYONE])), ("ip name", "setACL", set_acl("/n", [(31, "ip", "localhost")])),
        ("ip 10.1", "setACL", set_acl("/n", [(31, "ip", "10.1")])), ("x509", "setACL", set_acl("/n", [(31, "x509", "CN=a")])),
        ("sasl", "setACL", set_acl("/n", [(31, "sasl", "a")])), ("super", "setACL", set_acl("/n", [(31, "super", "")])),
        ("unknown scheme", "setACL", set_acl("/n", NOPE)), ("perms 0", "setACL", set_acl("/n", [(0, "world", "anyone"), *ANYONE])),
        ("perms 1000", "setACL", set_acl("/n", [(1000, "world", "anyone"), *ANYONE])), ("the same twice", "setACL", set_acl("/n", ANYONE * 2)),
        ("missing node, and bad ACL", "setACL", set_acl("/none", NOPE)), ("bad path, and bad ACL", "setACL", set_acl("x", NOPE)),
        ("no ADMIN, and bad version", "setACL", set_acl("/ro", ANYONE, 99)), ("bad version", "setACL", set_acl("/n", ANYONE, 99)),
        ("version -2", "setACL", set_acl("/n", ANYONE, -2)), ("/zookeeper/config", "setACL", set_acl("/zookeeper/config", ANYONE)),
        ("null path", "setACL", set_acl(None, ANYONE)), ("/", "setACL", set_acl("/", ANYONE))]),
    ("setData and delete", [
        ("setData version -2", "setData", set_data("/n", b"", -2)), ("setData version 2^31-1", "setData", set_data("/n", b"", (1 << 31) - 1)),
        ("setData null path", "setData", set_data(None, b"")), ("setData: no WRITE, and bad version", "setData", set_data("/ro", b"", 9)),
        ("setData: missing, and bad version", "setData", set_data("/none", b"", 9)), ("setData /", "setData", set_data("/", b"")),
        ("setData /zookeeper/config", "setData", set_data("/zookeeper/config", b"x")), ("setData /zookeeper", "setData", set_data("/zookeeper", b"x")),
        ("delete /", "delete", path_int("/")), ("delete /zookeeper", "delete", path_int("/zookeeper")),
        ("delete /zookeeper/config", "delete", path_int("/zookeeper/config")), ("delete /zookeeper/quota", "delete", path_int("/zookeeper/quota")),
        ("delete null path", "delete", path_int(None)), ("delete: no DELETE on the parent, and missing", "delete", path_int("/ro/none")),
        ("delete: no DELETE on the parent", "delete", path_int("/ro/x")), ("delete: bad version, and not empty", "delete", path_int("/n", 99)),
        ("delete version -2", "delete", path_int("/ro2", -2)), ("delete: missing parent", "delete", path_int("/no/x"))]),
    ("multi", [
        ("first fails", "multi", multi([("delete", path_int("/none")), ("setData", set_data("/n", b""))])),
        ("second fails", "multi", multi([("setData", set_data("/n", b"")), ("delete", path_int("/none")), ("check", path_int("/n"))])),
        ("create with flags 99", "multi", multi([("create", create("/x", b"", flags=99))])),
        ("setData, then create with flags 99", "multi", multi([("setData", set_data("/n", b"")), ("create", create("/x", b"", flags=99))])),
        ("create with an empty ACL list", "multi", multi([("setData", set_data("/n", b"")), ("create", create("/x", b"", []))])),
        ("create with a null ACL list", "multi", multi([("setData", set_data("/n", b"")), ("create", create("/x", b"", None))])),
        ("create with a bad path", "multi", multi([("setData", set_data("/n", b"")), ("create", create("x"))])),
        ("create with a null path", "multi", multi([("setData", set_data("/n", b"")), ("create", create(None))])),
        ("delete with a bad path", "multi", multi([("setData", set_data("/n", b"")), ("delete", path_int("x"))])),
        ("check with a null path", "multi", multi([("check", path_int(None))])),
        ("createTTL with ttl 0", "multi", multi([("createTTL", create_ttl("/x", ttl=0))])),
        ("createTTL flags 0, ttl 5", "multi", multi([("createTTL", create_ttl("/x", flags=0, ttl=5))])),
        ("create with flags 4 by opcode create", "multi", multi([("create", create("/mviaflag4", b"", flags=4))])),
        ("create with flags 5 by opcode create", "multi", multi([("create", create("/x", b"", flags=5))])),
        ("createContainer with flags 0", "multi", multi([("createContainer", create("/mviaop19", b"", flags=0))])),
        ("sub-opcode 77 second", "multi", multi([("setData", set_data("/n", b"")), (77, b"")])),
        ("setACL inside", "multi", multi([("setACL", set_acl("/n", ANYONE))])), ("exists inside", "multi", multi([("exists", path_watch("/n"))])),
        ("getData inside", "multi", multi([("getData", path_watch("/n"))])), ("write and read mixed", "multi", multi([("setData", set_data("/n", b"")), ("getData", path_watch("/n"))])),
        ("cut short in the second operation", "multi", multi([("setData", set_data("/n", b""))])[:-9] + zkwire.i32(2) + b"\0" + zkwire.i32(-1) + zkwire.i32(50)),
        ("no end header", "multi", multi([("setData", set_data("/n", b""))])[:-9]), ("no body at all", "multi", b""),
        ("end header with type 0", "multi", zkwire.i32(0) + b"\1" + zkwire.i32(0)), ("multiRead with a write", "multiRead", multi([("setData", set_data("/n", b""))])),
        ("multiRead of unreadable and missing", "multiRead", multi([("getData", path_watch("/noread")), ("getChildren", path_watch("/none")), ("getData", path_watch("/n"))])),
        ("multiRead cut short", "multiRead", multi([("getData", path_watch("/n"))])[:-9])]),
    ("Reads", [
        ("exists without READ", "exists", path_watch("/noread")), ("getData without READ", "getData", path_watch("/noread")),
        ("getChildren without READ", "getChildren", path_watch("/noread")), ("getACL without READ but ADMIN", "getACL", ustr("/noread")),
        ("getAllChildrenNumber without READ", "getAllChildrenNumber", ustr("/noread")), ("getChildren missing, with watch", "getChildren", path_watch("/none", True)),
        ("getAllChildrenNumber of an ephemeral", "getAllChildrenNumber", ustr("/e")), ("getAllChildrenNumber /", "getAllChildrenNumber", ustr("/")),
        ("getAllChildrenNumber null", "getAllChildrenNumber", ustr(None)), ("getEphemerals of a session without any", "getEphemerals", ustr("/")),
        ("getEphemerals, empty prefix", "getEphemerals", ustr("")), ("sync null", "sync", ustr(None)), ("exists null", "exists", path_watch(None)),
        ("getData null", "getData", path_watch(None)), ("getACL null", "getACL", ustr(None)), ("getChildren null", "getChildren", path_watch(None)),
        ("watch byte 2", "exists", ustr("/n") + b"\2"), ("no watch byte", "exists", ustr("/n")), ("path length -2", "exists", zkwire.i32(-2) + b"\0"),
        ("path length 2^31-1", "exists", zkwire.i32((1 << 31) - 1) + b"\0"), ("path longer than the frame", "exists", zkwire.i32(100) + b"/n\0"),
        ("extra bytes after the body", "exists", path_watch("/n") + b"zz")]),
    ("Writes that do not parse", [
        ("create, no body", "create", b""), ("create, data length -2", "create", ustr("/x") + zkwire.i32(-2)), ("create, ACL count -5", "create", ustr("/x") + zkwire.buf(b"") + zkwire.i32(-5) + zkwire.i32(0)),
        ("create, ACL count 2^31-1", "create", ustr("/x") + zkwire.buf(b"") + zkwire.i32((1 << 31) - 1)),
        ("delete, no version", "delete", ustr("/n/c")), ("setACL cut short", "setACL", ustr("/n") + zkwire.i32(1)),
        ("setData with extra bytes", "setData", set_data("/n", b"") + b"zz"), ("closeSession with a body", "closeSession", b"zzzz")]),
    ("Watches", [
        ("removeWatches without watch", "removeWatches", path_int("/n", 3)), ("removeWatches type 0", "removeWatches", path_int("/n", 0)),
        ("removeWatches type 6", "removeWatches", path_int("/n", 6)), ("checkWatches without watch", "checkWatches", path_int("/n", 1)),
        ("checkWatches type 9", "checkWatches", path_int("/n", 9)), ("removeWatches null path", "removeWatches", path_int(None, 3)),
        ("addWatch mode 2", "addWatch", path_int("/n", 2)), ("addWatch mode -1", "addWatch", path_int("/n", -1)),
        ("addWatch without READ", "addWatch", path_int("/noread", 0)), ("addWatch bad path", "addWatch", path_int("x", 1)),
        ("setWatches null lists", "setWatches", set_watches(0, None, None, None), -8), ("setWatches bad path", "setWatches", set_watches(0, ["x"], [], []), -8),
        ("setWatches null path inside", "setWatches", set_watches(0, [None], [], []), -8)]),
]

PATHS = [("empty", ""), ("`/`", "/"), ("`x`", "x"), ("`/n/`", "/n/"), ("`//n`", "//n"), ("`/n//c`", "/n//c"), ("`/n/./c`", "/n/./c"), ("`/n/..`", "/n/.."), ("`/..x`", "/..x"),
         ("U+0000", "/\0"), ("U+0001", "/\1"), ("U+001F", "/\x1f"), ("U+007F", "/\x7f"), ("U+009F", "/\x9f"), ("U+00A0", "/\xa0"), ("U+D800 (ED A0 80)", b"/\xed\xa0\x80"),
         ("U+E000", "/\ue000"), ("U+F8FF", "/\uf8ff"), ("U+F900", "/\uf900"), ("U+FFEF", "/\uffef"), ("U+FFF0", "/\ufff0"), ("U+FFFD", "/\ufffd"), ("U+1F600", "/\U0001f600"),
         ("bytes FF", b"/\xff"), ("bytes C3 (cut)", b"/\xc3"), ("bytes C0 80", b"/\xc0\x80"), ("space", "/ ")]


def path_matrix(port):
    """For each odd path the error of each operation; what a create made is deleted at once."""
    rows = ["| path | create | setData | delete | exists | getData | getChildren | setACL | check in multi | sync | addWatch |", "|---|---|---|---|---|---|---|---|---|---|---|"]
    for label, path in PATHS:
        cells = []
        for op, body in (("create", create(path)), ("setData", set_data(path, b"", 77)), ("delete", path_int(path, 77)), ("exists", path_watch(path)), ("getData", path_watch(path)),
                         ("getChildren", path_watch(path)), ("setACL", set_acl(path, ANYONE, 77)), ("multi", multi([("check", path_int(path, 77))])), ("sync", ustr(path)), ("addWatch", path_int(path, 0))):
            c = short_conn(port)
            try:
                answer = c.ask(op, body)
                err = answer["err"] if op != "multi" or answer["err"] else answer["results"][0]["body"]["err"]
                cells.append(str(err))
                if op == "create" and not err:
                    back = answer["body"]["path"].encode()
                    cells[-1] = "0" if ustr(path) == ustr(back) else f"0 → {back.hex()}"
            except Closed:
                cells.append("closed")
            except TimeoutError:
                cells.append("silent")
            c.close()
        rows.append(f"| {label} | " + " | ".join(cells) + " |")
        c = short_conn(port)
        c.call("delete", path_int(path))
        c.close()
    return rows


# ---- frames and the handshake: each returns one line --------------------------------------------------------------

def outcome(c):
    """What comes next on a connection: frames in hex, then closed or open."""
    got = []
    c.sock.settimeout(1.5)
    try:
        while True:
            got.append(c.recv().hex())
    except Closed:
        got.append("closed")
    except socket.timeout:
        got.append("open")
    return ", ".join(got)


def raw_case(port, data, with_session=True):
    c = short_conn(port) if with_session else Conn(port, timeout_s=3)
    try:
        c.raw(data)
    except Closed:
        return "closed"
    return outcome(c)


def connect_case(port, **kwargs):
    c = Conn(port, timeout_s=3)
    try:
        _, reply = c.connect(**kwargs)
        f = zkwire.decode_connect(reply)
        text = f"accepted: timeOut {f['timeOut']}, session {'0' if f['sessionId'] == 0 else 'new' if f['sessionId'] != kwargs.get('session') else 'the same'}, {len(reply)} bytes"
        return text + ", then " + ("closed" if c.is_closed_soon(1) else "open")
    except Closed:
        return "closed without an answer"
    except TimeoutError:
        return "no answer, open"


def connect_raw(port, body):
    c = Conn(port, timeout_s=3)
    c.send(body)
    return outcome(c).replace(c.password.hex() or "-", "…")


def frames(port):
    ping = zkwire.i32(-2) + zkwire.i32(11)
    full = zkwire.connect_request()
    yield "frame length 0", raw_case(port, zkwire.i32(0))
    yield "frame length -1", raw_case(port, zkwire.i32(-1))
    yield "frame length 1,048,576 (jute.maxbuffer + 1)", raw_case(port, zkwire.i32(1048576))
    yield "frame length 1,048,575 (all of it sent, exists + padding)", raw_case(port, zkwire.i32(1048575) + zkwire.i32(1) + zkwire.i32(3) + path_watch("/n") + b"\0" * (1048575 - 8 - 7))
    yield "frame of 4 bytes (half a header)", raw_case(port, zkwire.i32(4) + zkwire.i32(1))
    yield "second connect request", raw_case(port, zkwire.buf(full))
    yield "ping, then the same in two pieces of a frame", raw_case(port, zkwire.buf(ping) + zkwire.buf(ping)[:6])
    yield "a request before the handshake (ping)", raw_case(port, zkwire.buf(ping), False)
    yield "handshake frame of 0 bytes", raw_case(port, zkwire.i32(0), False)
    yield "handshake frame of 1,048,576 bytes", raw_case(port, zkwire.i32(1048576), False)
    yield "four bytes `abcd` (an unknown word)", raw_case(port, b"abcd", False)
    yield "handshake cut after the time-out", connect_raw(port, full[:16])
    yield "handshake with password length -2", connect_raw(port, full[:24] + zkwire.i32(-2) + b"\0")
    yield "handshake with password length 2^31-1", connect_raw(port, full[:24] + zkwire.i32((1 << 31) - 1))


def handshakes(port):
    for label, kwargs in (
            ("timeOut 0", {"timeout_ms": 0}), ("timeOut -1", {"timeout_ms": -1}), ("timeOut 2^31-1", {"timeout_ms": (1 << 31) - 1}), ("timeOut 10,001", {"timeout_ms": 10001}),
            ("protocolVersion 1", {"protocol": 1}), ("protocolVersion -1", {"protocol": -1}), ("empty password", {"password": b""}), ("null password", {"password": None}),
            ("password of 100 bytes", {"password": b"p" * 100}), ("lastZxidSeen 2^40", {"last_zxid": 1 << 40}), ("lastZxidSeen -1", {"last_zxid": -1}),
            ("readOnly 1", {"read_only": True}), ("no readOnly byte", {"read_only": None}), ("unknown session", {"session": 0x1234}),
            ("unknown session, no readOnly byte", {"session": 0x1234, "read_only": None})):
        yield label, connect_case(port, **kwargs)


def sessions(port):
    c = short_conn(port)
    wrong = connect_case(port, session=c.session, password=b"w" * 16)
    yield "reconnect with a wrong password", wrong + "; the session's present connection: " + outcome(c)
    yield "… and then with the right one", connect_case(port, session=c.session, password=c.password)
    c = short_conn(port)
    again = connect_case(port, session=c.session, password=c.password, timeout_ms=6000)
    yield "reconnect with the right password, time-out 6000", again + "; the old connection: " + outcome(c)
    c = short_conn(port)
    c.raw(b"".join(zkwire.buf(c.frame(op, body)) for op, body in (("create", create("/pend", b"", flags=1)), ("closeSession", b""), ("create", create("/after")), ("ping", b""))))
    yield "create, closeSession, create, ping in one write", outcome(c)
    yield "… is /after there?", ask(port, "exists", path_watch("/after"))
    c = short_conn(port)
    c.raw(b"".join(zkwire.buf(c.frame(op, body)) for op, body in (("getData", path_watch("/n")), (999, b""), ("create", create("/after2")))))
    yield "getData, opcode 999, create in one write", outcome(c)
    yield "… is /after2 there?", ask(port, "exists", path_watch("/after2"))
    c = short_conn(port)
    c.raw(b"".join(zkwire.buf(c.frame(op, body, xid)) for op, body, xid in (("auth", zkwire.auth("nope", b""), -4), ("create", create("/after3"), 1))))
    yield "failing auth, create in one write", outcome(c)
    yield "… is /after3 there?", ask(port, "exists", path_watch("/after3"))
    c = short_conn(port)
    yield "exists with watch on a missing node, then setWatches that misses everything", watch_line(c)


def watch_line(c):
    c.call("setWatches", set_watches(0, ["/n", "/gone"], ["/n"], ["/n", "/gone"]), -8)
    names = [f"{e['type']} {e['path']} zxid {e['zxid']}" for e in map(zkwire.decode_event, c.events)]
    return f"before the reply: {names or 'nothing'}; after it: {outcome(c)}"


def run(version):
    """All answers of one version: [(section, [(question, answer)])] and the path matrix."""
    with capture.Server(version) as server:
        port = server.port
        holder = prepare(port)
        out = []
        for section, probes in PROBES:
            rows = []
            for question, op, *rest in probes:
                rows.append((question, ask(port, op, *rest)))
            out.append((section, rows))
        out.append(("Ephemerals of a session that has some", [(f"getEphemerals {p!r}", ask(port, "getEphemerals", ustr(p), conn=holder)) for p in ("/", "/e", "/ex", " ", None)]))
        out.append(("Handshake", list(handshakes(port))))
        out.append(("Frames (answers in hex)", list(frames(port))))
        out.append(("Sessions and order", list(sessions(port))))
        return out, path_matrix(port)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="example: behaviour.py")
    parser.parse_args()
    new, paths = run("3.9.5")
    old, old_paths = run("3.8.0")
    lines = [MARKER, ""]
    for (section, rows), (_, old_rows) in zip(new, old):
        lines += [f"### {section}", "", "| asked | 3.9.5 | 3.8.0 |", "|---|---|---|"]
        for (question, answer), (_, old_answer) in zip(rows, old_rows):
            lines.append(f"| {question} | {answer} | {'=' if answer == old_answer else old_answer} |")
        lines.append("")
    lines += ["### Paths (error codes, 3.9.5; setData, delete, setACL and check with version 77, so -103 means the path was taken)", ""] + paths
    lines += ["", "3.8.0 differs in:" if paths != old_paths else "3.8.0: the same.", ""] + [row for row, mine in zip(old_paths, paths) if row != mine]
    file = os.path.join(HERE, "behaviour.md")
    text = ""
    if os.path.exists(file):
        with open(file, encoding="utf-8") as f:
            text = f.read().split(MARKER)[0]
    with open(file, "w", encoding="utf-8") as f:
        f.write(text + "\n".join(lines).rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
