#!/usr/bin/env python3
"""What a server does with quotas, as text: the same script for the real server and for ours.

usage: quotas.py HOST:PORT

Prints a line for each step: what was asked, its outcome, and the totals then. The server needs enforceQuota=true and a fresh tree.
tests/reference/quotas.txt is what ZooKeeper 3.9.5 printed; tests/tests/quotas.rs compares RingKeeper with it. Record it again with

    tests/reference/java-server.sh --port 21811 --data /tmp/zk --cfg enforceQuota=true &
    tests/reference/quotas.py 127.0.0.1:21811 > tests/reference/quotas.txt
"""

import logging
import sys

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

ROOT = "/zookeeper/quota"


def main(hosts):
    zk = KazooClient(hosts=hosts, timeout=30)
    zk.start(timeout=30)

    def totals(subject):
        try:
            data, stat = zk.get(f"{ROOT}{subject}/zookeeper_stats")
            return f"{data.decode()} version={stat.version} length={stat.dataLength}"
        except KazooException as error:
            return type(error).__name__

    def step(what, subject, call):
        try:
            call()
            outcome = "ok"
        except KazooException as error:
            outcome = type(error).__name__
        print(f"{what}: {outcome} | {totals(subject)}")

    def quota(subject, limits, stats=b"count=99,bytes=99"):
        zk.ensure_path(f"{ROOT}{subject}")
        step(f"limits {subject} {limits}", subject, lambda: zk.create(f"{ROOT}{subject}/zookeeper_limits", limits.encode()))
        step(f"stats {subject}", subject, lambda: zk.create(f"{ROOT}{subject}/zookeeper_stats", stats))

    def create(path, data=b"", subject="/q", **options):
        step(f"create {path} {len(data)} {sorted(options)}", subject, lambda: zk.create(path, data, **options))

    zk.create("/q", b"four")
    zk.create("/q/before", b"1234567")
    zk.create("/qq", b"a neighbour whose name begins alike")
    quota("/q", "count=4,bytes=40")
    create("/q/a", b"xy")
    create("/q/a/b", b"z" * 10)
    create("/q/a/b/over-soft", b"")
    create("/q/big", b"b" * 100)
    create("/qq/a", b"not counted")
    create("/q/s-", b"seq", sequence=True)
    create("/q/e", b"eph", ephemeral=True)
    create("/q/c", b"cont")
    step("set /q/a 5", "/q", lambda: zk.set("/q/a", b"12345"))
    step("set /q/a same length", "/q", lambda: zk.set("/q/a", b"54321"))
    step("set /q/a bad version", "/q", lambda: zk.set("/q/a", b"1", version=77))
    step("delete /q/big", "/q", lambda: zk.delete("/q/big"))
    step("delete not empty", "/q", lambda: zk.delete("/q/a"))

    def multi(*operations):
        def call():
            transaction = zk.transaction()
            for name, arguments in operations:
                getattr(transaction, name)(*arguments)
            results = transaction.commit()
            print("  multi", [type(r).__name__ if isinstance(r, Exception) else "ok" for r in results])

        step("multi", "/q", call)

    multi(("create", ("/q/m", b"m1")), ("set_data", ("/q/m", b"m123")), ("create", ("/q/m/n", b"")))
    multi(("create", ("/q/m2", b"m1")), ("check", ("/q/m2", 9)))
    multi(("delete", ("/q/m/n",)), ("delete", ("/q/m",)))

    # A hard limit on the count.
    step("set limits count hard", "/q", lambda: zk.set(f"{ROOT}/q/zookeeper_limits", b"count=1,bytes=-1=;countHardLimit=10"))
    for number in range(5):
        create(f"/q/h{number}", b"")
    multi(("create", ("/q/h7", b"")), ("create", ("/q/h8", b"")))
    multi(("delete", ("/q/h0",)), ("create", ("/q/h9", b"")))
    step("set /q/a at the hard count", "/q", lambda: zk.set("/q/a", b"longer than before"))
    step("set bad version over nothing", "/q", lambda: zk.set("/q/a", b"1", version=77))

    # A hard limit on bytes: the quota comes before the version, after the ACL.
    step("set limits bytes hard", "/q", lambda: zk.set(f"{ROOT}/q/zookeeper_limits", b"byteHardLimit=60"))
    step("set /q/a 100", "/q", lambda: zk.set("/q/a", b"x" * 100))
    step("set /q/a 100 bad version", "/q", lambda: zk.set("/q/a", b"x" * 100, version=77))
    step("set /q/a 2", "/q", lambda: zk.set("/q/a", b"xx"))
    create("/q/none", b"y" * 100)
    create("/q/empty", b"")
    create("/q/missing/child", b"y" * 100)
    create("/q/a", b"y" * 100)

    # Deeper and higher quotas: the longest prefix counts, and only that.
    zk.create("/q/deep", b"")
    zk.create("/q/deep/down", b"abc")
    quota("/q/deep", "count=100,bytes=100")
    print("  outer", totals("/q"))
    create("/q/deep/down/x", b"12", subject="/q/deep")
    print("  outer", totals("/q"))
    step("delete deep limits", "/q/deep", lambda: zk.delete(f"{ROOT}/q/deep/zookeeper_limits"))
    create("/q/deep/down/y", b"12", subject="/q/deep")
    print("  outer", totals("/q"))

    # What clients may write into the totals.
    step("set totals", "/q", lambda: zk.set(f"{ROOT}/q/zookeeper_stats", b"count=1000,bytes=5=;extra=7"))
    create("/q/after-totals", b"123")
    step("set totals partly", "/q", lambda: zk.set(f"{ROOT}/q/zookeeper_stats", b"bytes=1"))
    create("/q/after-part", b"123")
    step("delete totals", "/q", lambda: zk.delete(f"{ROOT}/q/zookeeper_stats"))
    create("/q/without-totals", b"y" * 100)
    step("totals again", "/q", lambda: zk.create(f"{ROOT}/q/zookeeper_stats", b""))

    # A quota on what is not there yet, and its end.
    quota("/later", "count=2,bytes=-1=;countHardLimit=2")
    create("/later", b"1", subject="/later")
    create("/later/a", b"2", subject="/later")
    create("/later/b", b"3", subject="/later")
    step("delete /later/a", "/later", lambda: zk.delete("/later/a"))
    create("/later/b", b"3", subject="/later")
    step("end", "/later", lambda: zk.delete(f"{ROOT}/later/zookeeper_limits"))
    create("/later/c", b"3", subject="/later")
    step("delete the quota of a subtree", "/later", lambda: zk.delete(f"{ROOT}/later", recursive=True))
    create("/later/d", b"3", subject="/later")

    # Ephemerals that go with their session.
    other = KazooClient(hosts=hosts, timeout=30)
    other.start(timeout=30)
    zk.set(f"{ROOT}/q/zookeeper_limits", b"count=-1,bytes=-1")
    for number in range(3):
        other.create(f"/q/other-{number}", b"12345", ephemeral=True)
    print("with three ephemerals", totals("/q"))
    other.stop()
    zk.sync("/q")
    print("without them", totals("/q"))
    zk.stop()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        sys.exit(0 if len(sys.argv) == 2 else 2)
    logging.basicConfig(level=logging.ERROR)
    main(sys.argv[1])
