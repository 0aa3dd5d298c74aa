"""The tree whose counters are about to run over, and the script of requests that become proto/vectors/sequence-*.txt. Run by capture.py.

The tree is written as a snapshot file before the server starts (snapfile.py): no client can bring a cversion to 2^31-1 in a test's time. One
request at a time, since what ZooKeeper does with two creates on their way at once depends on which of them it has applied. The session is in
the snapshot too, so that nothing but times differs between two captures.
"""

import os

import snapfile
import zkwire
from client_script import Recorder, Vector
from snapfile import Node
from zkwire import ANYONE, create, create_ttl, multi, path_int, path_watch, set_acl, set_data

MAX, MIN = (1 << 31) - 1, -(1 << 31)
ZXID, TIME_MS = 0x100000100, 1_600_000_000_000
SESSION, OTHER = 0x100000000000AAA, 0x100000000000BBB
TIMEOUT_MS = 40_000

# By name: the parent's stored cversion, and the children that it has from the start.
PARENTS = {
    "zero": (0, []),
    "one_billion": (999_999_999, []),
    "ten_places": (9_999_999, ["gone-before"]),
    "half": ((1 << 30) - 1, ["a", "b", "c"]),
    "max_minus_3": (MAX - 3, []),
    "max_minus_1": (MAX - 1, ["a"]),
    "max": (MAX, ["a", "b"]),
    "max_taken": (MAX - 1, ["s-2147483646"]),
    "max_empty": (MAX, []),
    "min": (MIN, []),
    "min_plus_1": (MIN + 1, ["a"]),
    "minus_3": (-3, []),
    "minus_2": (-2, ["a"]),
    "minus_1": (-1, []),
    "minus_1_taken": (-1, ["s--000000001"]),
}
VERSIONS = {"max_minus_1": MAX - 1, "max": MAX, "min": MIN, "minus_3": -3, "minus_2": -2, "minus_1": -1}


def nodes():
    out = snapfile.reserved()
    for name, (cversion, children) in PARENTS.items():
        out.append(Node(f"/{name}", b"parent", cversion=cversion, zxid=ZXID - 1, time_ms=TIME_MS))
        out += [Node(f"/{name}/{child}", b"", zxid=ZXID - 1, time_ms=TIME_MS) for child in children]
    for name, version in VERSIONS.items():
        out.append(Node(f"/version_{name}", b"", version=version, aversion=version, zxid=ZXID - 1, time_ms=TIME_MS))
    return out


def write_snapshot(data):
    """Puts the tree where a server on `data` will find it."""
    os.makedirs(os.path.join(data, "version-2"), exist_ok=True)
    with open(os.path.join(data, "version-2", f"snapshot.{ZXID:x}"), "wb") as f:
        f.write(snapfile.snapshot(nodes(), [(SESSION, TIMEOUT_MS), (OTHER, TIMEOUT_MS)], ZXID))


def add_tree(recorder):
    """The snapshot's parts as vectors, as they stand in the file."""
    recorder.add("digest", "tree", 0, snapfile.digest_record(nodes(), ZXID), "of the snapshot: zxid, version, digest")
    for name, session in (("main", SESSION), ("other", OTHER)):
        recorder.add("session", name, 0, snapfile.session_record(session, TIMEOUT_MS))
    for node in nodes():
        recorder.add("node", node.path or "/", 0, node.record())


def run(port):
    """The whole script; returns the vectors, without the log's records."""
    out = []
    main = Recorder(port, out)
    add_tree(main)
    main.connect("main", "the session of the snapshot", session=SESSION, password=snapfile.password(SESSION), timeout_ms=TIMEOUT_MS)
    for name, (_, children) in PARENTS.items():
        parent(main, name, children)
    for name, version in VERSIONS.items():
        versions(main, name, version)
    in_one_multi(main)
    session_end(port, out)
    for name in PARENTS:
        main.step(f"{name}.last", "getChildren2", path_watch(f"/{name}"), "the children in no order")
    return out


def parent(c, name, children):
    """Creates of every kind below a parent, deletes between them; the parent's stat as clients see it after each."""
    path = f"/{name}"
    names = iter(range(1000))

    def stat():
        c.step(f"{name}.stat{next(names)}", "exists", path_watch(path))

    def made(what, op, body, comment=""):
        fields = c.step(f"{name}.{what}", op, body, comment)
        stat()
        return fields.get("body", {}).get("path") if fields["err"] == 0 else None

    stat()
    c.step(f"{name}.watch", "getChildren2", path_watch(path, True), "and a watch on the children")
    first = made("seq_1", "create", create(f"{path}/s-", b"", flags=2))
    made("seq_2", "create", create(f"{path}/s-", b"", flags=2))
    made("plain", "create", create(f"{path}/plain", b"x"), "counts as well")
    second = made("seq_ephemeral", "create2", create(f"{path}/s-", b"e", flags=3))
    made("seq_ttl", "createTTL", create_ttl(f"{path}/s-", b"t", flags=6, ttl=3_600_000))
    made("container", "createContainer", create(f"{path}/c", b"", flags=4))
    made("nameless", "create", create(f"{path}/", b"", flags=2), "the number alone is the name")
    for number, child in enumerate(filter(None, (first, second))):
        c.step(f"{name}.delete_{number}", "delete", path_int(child))
        stat()
    if children:
        c.step(f"{name}.delete_old", "delete", path_int(f"{path}/{children[0]}"))
        stat()
    made("seq_3", "create2", create(f"{path}/s-", b"", flags=2), "after deletes: their numbers are not used again")
    ops = [("create", create(f"{path}/m-", b"", flags=2)), ("create2", create(f"{path}/m-", b"", flags=3)),
           ("delete", path_int(f"{path}/plain")), ("create", create(f"{path}/m", b""))]
    made("multi", "multi", multi(ops), "numbers within one txn")
    made("multi_fails", "multi", multi([("create", create(f"{path}/f-", b"", flags=2)), ("check", path_int(f"{path}/none"))]))
    made("seq_4", "create", create(f"{path}/s-", b"", flags=2), "after the multi that failed")


def versions(c, name, version):
    path = f"/version_{name}"
    after = (version + 1 + (1 << 31)) % (1 << 32) - (1 << 31)
    c.step(f"{path}.wrong", "setData", set_data(path, b"", 5))
    c.step(f"{path}.right", "setData", set_data(path, b"1", version))
    c.step(f"{path}.after", "setData", set_data(path, b"2", after))
    c.step(f"{path}.any", "setData", set_data(path, b"3", -1))
    c.step(f"{path}.checked", "multi", multi([("check", path_int(path, after)), ("setData", set_data(path, b"4"))]))
    c.step(f"{path}.acl_wrong", "setACL", set_acl(path, ANYONE, 5))
    c.step(f"{path}.acl_right", "setACL", set_acl(path, ANYONE, version))
    c.step(f"{path}.acl_any", "setACL", set_acl(path, ANYONE, -1))
    c.step(f"{path}.stat", "exists", path_watch(path))
    c.step(f"{path}.delete_wrong", "delete", path_int(path, 5))
    c.step(f"{path}.delete", "delete", path_int(path, -1))


def in_one_multi(c):
    """Where the counter runs over within one txn, and what is there after it."""
    path = "/max_empty"
    ops = [("create", create(f"{path}/x-", b"", flags=2)) for _ in range(4)]
    c.step("one_multi.four", "multi", multi(ops))
    c.step("one_multi.stat", "exists", path_watch(path))
    c.step("one_multi.then", "create", create(f"{path}/x-", b"", flags=2))
    c.step("one_multi.under_a_new_parent", "multi", multi([
        ("create", create(f"{path}/parent")), ("create", create(f"{path}/parent/q-", b"", flags=2)),
        ("create", create(f"{path}/parent/q-", b"", flags=3))]))
    c.step("one_multi.new_parent", "getChildren2", path_watch(f"{path}/parent"))


def session_end(port, out):
    """The end of a session takes its ephemerals from parents on both sides of the end of the numbers."""
    other = Recorder(port, out)
    other.connect("other", "a second session of the snapshot", session=OTHER, password=snapfile.password(OTHER), timeout_ms=TIMEOUT_MS)
    for name in ("zero", "max", "max_minus_1", "min", "minus_1"):
        other.step(f"other.{name}", "create2", create(f"/{name}/other-", b"", flags=3))
    other.step("other.close", "closeSession")


def add_log(out, txns):
    """The log's record for each reply that has a zxid of its own, under the name of its request."""
    records = {}
    for payload in txns:
        records[zkwire.decode_txn(payload)["hdr"]["zxid"]] = payload
    for vector in [v for v in out if v.kind == "reply"]:
        payload = records.pop(vector.fields["zxid"], None)
        if payload is not None:
            fields = zkwire.decode_txn(payload)
            out.insert(out.index(vector) + 1, Vector("txn", vector.name, fields["hdr"]["type"], payload, "", fields))
    assert not records, f"txns that nobody asked for: {sorted(records)}"
