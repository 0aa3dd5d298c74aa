"""ZooKeeper's protocols between servers in plain Python: what quorum_script.py cuts a recording into, and the fields of each piece.

It is written from the format descriptions, apart from the Rust codec, so that the two check each other. The splitters give every whole
piece of one direction of a connection, with the offset after it; what is cut off at the end of a recording is left out. The
decoders consume their piece to the last byte, else they raise. Standard library only.
"""

import zkwire

TYPES = {
    1: "REQUEST", 2: "PROPOSAL", 3: "ACK", 4: "COMMIT", 5: "PING", 6: "REVALIDATE", 7: "SYNC", 8: "INFORM", 9: "COMMITANDACTIVATE",
    10: "NEWLEADER", 11: "FOLLOWERINFO", 12: "UPTODATE", 13: "DIFF", 14: "TRUNC", 15: "SNAP", 16: "OBSERVERINFO", 17: "LEADERINFO",
    18: "ACKEPOCH", 19: "INFORMANDACTIVATE",
}
STATES = ["LOOKING", "FOLLOWING", "LEADING", "OBSERVING"]
STORED_STAT = "czxid:q mzxid:q ctime:q mtime:q version:i cversion:i aversion:i ephemeralOwner:q pzxid:q"


# ---- splitting ----------------------------------------------------------------------------------------------------

def quorum_pieces(data, to_learner):
    """(kind, piece, offset after it) of one direction of a connection to the quorum port."""
    r = zkwire.Reader(data)
    kind = "to_learner" if to_learner else "to_leader"
    try:
        while r.left():
            start = r.at
            number, _ = r.i32(), r.i64()
            r.buf()
            r.vec(lambda: [r.buf(), r.buf()])
            yield kind, data[start:r.at], r.at
            if to_learner and TYPES[number] == "SNAP":
                start = r.at
                walk_snapshot(r)
                yield "snapshot_stream", data[start:r.at], r.at
    except ValueError:
        return


def election_pieces(data, from_opener):
    """As quorum_pieces, of a connection to the election port. The length before a notification is left out of it."""
    r = zkwire.Reader(data)
    try:
        if from_opener:
            if r.i64() < 0:
                r.i64()
                r.buf()
            yield "initial_message", data[:r.at], r.at
        while r.left():
            yield "notification", r.buf(), r.at
    except ValueError:
        return


# ---- decoding -----------------------------------------------------------------------------------------------------

def decode(kind, piece):
    """The fields of a piece, and its type's number (0 where it has none)."""
    r = zkwire.Reader(piece)
    if kind == "snapshot_stream":
        fields, number = walk_snapshot(r), 0
    elif kind == "initial_message":
        fields, number = initial_message(r), 0
    elif kind == "notification":
        fields, number = notification(r), 0
    else:
        fields, number = packet(r, kind == "to_learner")
    r.end()
    return fields, number


def packet(r, to_learner):
    number = r.i32()
    name = TYPES[number]
    fields = {"packet": name, "zxid": r.i64()}
    data = r.buf()
    fields["authinfo"] = r.vec(lambda: [r.ustr(), r.ustr()])
    if data is None:
        fields["data"] = None
        return fields, number
    inner = zkwire.Reader(data)
    if name in ("FOLLOWERINFO", "OBSERVERINFO"):
        fields["data"] = inner.fields("serverid:q protocolVersion:i configVersion:q")
    elif name == "LEADERINFO":
        fields["data"] = inner.fields("protocolVersion:i")
    elif name == "ACKEPOCH":
        fields["data"] = inner.fields("currentEpoch:i")
    elif name == "NEWLEADER":
        fields["data"] = {"config": inner.take(inner.left()).decode()}
    elif name in ("PROPOSAL", "INFORM"):
        fields["data"] = {"txn": zkwire.decode_txn(inner.take(inner.left()))}
    elif name == "COMMITANDACTIVATE":
        fields["data"] = inner.fields("designatedLeader:q")
    elif name == "INFORMANDACTIVATE":
        fields["data"] = inner.fields("designatedLeader:q")
        fields["data"]["txn"] = zkwire.decode_txn(inner.take(inner.left()))
    elif name == "PING":
        touches = []
        while inner.left():
            touches.append([inner.i64(), inner.i32()])
        fields["data"] = {"touches": touches}
    elif name == "REVALIDATE" and to_learner:
        fields["data"] = inner.fields("sessionId:q valid:b")
    elif name == "REVALIDATE":
        fields["data"] = inner.fields("sessionId:q timeOut:i")
    elif name == "REQUEST":
        fields["data"] = inner.fields("sessionId:q cxid:i type:i")
        fields["data"]["body"] = zkwire.text(inner.take(inner.left()))
    else:
        raise ValueError(f"{name} with data {data!r}")
    inner.end()
    return fields, number


def walk_snapshot(r):
    """The leader's state after SNAP, up to its signature."""
    sessions = [[r.i64(), r.i32()] for _ in range(r.i32())]
    acls = [[r.i64(), r.vec(r.acl)] for _ in range(r.i32())]
    nodes = []
    while (path := r.ustr()) != "/":
        nodes.append({"path": path, **r.fields("data:d acl:q"), "stat": r.fields(STORED_STAT)})
    signature = r.ustr()
    if signature != "BenWasHere":
        raise AssertionError(f"signature {signature!r}")
    return {"sessions": sessions, "acls": acls, "nodes": nodes}


def initial_message(r):
    version = r.i64()
    fields = {"protocolVersion": version, "sid": r.i64()}
    fields["addresses"] = [[host, int(port)] for host, port in (one.rsplit(":", 1) for one in r.ustr().split("|"))]
    return fields


def notification(r):
    fields = {"state": STATES[r.i32()], **r.fields("leader:q zxid:q electionEpoch:q peerEpoch:q version:i")}
    fields["config"] = r.ustr()
    return fields
