"""The frame of the kazoo suite: named checks, their clients, waits with a limit, a global watchdog.

Owns what one run leaves on the server: everything lies under one root path that no other run has, and is deleted at the end.
Never sleeps to wait for something: a check waits on a queue, an event or a reply, each with WAIT_SECONDS as its limit.
How it fails: an exception in a check is that check's `FAIL` line; a hang ends in the watchdog's `FAIL` line. Either way exit 1.
"""

import argparse
import collections
import os
import queue
import socket
import sys
import threading
import time
import traceback
import uuid

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoAuthError, NoNodeError
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.serialization import Watch

WAIT_SECONDS = 20.0
"""The longest that a check waits for one thing. Only reached on failure."""

DEAD_HOST = "127.0.0.1:1"
"""An address that refuses: where a cut-off client is sent so that it cannot come back."""

EVENT_NAMES = {1: "CREATED", 2: "DELETED", 3: "CHANGED", 4: "CHILD"}

CHECKS = []
"""Every registered check as (name, function, condition on the options), in the order of the imports."""

Options = collections.namedtuple("Options", "hosts super_auth timeout only")


def check(function):
    """Register a check; its name is the function's."""
    return check_if(lambda options: True)(function)


def check_if(condition):
    """Register a check that runs only where its condition on the options holds; otherwise it is not counted."""
    def register(function):
        CHECKS.append((function.__name__, function, condition))
        return function
    return register


class Wire:
    """What one connection received, in the order of the wire: `("event", name, path)` and `("reply", request name, path, err)`.

    kazoo runs watch callbacks and completions on different threads, and forgets a one-shot watch itself, so neither order nor a
    second delivery shows in its callbacks. This listens where kazoo decodes frames (private names; the version is pinned).
    """

    def __init__(self, client):
        self.log = []
        self.zxids = []
        self._changed = threading.Condition()
        connection = client._connection
        on_event, on_reply = connection._read_watch_event, connection._read_response

        def record_event(buffer, offset):
            watch, _ = Watch.deserialize(buffer, offset)
            self._add(("event", EVENT_NAMES.get(watch.type, watch.type), watch.path))
            return on_event(buffer, offset)

        def record_reply(header, buffer, offset):
            request = client._pending[0][0]
            if header.zxid and header.zxid > 0:
                self.zxids.append(header.zxid)
            self._add(("reply", type(request).__name__, getattr(request, "path", None), header.err))
            return on_reply(header, buffer, offset)

        connection._read_watch_event, connection._read_response = record_event, record_reply

    def _add(self, entry):
        with self._changed:
            self.log.append(entry)
            self._changed.notify_all()

    def events(self):
        """The events so far as (name, path)."""
        with self._changed:
            return [(entry[1], entry[2]) for entry in self.log if entry[0] == "event"]

    def wait_events(self, count):
        """The events once there are at least `count` of them."""
        def enough():
            return sum(entry[0] == "event" for entry in self.log) >= count

        with self._changed:
            if not self._changed.wait_for(enough, WAIT_SECONDS):
                raise AssertionError(f"waited for {count} events, the wire had {self.log}")
        return self.events()

    def position(self, entry):
        """Where `entry` stands on the wire."""
        with self._changed:
            if entry not in self.log:
                raise AssertionError(f"{entry} is not on the wire: {self.log}")
            return self.log.index(entry)


class Context:
    """One check's surroundings: its own path, and clients that are stopped when it ends."""

    def __init__(self, options, root):
        self.options = options
        self.root = root
        self._clients = []

    def banishable(self, **arguments):
        """A client that `banish` can keep away: it knows one server, since kazoo finishes its present list before it takes a new one."""
        return self.client(hosts=self.options.hosts.split(",")[0], **arguments)

    def client(self, chroot="", hosts=None, **arguments):
        """A started client with `.wire` attached. Arguments are KazooClient's."""
        arguments.setdefault("timeout", 15.0)
        client = KazooClient(hosts=(hosts or self.options.hosts) + chroot, handler=SequentialThreadingHandler(), **arguments)
        client.wire = Wire(client)
        self._clients.append(client)
        client.start(timeout=WAIT_SECONDS)
        return client

    def states(self, client):
        """A queue that receives the client's state changes from now on."""
        states = queue.Queue()
        client.add_listener(states.put)
        return states

    def close(self):
        """Stop every client, newest first; one that was cut off is ended without its server."""
        for client in reversed(self._clients):
            try:
                client.stop()
                client.close()
            except Exception:  # a cut-off client may fail to say goodbye; the session then expires
                pass


def await_state(states, wanted):
    """Take states off the queue until `wanted`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            state = states.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"state {wanted} did not come") from None
        if state == wanted:
            return


def cut(client):
    """Cut the client's socket as a broken network would, without closing the session."""
    client._connection._socket.shutdown(socket.SHUT_RDWR)


def banish(client):
    """Cut off a client from `Context.banishable` and keep it from reconnecting; its session stays on the server."""
    client.set_hosts(DEAD_HOST)
    cut(client)


def expect(actual, wanted, what):
    """Fail unless the two are equal."""
    if actual != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {actual!r}")


def expect_raises(error, call, *arguments, **named):
    """Fail unless the call raises exactly this kazoo exception type."""
    try:
        result = call(*arguments, **named)
    except KazooException as raised:
        expect(type(raised).__name__, error.__name__, "exception")
        return raised
    raise AssertionError(f"expected {error.__name__}, got the result {result!r}")


def call_raw(client, request):
    """Send a request class that kazoo does not have a method for; its result."""
    result = client.handler.async_result()
    client._call(request, result)
    return result.get(timeout=WAIT_SECONDS)


def join(threads):
    """Join the threads within the limit."""
    deadline = time.monotonic() + WAIT_SECONDS * 2
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            raise AssertionError(f"thread {thread.name} did not end")


def gather(asyncs):
    """The results of many asynchronous calls, in order."""
    return [one.get(timeout=WAIT_SECONDS) for one in asyncs]


class Report:
    """Counts, prints, and ends the process when the watchdog fires."""

    def __init__(self, timeout):
        self.passed = self.failed = 0
        self.current = "start"
        self._lock = threading.Lock()
        self._watchdog = threading.Timer(timeout, self._expired, [timeout])
        self._watchdog.daemon = True
        self._watchdog.start()

    def record(self, name, reason=None):
        """One check's line."""
        with self._lock:
            if reason is None:
                self.passed += 1
                print(f"ok {name}", flush=True)
            else:
                self.failed += 1
                print(f"FAIL {name}: {' '.join(str(reason).split())}", flush=True)

    def finish(self):
        """The last line; the exit code."""
        self._watchdog.cancel()
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0

    def _expired(self, timeout):
        self.record(self.current, f"the watchdog ended the run after {timeout:g} s")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        os._exit(1)


def parse(arguments):
    """The command line as Options."""
    parser = argparse.ArgumentParser(
        prog="run.sh", description="Check that the unmodified kazoo client works against a ZooKeeper server."
    )
    parser.add_argument("hosts", metavar="host:port[,host:port]", help="the server or servers")
    parser.add_argument("--super", dest="super_auth", metavar="USER:PASSWORD", help="also check the super user")
    parser.add_argument("--no-extended-types", dest="_1", action="store_true", help="accepted: kazoo has no TTL nodes")
    parser.add_argument("--reference-3.8", dest="_2", action="store_true", help="accepted: makes no difference here")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="the watchdog (default 120)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only checks whose name contains TEXT")
    parsed = vars(parser.parse_args(arguments))
    return Options(**{field: parsed[field] for field in Options._fields})


def remove_tree(client, path):
    """Delete a path and what lies below it, pipelined level by level. A node that may not be listed is taken for a leaf."""
    levels = [[path]]
    while levels[-1]:
        below = []
        for parent, listing in [(p, client.get_children_async(p)) for p in levels[-1]]:
            try:
                below += [f"{parent}/{name}" for name in listing.get(timeout=WAIT_SECONDS)]
            except (NoAuthError, NoNodeError):
                pass
        levels.append(below)
    for level in reversed(levels):
        for pending in [client.delete_async(p) for p in level]:
            try:
                pending.get(timeout=WAIT_SECONDS)
            except NoNodeError:
                pass


def run(options):
    """Run the checks and clean up; the exit code."""
    report = Report(options.timeout)
    root = f"/kazoo-suite-{uuid.uuid4().hex[:12]}"
    selected = [(name, function) for name, function, condition in CHECKS if options.only in name and condition(options)]
    for name, function in selected:
        report.current = name
        context = Context(options, f"{root}/{name}")
        try:
            context.client().ensure_path(context.root)
            function(context)
            report.record(name)
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            report.record(name, f"{type(error).__name__}: {error} ({os.path.basename(line.filename)}:{line.lineno})")
        finally:
            context.close()
    report.current = "cleanup"
    cleaner = Context(options, root)
    try:
        client = cleaner.client(auth_data=[("digest", "owner:secret")])
        remove_tree(client, root)
    except Exception as error:  # what a failed check left behind is not a finding of its own
        print(f"# cleanup: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        cleaner.close()
    return report.finish()
