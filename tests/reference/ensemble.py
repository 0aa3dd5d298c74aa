"""An ensemble of real ZooKeeper servers on loopback whose every connection goes through a recording proxy. Used by quorum_script.py.

Server i is `zki` in a configuration that is the same for all of them. Each JVM has a hosts file of its own (jdk.net.hosts.file): there
its own name is 127.0.1.i, where it listens, and that of server j is 127.0.(10+i).j, where the proxy listens that hands on to 127.0.1.j
and so knows who calls whom. The proxy keeps the bytes of both directions with the scene that was on. It owns its temporary directory and
the processes that it starts, and ends them by their own ids. Standard library only.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import zkwire

HERE = os.path.dirname(os.path.abspath(__file__))
QUORUM_PORT, ELECTION_PORT = 22888, 23888


class Direction:
    """The bytes that one side of a connection has sent, in chunks: (bytes, number among all chunks, scene)."""

    def __init__(self, sender, receiver):
        self.sender, self.receiver, self.chunks = sender, receiver, []


class Link:
    """A connection that server `opener` has opened to a port of server `target`."""

    def __init__(self, opener, target, port):
        self.opener, self.target, self.port = opener, target, port
        self.forth, self.back = Direction(opener, target), Direction(target, opener)


class Proxy:
    """Hands on and records. `held` has the servers from whose quorum ports nothing is handed on for now."""

    def __init__(self, servers):
        self.links, self.count, self.scene, self.held, self.dropped = [], 0, "", set(), set()
        self.changed = threading.Condition()
        self.listeners = []
        for opener in servers:
            for target in servers:
                for port in (QUORUM_PORT, ELECTION_PORT):
                    if opener != target:
                        self.listen(opener, target, port)

    def listen(self, opener, target, port):
        listener = socket.create_server((f"127.0.{10 + opener}.{target}", port))
        self.listeners.append(listener)
        threading.Thread(target=self.accept, args=(listener, opener, target, port), daemon=True).start()

    def accept(self, listener, opener, target, port):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client, Link(opener, target, port)), daemon=True).start()

    def carry(self, client, link):
        server = self.reach(link)
        if server is None:
            client.close()
            return
        with self.changed:
            self.links.append(link)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self.pump, args=(server, client, link, link.back), daemon=True).start()
        self.pump(client, server, link, link.forth)

    @staticmethod
    def reach(link):
        """The target's socket. A learner calls its leader before that listens: wait a little."""
        for _ in range(20 if link.port == QUORUM_PORT else 1):
            try:
                return socket.create_connection((f"127.0.1.{link.target}", link.port))
            except OSError:
                time.sleep(0.1)
        return None

    def pump(self, source, sink, link, direction):
        try:
            while data := source.recv(65536):
                with self.changed:
                    if link.port == QUORUM_PORT and direction.sender in self.held:
                        self.changed.wait_for(lambda: direction.sender not in self.held)
                        if direction.sender in self.dropped:
                            break
                    self.count += 1
                    direction.chunks.append((data, self.count, self.scene))
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def hold(self, server):
        """Hands on nothing that the server says on its quorum port."""
        with self.changed:
            self.held.add(server)
            self.dropped.discard(server)

    def release(self, server):
        """Hands on what was held back."""
        with self.changed:
            self.held.discard(server)
            self.changed.notify_all()

    def drop(self, server):
        """Ends the connections on which something was held back, and that is lost. The server must be dead."""
        with self.changed:
            self.dropped.add(server)
            self.held.discard(server)
            self.changed.notify_all()

    def close(self):
        for listener in self.listeners:
            # Else the thread in `accept` keeps it open.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


class Ensemble:
    """Servers 1 to 3 with a vote, and observer 4."""

    SERVERS = (1, 2, 3, 4)
    OBSERVER = 4

    def __init__(self, version, log_level="warn"):
        self.version, self.log_level = version, log_level
        self.dir = tempfile.mkdtemp(prefix="rk-quorum-")
        self.processes, self.ports, self.outputs = {}, {}, []
        for server in self.SERVERS:
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                self.ports[server] = s.getsockname()[1]

    def __enter__(self):
        self.proxy = Proxy(self.SERVERS)
        return self

    def __exit__(self, *_):
        for server in list(self.processes):
            self.end(server, signal.SIGKILL)
        self.proxy.close()
        for output in self.outputs:
            output.close()
        shutil.rmtree(self.dir)

    def data(self, server):
        return os.path.join(self.dir, str(server))

    def start(self, *servers):
        for server in servers:
            self.launch(server)
        for server in servers:
            zkwire.wait_until_up(self.ports[server], 120)

    def launch(self, server):
        os.makedirs(self.data(server), exist_ok=True)
        hosts = os.path.join(self.data(server), "hosts")
        with open(hosts, "w", encoding="ascii") as f:
            f.write(f"127.0.0.1 localhost {socket.gethostname()}\n")
            for other in self.SERVERS:
                address = f"127.0.1.{other}" if other == server else f"127.0.{10 + server}.{other}"
                f.write(f"{address} zk{other}\n")
        lines = ["tickTime=1000", "initLimit=30", "syncLimit=15", "maxSessionTimeout=120000", "reconfigEnabled=true"]
        for other in self.SERVERS:
            role = ":observer" if other == self.OBSERVER else ""
            lines.append(f"server.{other}=zk{other}:{QUORUM_PORT}:{ELECTION_PORT}{role}")
        if server == self.OBSERVER:
            # The other form of an initial message.
            lines += ["peerType=observer", "multiAddress.enabled=true", "multiAddress.reachabilityCheckEnabled=false"]
        args = ["--version", self.version, "--port", str(self.ports[server]), "--data", self.data(server), "--myid", str(server),
                "--heap", "128m", "--log", self.log_level, "--jvm", f"-Djdk.net.hosts.file={hosts}",
                # A learner that has nothing gets a SNAP, not the log from its beginning.
                "--jvm", "-Dzookeeper.snapshotSizeFactor=-1"]
        args += [word for line in lines for word in ("--cfg", line)]
        output = open(os.path.join(self.data(server), "server.out"), "a", encoding="utf-8")
        self.outputs.append(output)
        self.processes[server] = subprocess.Popen([os.path.join(HERE, "java-server.sh"), *args], stdout=output, stderr=output)

    def end(self, server, how=signal.SIGTERM):
        process = self.processes.pop(server)
        if process.poll() is None:
            process.send_signal(how)
            process.wait(30)

    def wipe(self, server):
        """As if its disk had been replaced."""
        shutil.rmtree(os.path.join(self.data(server), "version-2"))

    def mode(self, server):
        for line in zkwire.four_letter(self.ports[server], "srvr").splitlines():
            if line.startswith("Mode: "):
                return line.split()[1]
        return None

    def leader(self):
        return next(server for server in self.processes if self.mode(server) == "leader")

    def log_has(self, server, words):
        """Does the server's log have these bytes?"""
        folder = os.path.join(self.data(server), "version-2")
        for name in os.listdir(folder):
            if name.startswith("log."):
                with open(os.path.join(folder, name), "rb") as f:
                    if words in f.read():
                        return True
        return False

    def client(self, server, timeout_ms=60000, **kwargs):
        return zkwire.session(self.ports[server], timeout_ms=timeout_ms, **kwargs)
