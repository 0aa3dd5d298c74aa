#!/usr/bin/env python3
"""Proves that the client suites can fail: `bite.py host:port` puts a lying proxy before a good server and wants to see failures.

For each fault it runs the named checks through the proxy, which breaks exactly one promise of the protocol, and expects at least one
FAIL line. A fault that no suite notices is printed as `MISSED` and makes the exit code 1. Faults are made in whole frames, so that
the clients' libraries take them for a server's answer.
"""

import pathlib
import re
import socket
import struct
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
EVENT_XID = -1
STAT_OFFSETS = {"version": 32, "cversion": 36, "ephemeralOwner": 44, "dataLength": 52, "pzxid": 60}
EXISTS, SET_DATA, GET_CHILDREN, GET_CHILDREN2, MULTI, SET_WATCHES, SET_WATCHES2 = 3, 5, 8, 12, 14, 101, 105


class Fault:
    """What one connection's proxy does to frames. Each method returns the frames that go on."""

    def __init__(self):
        self.operations = {}

    def request(self, frame):
        """A frame of the client after the handshake; remembers which operation an xid is."""
        xid, operation = struct.unpack_from(">ii", frame)
        self.operations[xid] = operation
        return [frame]

    def reply(self, frame):
        """A frame of the server after the handshake: xid, zxid, err, body."""
        return [frame]


class DropEvents(Fault):
    def reply(self, frame):
        return [] if struct.unpack_from(">i", frame)[0] == EVENT_XID else [frame]


class DoubleEvents(Fault):
    def reply(self, frame):
        return [frame] * (2 if struct.unpack_from(">i", frame)[0] == EVENT_XID else 1)


class LateEvents(Fault):
    """Events wait until a reply has gone ahead of them."""

    def __init__(self):
        super().__init__()
        self.held = []

    def reply(self, frame):
        if struct.unpack_from(">i", frame)[0] == EVENT_XID:
            self.held.append(frame)
            return []
        held, self.held = self.held, []
        return [frame] + held


class WrongEventZxid(Fault):
    """The header of an event tells the zxid before the change's, as servers older than 3.9 tell -1."""

    def reply(self, frame):
        xid, zxid = struct.unpack_from(">iq", frame)
        return [struct.pack(">iq", xid, zxid - 1) + frame[12:] if xid == EVENT_XID else frame]


class WrongStat(Fault):
    """One more in one field of the Stat of exists."""

    def __init__(self, field):
        super().__init__()
        self.offset = 16 + STAT_OFFSETS[field]
        self.layout = ">q" if field in ("ephemeralOwner", "pzxid") else ">i"

    def reply(self, frame):
        xid, _, error = struct.unpack_from(">iqi", frame)
        if self.operations.get(xid) == EXISTS and error == 0:
            frame = bytearray(frame)
            struct.pack_into(self.layout, frame, self.offset, struct.unpack_from(self.layout, frame, self.offset)[0] + 1)
        return [bytes(frame)]


class WrongError(Fault):
    """One error code in the place of another."""

    def __init__(self, real, shown):
        super().__init__()
        self.real, self.shown = real, shown

    def reply(self, frame):
        xid, zxid, error = struct.unpack_from(">iqi", frame)
        return [struct.pack(">iqi", xid, zxid, self.shown) + frame[16:] if error == self.real else frame]


class BackwardZxid(Fault):
    """Every tenth reply's header is ten zxids late."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def reply(self, frame):
        xid, zxid, error = struct.unpack_from(">iqi", frame)
        self.count += 1
        if xid >= 0 and self.count % 10 == 0:
            return [struct.pack(">iqi", xid, zxid - 10, error) + frame[16:]]
        return [frame]


class ForgottenWatches(Fault):
    """setWatches reaches the server without its lists."""

    def request(self, frame):
        xid, operation = struct.unpack_from(">ii", frame)
        if operation in (SET_WATCHES, SET_WATCHES2):
            lists = 3 if operation == SET_WATCHES else 5
            frame = frame[:16] + struct.pack(">i", 0) * lists
        return super().request(frame)


class WrongErrorVector(Fault):
    """The operations after the failed one of a multi are told as successful ones."""

    def reply(self, frame):
        xid = struct.unpack_from(">i", frame)[0]
        if self.operations.get(xid) == MULTI:
            later = struct.pack(">ibii", -1, 0, -2, -2)
            frame = frame.replace(later, struct.pack(">ibii", -1, 0, 0, 0))
        return [frame]


class WrongData(Fault):
    """A set that the server is told is not what the client set: the last byte of the data is another."""

    def request(self, frame):
        if struct.unpack_from(">i", frame, 4)[0] == SET_DATA:
            at = 12 + struct.unpack_from(">i", frame, 8)[0]
            length = struct.unpack_from(">i", frame, at)[0]
            frame = bytearray(frame)
            if length > 0:
                frame[at + 4 + length - 1] ^= 1
        return super().request(bytes(frame))


class IgnoredVersion(Fault):
    """A set reaches the server without its version: whoever comes second wins."""

    def request(self, frame):
        if struct.unpack_from(">i", frame, 4)[0] == SET_DATA:
            frame = frame[:-4] + struct.pack(">i", -1)
        return super().request(frame)


class MissingChild(Fault):
    """The list of children lacks its first name."""

    def reply(self, frame):
        xid, _, error = struct.unpack_from(">iqi", frame)
        if self.operations.get(xid) in (GET_CHILDREN, GET_CHILDREN2) and error == 0:
            count = struct.unpack_from(">i", frame, 16)[0]
            if count > 1:
                length = struct.unpack_from(">i", frame, 20)[0]
                frame = frame[:16] + struct.pack(">i", count - 1) + frame[24 + length :]
        return [frame]


class Proxy:
    """Listens on a free loopback port; every connection gets a fault of its own."""

    def __init__(self, target, fault):
        host, port = target.rsplit(":", 1)
        self.target, self.fault = (host, int(port)), fault
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
            except OSError:
                return
            fault = self.fault()
            for source, sink, change in ((client, server, fault.request), (server, client, fault.reply)):
                threading.Thread(target=self._pump, args=(source, sink, change), daemon=True).start()

    @staticmethod
    def _pump(source, sink, change):
        try:
            stream, handshake = source.makefile("rb"), True
            while len(head := stream.read(4)) == 4:
                frame = stream.read(struct.unpack(">i", head)[0])
                frames = [frame] if handshake or len(frame) < 8 else change(frame)
                handshake = False
                sink.sendall(b"".join(struct.pack(">i", len(one)) + one for one in frames))
        except (OSError, struct.error, ValueError):
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


FAULTS = [
    # what is broken, the fault, and for each suite the checks (--only) that must notice
    ("events are dropped", DropEvents,
     {"python": "watch_of_exists", "java": "watch_data", "curator": "node_cache", "c": "c_child",
      "node": "watch_of_exists", "rust": "rust_persistent"}),
    ("events come twice", DoubleEvents, {"python": "fires_once", "java": "add_watch_persistent", "node": "fires_once"}),
    ("events come after the reply", LateEvents, {"python": "own_write", "java": "own_reply", "c": "own_reply", "node": "watch_tells_before"}),
    ("an event's zxid is wrong", WrongEventZxid, {"rust": "rust_events"}),
    ("version is wrong", lambda: WrongStat("version"),
     {"python": "stat_of", "java": "stat_of", "curator": "create_or_set", "node": "create_get"}),
    ("cversion is wrong", lambda: WrongStat("cversion"),
     {"python": "stat_of", "java": "stat_of", "c": "stat_fields", "node": "stat_of_a_node"}),
    ("pzxid is wrong", lambda: WrongStat("pzxid"), {"python": "stat_of", "java": "stat_of", "node": "stat_of_a_node"}),
    ("dataLength is wrong", lambda: WrongStat("dataLength"),
     {"python": "create_with", "java": "create_with", "c": "get_set", "node": "create_get"}),
    ("ephemeralOwner is wrong", lambda: WrongStat("ephemeralOwner"),
     {"python": "ephemeral", "java": "create_with", "c": "ephemeral", "node": "every_mode"}),
    ("NoAuth is told as NoNode", lambda: WrongError(-102, -101),
     {"python": "digest_acl", "java": "acl_digest", "c": "acl_creator", "node": "of_the_creator"}),
    ("BadVersion is told as NoNode", lambda: WrongError(-103, -101),
     {"python": "versions_are", "java": "versions", "c": "c_errors", "node": "versions_are", "rust": "rust_errors"}),
    ("header zxids go back", BackwardZxid, {"python": "zxids_in_reply"}),
    ("setWatches is forgotten", ForgottenWatches, {"java": "reconnect_tells_what_was_missed", "node": "tells_what_was_missed"}),
    ("a multi's error vector is wrong", WrongErrorVector,
     {"python": "fails_as_a_whole", "java": "multi_fails", "c": "multi_fails", "node": "multi_fails"}),
    ("a set ignores its version", IgnoredVersion, {"python": "versions_are", "java": "versions", "curator": "count_under_contention"}),
    ("a child is missing", MissingChild, {"java": "children_with", "curator": "semaphore_several"}),
    ("a set stores other data", WrongData,
     {"python": "create_get", "java": "create_get", "curator": "create_or", "c": "get_set", "node": "create_get", "rust": "rust_create"}),
]


def main(arguments):
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments[:1] in (["--help"], ["-h"]) else 2
    missed = 0
    for name, fault, suites in FAULTS:
        proxy = Proxy(arguments[0], fault)
        for suite, only in suites.items():
            run = subprocess.run(
                [HERE / suite / "run.sh", "--only", only, "--timeout", "60", proxy.address], capture_output=True, text=True
            )
            failures = re.findall(r"^FAIL (\w+): (.*)", run.stdout, re.MULTILINE)
            if run.returncode == 1 and failures:
                print(f"bitten: {name}: {suite} {failures[0][0]}: {failures[0][1][:110]}", flush=True)
            else:
                missed += 1
                print(f"MISSED: {name}: {suite} {only}: exit {run.returncode}, {run.stdout.splitlines()[-1:]}", flush=True)
        proxy.close()
    print(f"{sum(len(suites) for _, _, suites in FAULTS) - missed} bitten, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
