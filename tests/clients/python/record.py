"""kazoo clients that ask an ensemble at random and write down what they hear, in the form that `sim check` reads (sim/src/history/mod.rs).

    tests/clients/python/run.sh --record --servers 127.0.0.1:2181,127.0.0.1:2182 --clients 4 --seed 1 --out kazoo.jsonl

Recorded is what goes over the wire, in the connection's own thread: a request before its bytes leave, a reply with its header's zxid when it has come. The lines
carry the machine's monotonic clock, so that they can be merged with other recorders'. Words on standard input: `settle` (ask no more; answered with `settled` once every
client has its answers and a session that lives) and `end` (write the file and end). It owns its sessions; it leaves znodes behind.
"""

import argparse
import json
import logging
import random
import sys
import threading
import time

import kazoo.client
from kazoo.exceptions import KazooException, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol import serialization as wire
from kazoo.protocol.connection import ConnectionDropped, ConnectionHandler
from kazoo.retry import KazooRetry

SESSION_TIMEOUT_S = 4.0
# An answer that takes longer is waited for no more; what it was the history still tells, if it comes.
OPERATION_TIMEOUT_S = 5.0


class History:
    """The lines, in the order in which things happened."""

    def __init__(self):
        self.lines, self.lock = [], threading.Lock()

    def add(self, event, client, **fields):
        with self.lock:
            self.lines.append({"at_us": time.monotonic_ns() // 1000, "event": event, "client": client, **fields})

    def write(self, path):
        with self.lock, open(path, "w", encoding="utf-8") as out:
            out.writelines(json.dumps(line) + "\n" for line in self.lines)


class Recording(ConnectionHandler):
    """kazoo's connection, which tells the history what it sends and hears."""

    history = None
    number = 0
    servers, forgetful, at = (), (), ""
    connected = False
    last_xid = 0

    @property
    def _xid(self):
        return self.last_xid

    @_xid.setter
    def _xid(self, xid):
        # kazoo begins anew with every connection; in a history a session uses each number once.
        if xid:
            self.last_xid = xid

    def tell(self, event, **fields):
        self.history.add(event, self.number, **fields)

    def _connect_attempt(self, *args):
        try:
            return super()._connect_attempt(*args)
        finally:
            if self.connected:
                self.connected = False
                self.tell("lost")

    def _connect(self, host, hostip, port):
        try:
            result = super()._connect(host, hostip, port)
        except SessionExpiredError:
            self.tell("expired")
            raise
        self.connected = True
        self.at = f"{hostip}:{port}"
        known = {"server": self.servers.index(self.at) + 1} if self.at in self.servers else {}
        self.tell("connected", session=self.client._session_id, **known)
        return result

    def _submit(self, request, timeout, xid=None):
        if xid and xid > 0:
            self.tell("ask", xid=xid, **operation(request))
        return super()._submit(request, timeout, xid)

    def _read_response(self, header, buffer, offset):
        request, _, xid = self.client._pending[0]
        if header.xid != xid:
            # A reply has overtaken another, or one that never comes.
            print(f"client {self.number} at {self.at}: a reply to {header.xid}, and {xid} is next", file=sys.stderr, flush=True)
            if self.at in self.forgetful:
                raise ConnectionDropped("a request was left unanswered")
        told = {} if header.err else answer(request, request.deserialize(buffer, offset) if hasattr(request, "deserialize") else None)
        self.tell("reply", xid=header.xid, zxid=header.zxid & (2**64 - 1), err=header.err, **told)
        return super()._read_response(header, buffer, offset)


def operation(request):
    """A request in the history's words."""
    if isinstance(request, (wire.Create, wire.Create2)):
        flags = {"ephemeral": bool(request.flags & 1), "sequential": bool(request.flags & 2)}
        return {"op": "create", "path": request.path, "data": request.data.decode(), **flags}
    if isinstance(request, wire.SetData):
        return {"op": "set", "path": request.path, "data": request.data.decode(), "version": request.version}
    if isinstance(request, wire.Delete):
        return {"op": "delete", "path": request.path, "version": request.version}
    if isinstance(request, wire.Close):
        return {"op": "close"}
    names = {wire.GetData: "get", wire.Exists: "exists", wire.GetChildren2: "children", wire.Sync: "sync"}
    return {"op": names[type(request)], "path": request.path}


def answer(request, result):
    """What a reply without an error says."""
    if isinstance(request, wire.Create):
        return {"path": result}
    if isinstance(request, wire.Create2):
        return {"path": result[0], "stat": stat_of(result[1])}
    if isinstance(request, (wire.SetData, wire.Exists)):
        return {"stat": stat_of(result)}
    if isinstance(request, wire.GetData):
        return {"data": result[0].decode(), "stat": stat_of(result[1])}
    if isinstance(request, wire.GetChildren2):
        return {"names": result[0], "stat": stat_of(result[1])}
    return {}


def stat_of(stat):
    return {
        "czxid": stat.czxid, "mzxid": stat.mzxid, "pzxid": stat.pzxid, "version": stat.version, "cversion": stat.cversion,
        "owner": stat.ephemeralOwner, "children": stat.numChildren,
    }  # fmt: skip


class Asker:
    """A client and its thread."""

    def __init__(self, history, number, servers, forgetful, seed):
        self.random = random.Random(f"{seed}-{number}")
        self.number, self.written, self.may_ask, self.settled = number, 0, True, threading.Event()
        hosts = servers.split(",")
        self.random.shuffle(hosts)
        again = KazooRetry(max_tries=-1, delay=0.02, backoff=1, max_delay=0.1)
        once = KazooRetry(max_tries=0)
        self.client = kazoo.client.KazooClient(
            ",".join(hosts), timeout=SESSION_TIMEOUT_S, connection_retry=again, command_retry=once
        )
        handler = Recording(self.client, self.client._conn_retry.copy(), logger=self.client.logger)
        handler.history, handler.number = history, number
        handler.servers, handler.forgetful = servers.split(","), forgetful.split(",")
        self.client._connection = handler
        self.client.start_async()
        threading.Thread(target=self.live, daemon=True).start()

    def live(self):
        while self.may_ask:
            self.attempt(self.an_operation())
            time.sleep(self.random.uniform(0, 0.02))
        while not self.attempt(self.client.exists_async("/")):
            time.sleep(0.02)
        self.settled.set()

    @staticmethod
    def attempt(pending):
        """Was it answered?"""
        try:
            pending.get(timeout=OPERATION_TIMEOUT_S)
        except (KazooException, KazooTimeoutError):
            return False
        return True

    def an_operation(self):
        self.written += 1
        dice, client = self.random, self.client
        data = b"k%d-%d" % (self.number, self.written)
        top = dice.choice(["/a", "/b"])
        path = dice.choice([top, f"{top}/c", f"{top}/d", f"{top}/k"])
        version = dice.choice([-1, -1, 0, 1, 2])
        kind = dice.randrange(100)
        if kind < 20:
            return client.create_async(path, data, ephemeral=path != top and dice.random() < 0.5, include_data=dice.random() < 0.5)
        if kind < 28:
            return client.create_async(f"{top}/s-", data, ephemeral=dice.random() < 0.5, sequence=True)
        if kind < 50:
            return client.set_async(path, data, version)
        if kind < 60:
            return client.delete_async(path, version)
        if kind < 75:
            return client.get_async(path)
        if kind < 85:
            return client.exists_async(path)
        if kind < 95:
            return client.get_children_async(top, include_data=True)
        return client.sync_async(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", required=True, help="address:port,... of servers 1, 2, ...")
    parser.add_argument("--forgetful", default="", help="those of them that now and then leave a request unanswered, as ZooKeeper 3.8.0 does")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--first", type=int, default=101, help="the number of the first client in the history")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="where the history goes")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    history = History()
    askers = [Asker(history, args.first + number, args.servers, args.forgetful, args.seed) for number in range(args.clients)]
    for word in sys.stdin:
        if word.strip() == "settle":
            for asker in askers:
                asker.may_ask = False
            for asker in askers:
                asker.settled.wait()
            print("settled", flush=True)
        elif word.strip() == "end":
            history.write(args.out)
            print("ended", flush=True)
            return


main()
