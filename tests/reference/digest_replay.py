#!/usr/bin/env python3
"""Replays proto/vectors/txnlog_digest.txt on a naive tree and compares the digest after each record.

A second implementation beside the engine's, to tell a wrong vector from a wrong engine. A node's digest is
crc32(path · data · czxid mzxid pzxid ctime mtime (i64) · version cversion aversion (i32) · ephemeralOwner (i64)); the tree's is the sum modulo 2^64
over all nodes except those below /zookeeper/, with the root's path as the empty string. Exits 1 and names the first record that differs.
"""

import os
import struct
import sys
import zlib

import zkwire

HERE = os.path.dirname(os.path.abspath(__file__))
CONTAINER = -(1 << 63)
TTL = -(1 << 56)


class Node:
    def __init__(self, data, zxid, time, owner):
        self.data, self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime = data, zxid, zxid, zxid, time, time
        self.version = self.cversion = self.aversion = 0
        self.owner = owner

    def digest(self, path):
        if path.startswith("/zookeeper/"):
            return 0
        stat = struct.pack(">5q3iq", self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime, self.version, self.cversion, self.aversion, self.owner)
        return zlib.crc32(path.encode() + (self.data or b"") + stat)


class Tree:
    def __init__(self):
        self.nodes = {path: Node(None if path == "/zookeeper/config" else b"", 0, 0, 0) for path in ("", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")}

    def digest(self):
        return sum(node.digest(path) for path, node in self.nodes.items()) % (1 << 64)

    def apply(self, kind, r, hdr):
        """One record (its reader stands at the body). Sub-records of a multi come here again."""
        if kind == 14:
            subs = r.vec(lambda: (r.i32(), r.buf()))
            if any(sub == -1 for sub, _ in subs):
                return
            for sub, body in subs:
                self.apply(sub, zkwire.Reader(body), hdr)
        elif kind in (1, 15, 19, 21):
            path, data = r.ustr(), r.buf()
            r.vec(r.acl)
            ephemeral = r.bool() if kind in (1, 15) else False
            cversion = r.i32()
            owner = {19: lambda: CONTAINER, 21: lambda: TTL | r.i64()}.get(kind, lambda: hdr["clientId"] if ephemeral else 0)()
            self.nodes[path] = Node(data, hdr["zxid"], hdr["time"], owner)
            parent = self.nodes[path.rsplit("/", 1)[0]]
            parent.cversion, parent.pzxid = cversion, hdr["zxid"]
        elif kind in (2, 20):
            self.remove(r.ustr(), hdr["zxid"])
        elif kind == 5:
            node = self.nodes[r.ustr().rstrip("/")]
            node.data, node.version, node.mzxid, node.mtime = r.buf(), r.i32(), hdr["zxid"], hdr["time"]
        elif kind == 7:
            node = self.nodes[r.ustr().rstrip("/")]
            r.vec(r.acl)
            node.aversion = r.i32()
        elif kind == -11:
            for path in r.vec(r.ustr):
                self.remove(path, hdr["zxid"])
        else:
            assert kind in (-1, -10, 13), kind

    def remove(self, path, zxid):
        del self.nodes[path]
        self.nodes[path.rsplit("/", 1)[0]].pzxid = zxid


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../../proto/vectors/txnlog_digest.txt")
    if name in ("-h", "--help"):
        print(__doc__, "\nexample: digest_replay.py [FILE]")
        return 0
    tree, checked = Tree(), 0
    with open(name, encoding="ascii") as f:
        vectors = [line.split() for line in f if line.strip() and line[0] != "#"]
    for _, vector, _, raw in vectors:
        payload = bytes.fromhex(raw)
        fields = zkwire.decode_txn(payload)
        tree.apply(fields["hdr"]["type"], zkwire.Reader(payload[32:]), fields["hdr"])
        want = fields.get("digest")
        if want is not None:
            if tree.digest() != want["treeDigest"] % (1 << 64):
                print(f"{vector}: digest {tree.digest()}, the record says {want['treeDigest']}")
                return 1
            checked += 1
    print(f"{len(vectors)} records, {checked} digests equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
