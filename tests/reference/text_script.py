"""The script of requests with texts that are not UTF-8, which become proto/vectors/acl-texts-3.9.5.txt. Run by capture.py.

What a server reads, keeps and tells of the ids of ACLs and of its clients. It begins on a snapshot, as sequence_script.py does, so that the sessions
are always the same. What begins with `apart.` comes last: there RingKeeper does otherwise, on purpose.
"""

import os

import snapfile
import zkwire
from client_script import Recorder
from zkwire import auth, create, multi, set_acl, ustr

ZXID, SESSION, TIMEOUT_MS = 0x100000100, 0x100000000000AAA, 40_000
WORLD = (31, "world", "anyone")

IDS = {
    "no_utf8": b"\xff:x",
    "cut_short": b"a\xc3:x",
    "cut_short_at_the_end": b"x:\xe2\x82",
    "four_cut_short": b"\xf0\x9f\x98:x",
    "too_long_a_form": b"\xc0\x80:x",
    "five_bytes": b"\xf8\x88\x80\x80\x80:x",
    "surrogates": b"\xed\xa0\xbd\xed\xb8\x80:x",
    "half_a_surrogate": b"\xed\xa0:x",
    "beyond_the_last": b"\xf4\x90\x80\x80:x",
    "replaced_before": "\ufffd:x".encode(),
}


def write_snapshot(data):
    os.makedirs(os.path.join(data, "version-2"), exist_ok=True)
    with open(os.path.join(data, "version-2", f"snapshot.{ZXID:x}"), "wb") as f:
        f.write(snapfile.snapshot(snapfile.reserved(), [(SESSION, TIMEOUT_MS)], ZXID))


def run(port):
    """The whole script; returns the vectors, without the log's records."""
    out = []
    c = Recorder(port, out)
    c.add("digest", "tree", 0, snapfile.digest_record(snapfile.reserved(), ZXID), "of the snapshot: zxid, version, digest")
    c.add("session", "main", 0, snapfile.session_record(SESSION, TIMEOUT_MS))
    for node in snapfile.reserved():
        c.add("node", node.path or "/", 0, node.record())
    c.connect("main", "the session of the snapshot", session=SESSION, password=snapfile.password(SESSION), timeout_ms=TIMEOUT_MS)
    for name, ident in IDS.items():
        c.step(f"{name}.create", "create", create(f"/{name}", b"", [WORLD, (1, "digest", ident)]))
        c.step(f"{name}.acl", "getACL", ustr(f"/{name}"))
    equal = [(1, "digest", ident) for ident in (b"\xff:x", b"\xfe:x", "\ufffd:x".encode(), b"\xff\xff:x")]
    c.step("equal.create", "create2", create("/equal", b"", [WORLD, *equal]), "the first three are one text")
    c.step("equal.acl", "getACL", ustr("/equal"))
    c.step("set.same", "setACL", set_acl("/no_utf8", [WORLD, (1, "digest", b"\xfe\xff:x")]))
    c.step("set.acl", "getACL", ustr("/no_utf8"))
    c.step("multi.create", "multi", multi([("create", create("/m", b"", [(31, "digest", b"\xff:x")]))]))
    c.step("scheme.digest", "create", create("/s", b"", [(31, b"digest\xff", "a:b")]))
    c.step("scheme.ip", "create", create("/s", b"", [(31, "ip", b"1.2.3.4\xff")]))
    c.step("scheme.world", "create", create("/s", b"", [(31, "world", b"anyone\xff")]))
    c.step("scheme.auth", "create", create("/s", b"", [(31, "auth", b"\xff")]))
    c.step("client.auth", "auth", auth("digest", b"\xff:password"), xid=-4)
    c.step("client.create", "create", create("/mine", b"", [(31, "auth", b"\xff")]))
    c.step("client.acl", "getACL", ustr("/mine"))
    c.step("apart.create", "create", create("/above", b"", [WORLD, (1, "digest", "\U0001f600:x")]), "two surrogates in the log")
    c.step("apart.acl", "getACL", ustr("/above"), "and in the reply")
    c.step("apart.path", "create", create(b"/p\xff"), "a path with U+FFFD is refused")
    c.step("apart.path_read", "getData", zkwire.path_watch(b"/p\xff"), "and not found")
    return out
