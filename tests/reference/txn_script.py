"""The scripts of writes whose log records become proto/vectors/txn-3.9.5.txt and txnlog_digest.txt. Run by capture.py."""

import time

import zkwire
from zkwire import ANYONE, create, create_ttl, multi, path_int, path_watch, set_acl, set_data

DIGEST_ACL = [(31, "digest", "bob:H/yrfl/C+vCUzEKsO8w9SZPJ7Nc="), (1, "world", "anyone")]


def wait_gone(c, path, limit_s=20):
    """Waits until the container manager has taken a node away."""
    end = time.monotonic() + limit_s
    while c.ask("exists", path_watch(path))["err"] == 0:
        if time.monotonic() > end:
            raise TimeoutError(f"{path} is still there")
        time.sleep(0.05)


def every_kind(port):
    c = zkwire.session(port)
    c.call("create", create("/a", b"data"))
    c.call("create", create("/n", None))
    c.call("create", create("/z", b""))
    c.call("create", create("/e", b"x", flags=1))
    c.call("create", create("/\u00e9\u4e2d", b"x"))
    c.call("create2", create("/a2", b"data", DIGEST_ACL))
    c.call("create2", create("/e2", b"data", flags=1))
    c.call("create2", create("/s-", b"data", flags=2))
    c.call("createContainer", create("/c", b"data", flags=4))
    c.call("createTTL", create_ttl("/t", b"data", flags=5, ttl=700))
    c.call("setData", set_data("/a", b"data2"))
    c.call("setData", set_data("/a", None))
    c.call("setData", set_data("/a", b""))
    c.call("setACL", set_acl("/a", DIGEST_ACL))
    c.call("delete", path_int("/z"))
    errors(c)
    multis(c)
    c.call("create", create("/c/child"))
    c.call("delete", path_int("/c/child"))
    wait_gone(c, "/c")
    wait_gone(c, "/t")
    c.call("closeSession")
    c = zkwire.session(port)
    c.call("closeSession")


def errors(c):
    c.call("create", create("/a"))
    c.call("create", create("/no/x"))
    c.call("create", create("x"))
    c.call("create", create("/x", b"", []))
    c.call("create", create("/e/x"))
    c.call("delete", path_int("/a", 9))
    c.call("setData", set_data("/a2", b""))
    c.call("setData", zkwire.ustr("/a"))
    c.call("reconfig", zkwire.ustr("x") + zkwire.ustr(None) + zkwire.ustr(None) + zkwire.i64(-1))


def multis(c):
    c.call("multi", multi([]))
    c.call("multi", multi([
        ("create", create("/m", b"1")), ("create2", create("/m/a", b"2")), ("createContainer", create("/m/c", b"", flags=4)),
        ("createTTL", create_ttl("/m/t", b"", flags=5, ttl=3600000)), ("setData", set_data("/m", b"3", 0)),
        ("check", path_int("/m", 1)), ("delete", path_int("/m/a", 0))]))
    c.call("multi", multi([("check", path_int("/m")), ("setData", set_data("/m", b"x")), ("delete", path_int("/none")),
                           ("create", create("/m/x"))]))


def digest_run(port):
    """A run that moves every field the digest covers, and the sum of many nodes."""
    every_kind(port)
    c = zkwire.session(port)
    c.call("create", create("/d", b"root of it"))
    for i in range(12):
        c.call("create2", create(f"/d/n{i}", b"v" * i, DIGEST_ACL if i % 5 == 4 else ANYONE))
        c.call("create", create("/d/seq-", bytes([i]), flags=2 + i % 2))
    for i in range(0, 12, 3):
        c.call("setData", set_data(f"/d/n{i}", b"w" * 40, 0))
        c.call("setACL", set_acl(f"/d/n{i}", DIGEST_ACL, 0))
        c.call("delete", path_int(f"/d/n{i + 1}", 0))
        c.call("delete", path_int(f"/d/n{i + 1}", 0))
    c.call("setData", set_data("/", b"the root has data"))
    c.call("setACL", set_acl("/", ANYONE))
    c.call("setData", set_data("/zookeeper/quota", b"not in the digest"))
    c.call("create", create("/zookeeper/quota/d", b""))
    c.call("multi", multi([("create", create("/d/m")), ("create", create("/d/m/x", b"", flags=1)), ("setData", set_data("/d", b"", 0)),
                           ("check", path_int("/d", 1)), ("delete", path_int("/d/n0", 1))]))
    c.call("multi", multi([("create", create("/d/m2")), ("check", path_int("/d", 77))]))
    c.call("create", create("/d/after-failed-multi", b"", flags=2))
    other = zkwire.session(port)
    other.call("create", create("/d/other", b"", flags=1))
    other.call("create", create("/other", b"", flags=1))
    other.call("create", create("/d/m/other", b"", flags=3))
    c.call("create2", create("/d/between", b""))
    other.call("closeSession")
    c.call("createContainer", create("/d/c", b"", flags=4))
    c.call("create", create("/d/c/1"))
    c.call("delete", path_int("/d/c/1"))
    wait_gone(c, "/d/c")
    c.call("createTTL", create_ttl("/d/ttl", b"", flags=5, ttl=300))
    wait_gone(c, "/d/ttl")
    c.call("createTTL", create_ttl("/d/ttl-", b"", flags=6, ttl=(1 << 40) - 1))
    c.call("create", create("/d/last", b"end"))
    # Past zxid 128, so that the server's own digest list has an entry to compare with.
    while c.ask("setData", set_data("/d/last", b"x" * 7))["zxid"] < 130:
        pass
