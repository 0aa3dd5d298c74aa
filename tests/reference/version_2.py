#!/usr/bin/env python3
"""Captures whole version-2 directories of real servers into snapshot/tests/fixtures/version-2/<version>.

A server runs a script that leaves something of every kind, says over the wire what its tree is (tree.txt), and is started again once for each
compression: at each start it writes a snapshot of the whole tree. The log's zero padding is cut to 64 bytes. Like capture.py it starts its own
servers, and fails with an exception where they do not answer.

tree.txt, ASCII, all bytes as hex: `session <id> <time-out ms>` for each that is open, and
`znode <path> <body of the reply to getData> <body of the reply to getACL>` for each znode.
"""

import argparse
import glob
import os
import shutil
import struct
import sys
import tempfile

import txn_script
import txnlog
import zkwire
from capture import Server
from zkwire import create, create_ttl, multi, path_int, path_watch, set_acl, set_data

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.normpath(os.path.join(HERE, "../../snapshot/tests/fixtures/version-2"))
VERSIONS = ("3.9.5", "3.8.0")
COMPRESSIONS = ("", "gz", "snappy")
TIMEOUT_MS = 30000
# Nothing may go by itself while the tree is read.
QUIET = ("--jvm", "-Dznode.container.checkIntervalMs=2000000000")


def script(port):
    """Something of every kind. Returns a session that stays open, with ephemerals."""
    c = zkwire.session(port, timeout_ms=TIMEOUT_MS)
    c.call("create", create("/a", b"data"))
    c.call("create", create("/null", None))
    c.call("create", create("/empty", b""))
    c.call("create", create("/\u00e9\u4e2d", "\u00e9".encode()))
    c.call("create2", create("/a/acl", b"x", txn_script.DIGEST_ACL))
    c.call("create", create("/a/seq-", b"", flags=2))
    c.call("create", create("/a/eph", b"e", flags=1))
    c.call("create2", create("/a/eph-", b"e", flags=3))
    c.call("createContainer", create("/container", b"", flags=4))
    c.call("create", create("/container/child", b""))
    c.call("createTTL", create_ttl("/ttl", b"t", flags=5, ttl=(1 << 40) - 1))
    c.call("create", create("/zookeeper/quota/a", b""))
    c.call("create", create("/zookeeper/quota/a/zookeeper_limits", b"count=100,bytes=-1"))
    c.call("create", create("/zookeeper/quota/a/zookeeper_stats", b"count=0,bytes=0"))
    c.call("setData", set_data("/a", b"more data"))
    c.call("setData", set_data("/", b"the root has data"))
    c.call("setACL", set_acl("/null", txn_script.DIGEST_ACL))
    c.call("create", create("/a", b"there already"))
    c.call("delete", path_int("/nothing"))
    c.call("multi", multi([("create", create("/m", b"1")), ("create2", create("/m/x", b"2")), ("setData", set_data("/m", b"3", 0)),
                           ("delete", path_int("/m/x", 0)), ("check", path_int("/m", 1))]))
    c.call("multi", multi([("create", create("/m/y")), ("check", path_int("/m", 77))]))
    closing = zkwire.session(port, timeout_ms=TIMEOUT_MS)
    closing.call("create", create("/a/closing", b"", flags=1))
    closing.call("closeSession")
    return c


def tree_lines(port, opened):
    c = zkwire.session(port)
    c.call("auth", zkwire.auth("digest", b"super:test"), xid=-4)
    lines, ahead = [], ["/"]
    while ahead:
        path = ahead.pop()
        data, acl = (c.call(op, body)[16:] for op, body in (("getData", path_watch(path)), ("getACL", zkwire.ustr(path))))
        lines.append(f"znode {path.encode().hex()} {data.hex()} {acl.hex()}")
        children = c.ask("getChildren", path_watch(path))["body"]["children"]
        ahead += [f"{'' if path == '/' else path}/{name}" for name in sorted(children, reverse=True)]
    c.call("closeSession")
    return [f"session {struct.pack('>q', opened.session).hex()} {TIMEOUT_MS}"] + lines


def capture(version, out):
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    with tempfile.TemporaryDirectory(prefix="rk-ref-") as data:
        with Server(version, *QUIET, data=data) as server:
            opened = script(server.port)
            lines = tree_lines(server.port, opened)
            opened.close()
        for compression in COMPRESSIONS:
            with Server(version, *QUIET, "--jvm", f"-Dzookeeper.snapshot.compression.method={compression}", data=data):
                pass
        for name in glob.glob(os.path.join(data, "version-2/*")):
            with open(name, "rb") as f:
                content = f.read()
            if os.path.basename(name).startswith("log."):
                content = content[:16 + sum(13 + len(p) for p in txnlog.records(content))] + b"\0" * 64
            with open(os.path.join(out, os.path.basename(name)), "wb") as f:
                f.write(content)
            print(f"{version}/{os.path.basename(name)}: {len(content)} bytes")
    with open(os.path.join(out, "tree.txt"), "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: version_2.py --out /tmp/fixtures")
    parser.add_argument("--out", default=FIXTURES, help="directory to write into, default %(default)s")
    args = parser.parse_args()
    for version in VERSIONS:
        capture(version, os.path.join(args.out, version))


if __name__ == "__main__":
    sys.exit(main())
