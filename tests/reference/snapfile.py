"""Writes ZooKeeper's snapshot file (version-2/snapshot.<zxid in hex>) of a tree that no server has grown: counters about to run over, say.

Header: magic "ZKSN" · version i32 (2) · dbid i64 (-1)
Body:   sessions (count i32, then id i64 · time-out ms i32 each) · ACL lists (count i32: none here) · nodes · the path "/" for their end
Node:   path (ustring, "" for the root) · data (buffer) · ACL i64 (-1: open to everybody) · stored stat (60 bytes); parents first
Seal:   Adler-32 of everything before it as i64 · the string "/"; after the body, and again after the digest
Digest: zxid i64 · version i32 (2) · digest i64

The server compares the digest with its own over the nodes when it loads the file, and complains in its log. Format by `FileSnap`,
`DataTree` and `SnapStream` of 3.9.5. Used by sequence_script.py; standard library only.
"""

import struct
import zlib

from zkwire import buf, i32, i64, ustr

MAGIC, VERSION, DBID = b"ZKSN", 2, -1
OPEN_ACL = -1
DIGEST_VERSION = 2


class Node:
    """A znode as it is stored. `cversion` counts creates; clients see twice that less the number of children."""

    def __init__(self, path, data=b"", version=0, cversion=0, aversion=0, owner=0, zxid=0, time_ms=0):
        self.path, self.data, self.version, self.cversion, self.aversion = path, data, version, cversion, aversion
        self.owner, self.zxid, self.time_ms = owner, zxid, time_ms

    def stat(self):
        return struct.pack(">4q3i2q", self.zxid, self.zxid, self.time_ms, self.time_ms, self.version, self.cversion, self.aversion,
                           self.owner, self.zxid)

    def record(self):
        return ustr(self.path) + buf(self.data) + i64(OPEN_ACL) + self.stat()

    def digest(self):
        """Its share of the tree's digest, see digest_replay.py."""
        if self.path.startswith("/zookeeper/"):
            return 0
        stat = struct.pack(">5q3iq", self.zxid, self.zxid, self.zxid, self.time_ms, self.time_ms, self.version, self.cversion, self.aversion,
                           self.owner)
        return zlib.crc32(self.path.encode() + (self.data or b"") + stat)


def reserved():
    """The znodes that every tree has."""
    return [Node(path) for path in ("", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")]


def digest_record(nodes, zxid):
    digest = sum(node.digest() for node in nodes) % (1 << 64)
    return struct.pack(">qiQ", zxid, DIGEST_VERSION, digest)


def session_record(session, timeout_ms):
    return i64(session) + i32(timeout_ms)


def snapshot(nodes, sessions, zxid):
    """The file's bytes. `sessions`: [(id, time-out ms)]. `nodes` has the reserved ones, and parents before children."""
    out = MAGIC + i32(VERSION) + i64(DBID)
    out += i32(len(sessions)) + b"".join(session_record(*session) for session in sessions)
    out += i32(0)
    out += b"".join(node.record() for node in nodes) + ustr("/")
    out = sealed(out)
    return sealed(out + digest_record(nodes, zxid))


def sealed(data):
    return data + i64(zlib.adler32(data)) + ustr("/")


def password(session):
    """The password that any server computes for a session: the first 16 bytes of java.util.Random."""
    state = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & ((1 << 48) - 1)
    out = b""
    while len(out) < 16:
        state = (state * 0x5DEECE66D + 0xB) & ((1 << 48) - 1)
        out += struct.pack("<I", state >> 16)
    return out
