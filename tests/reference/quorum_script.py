"""The scenes of an ensemble whose packets become proto/vectors/quorum-*.txt. Run by capture.py.

A scene is what happened while its bytes were recorded: an election, a learner that comes back, a client that moves. A packet's name is
scene.sender-receiver.TYPE.number; the order in the file is that in which the proxies saw them. A PING that is said again in the same
scene on the same way, byte for byte, is left out.
"""

import signal
import time

import quorumwire
import zkwire
from client_script import Vector
from ensemble import ELECTION_PORT, Ensemble
from zkwire import ANYONE, auth, create, create_ttl, i64, multi, path_int, set_acl, set_data, ustr


def run(version):
    """The vectors of one run against `version`."""
    with Ensemble(version) as ensemble:
        try:
            play(ensemble)
        except BaseException:
            complain(ensemble)
            raise
        return vectors(ensemble.proxy)


def play(e):
    proxy = e.proxy
    proxy.scene = "first_election"
    e.start(2, 3)
    assert e.leader() == 3, "of two empty servers the one with the larger id leads"
    proxy.scene = "late_follower"
    e.start(1)
    proxy.scene = "requests"
    requests(e)
    proxy.scene = "moved_session"
    moved_session(e)
    proxy.scene = "observer"
    e.start(Ensemble.OBSERVER)
    observer(e)
    proxy.scene = "diff"
    diff(e)
    proxy.scene = "outstanding"
    outstanding(e)
    proxy.scene = "expired"
    expired(e)
    proxy.scene = "snap"
    snap(e)
    proxy.scene = "trunc"
    trunc(e)
    proxy.scene = "reconfig"
    reconfig(e)


def requests(e):
    """Writes of every kind through a follower, some that fail, one through the leader; and a session that is touched."""
    c = e.client(1)
    c.ask("create", create("/a", b"data"))
    c.ask("create2", create("/a/e", b"x", flags=1))
    c.ask("createContainer", create("/c", b"", flags=4))
    c.ask("createTTL", create_ttl("/t"))
    c.ask("setData", set_data("/a", b"more", 0))
    c.ask("setData", set_data("/a", b"x", 7))
    c.ask("multi", multi([("create", create("/m", b"1")), ("setData", set_data("/a", b"2")), ("delete", path_int("/m"))]))
    c.ask("multi", multi([("check", path_int("/a", 9)), ("create", create("/n"))]))
    c.ask("auth", auth("digest", b"ann:secret"), xid=-4)
    c.ask("create", create("/own", b"", [(31, "auth", "")]))
    c.ask("setACL", set_acl("/a", ANYONE))
    c.ask("sync", ustr("/a"))
    c.ask("delete", path_int("/own"))
    leader = e.client(3)
    leader.ask("create", create("/leader"))
    leader.ask("closeSession")

    def touched():
        return any(d["touches"] for d in (v.fields["data"] for v in vectors(e.proxy) if v.op == 5) if d)
    c.ask("ping", xid=-2)
    until(touched, "a PING with a touched session")
    c.ask("closeSession")


def moved_session(e):
    """A session that goes to another server, and one that is not there any more."""
    c = e.client(1)
    moved = e.client(2, session=c.session, password=c.password)
    moved.ask("create", create("/moved", b"", flags=1))
    moved.ask("closeSession")
    late = zkwire.Conn(e.ports[1])
    late.connect(session=c.session, password=c.password)
    assert late.session == 0, "the session is closed"


def observer(e):
    c = e.client(1)
    c.ask("create", create("/seen"))
    o = e.client(Ensemble.OBSERVER)
    o.ask("create", create("/by_observer", b"", flags=1))
    o.ask("create", create("/by_observer"))
    o.ask("sync", ustr("/"))
    o.ask("closeSession")
    c.ask("closeSession")


def diff(e):
    e.end(1, signal.SIGKILL)
    c = e.client(3)
    c.ask("create", create("/missed"))
    c.ask("setData", set_data("/missed", b"1"))
    c.ask("closeSession")
    e.start(1)


def outstanding(e):
    """A learner that comes while a proposal has no quorum yet: it gets the proposal, and its ack makes the quorum."""
    e.end(1, signal.SIGKILL)
    c = e.client(3)
    e.proxy.hold(2)
    c.send(c.frame("create", create("/outstanding")))
    until(lambda: e.log_has(3, b"/outstanding"), "the leader's log")
    e.start(1)
    c.reply()
    e.proxy.release(2)
    c.ask("closeSession")


def expired(e):
    """A session that the leader closes for its silence."""
    c = e.client(1, timeout_ms=2000)
    c.ask("create", create("/silent", b"", flags=1))
    c.close()

    def closed():
        txns = (v.fields["data"]["txn"] for v in vectors(e.proxy) if v.op == 2)
        return any(txn["hdr"]["type"] == -11 and txn["txn"]["paths2Delete"] == ["/silent"] for txn in txns)
    until(closed, "the end of the silent session")


def snap(e):
    """A learner that has lost its disk, while there are a session and its ephemeral."""
    c = e.client(3)
    c.ask("create", create("/alive", b"", flags=1))
    e.end(1)
    e.wipe(1)
    e.start(1)
    c.ask("closeSession")


def trunc(e):
    """The leader dies with a txn in its log that nobody else has."""
    c = e.client(3, timeout_ms=120000)
    e.proxy.hold(3)
    c.send(c.frame("create", create("/uncommitted")))
    until(lambda: e.log_has(3, b"/uncommitted"), "the leader's log")
    e.end(3, signal.SIGKILL)
    e.proxy.drop(3)
    for server in (1, 2, Ensemble.OBSERVER):
        zkwire.wait_until_up(e.ports[server], 120)
    e.start(3)
    assert e.mode(3) == "follower", "a server that comes back follows"


def reconfig(e):
    c = e.client(e.leader())
    c.ask("auth", auth("digest", b"super:test"), xid=-4)
    answer = c.ask("reconfig", ustr(None) + ustr("1") + ustr(None) + i64(-1))
    assert answer["err"] == 0, answer
    c.ask("create", create("/smaller"))
    c.ask("closeSession")


def until(seen, what, limit_s=60):
    end = time.monotonic() + limit_s
    while not seen():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.1)


def complain(e):
    for server in e.SERVERS:
        try:
            with open(f"{e.data(server)}/server.out", encoding="utf-8") as f:
                print(f"server {server}:", *f.readlines()[-15:], sep="\n  ")
        except OSError:
            pass


# ---- from bytes to vectors ----------------------------------------------------------------------------------------

def vectors(proxy):
    pieces = []
    for link in list(proxy.links):
        for direction in (link.forth, link.back):
            pieces += cut(link, direction)
    out, seen, count = [], set(), {}
    for _, scene, way, kind, piece in sorted(pieces, key=lambda one: one[0]):
        fields, number = quorumwire.decode(kind, piece)
        if fields.get("packet") == "PING":
            if (scene, way, piece) in seen:
                continue
            seen.add((scene, way, piece))
        name = f"{scene}.{way}.{fields.get('packet') or fields.get('state') or kind}"
        count[kind, name] = count.get((kind, name), 0) + 1
        out.append(Vector(kind, f"{name}.{count[kind, name]}", number, piece, "", fields))
    return out


def cut(link, direction):
    """((number of the chunk that ended it, offset), scene, way, kind, piece) of each whole piece of a direction."""
    data = b"".join(chunk for chunk, _, _ in direction.chunks)
    if link.port == ELECTION_PORT:
        pieces = quorumwire.election_pieces(data, direction is link.forth)
    else:
        pieces = quorumwire.quorum_pieces(data, direction is link.back)
    ends, end = [], 0
    for chunk, number, scene in direction.chunks:
        end += len(chunk)
        ends.append((end, number, scene))
    for kind, piece, offset in pieces:
        _, number, scene = next(one for one in ends if one[0] >= offset)
        yield (number, offset), scene, f"{direction.sender}-{direction.receiver}", kind, piece
