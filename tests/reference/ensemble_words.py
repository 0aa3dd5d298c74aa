#!/usr/bin/env python3
"""Records what the servers of a real ensemble answer to four-letter words: leader, follower, observer, and one that looks for a leader.

usage: ensemble_words.py DIRECTORY

`tests/reference/words-ensemble-3.9.5` was made with it; `server/src/four_letter/ensemble.rs` is compared with it. DIRECTORY gets a folder for each
role, with a text for each word, and the data and Stat of `/zookeeper/config` as `config_node.txt`. Servers 1 to 3 vote, 4 observes; the follower's
texts are of one that serves no observers. It owns a temporary directory and the processes that it starts, and ends them by their own ids.
"""
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from kazoo.client import KazooClient

from words import ask, record

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "127.0.77.{}"
NOT_SERVING = b"This ZooKeeper instance is not currently serving requests"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def launch(server, port, data):
    lines = ["tickTime=2000", "initLimit=30", "syncLimit=15"]
    for other in range(1, 5):
        lines.append(f"server.{other}={HOST.format(other)}:2888:3888" + (":observer" if other == 4 else ""))
    if server == 4:
        lines.append("peerType=observer")
    args = ["--port", str(port), "--data", os.path.join(data, str(server)), "--myid", str(server), "--heap", "128m", "--log", "error"]
    args += [word for line in lines for word in ("--cfg", line)]
    return subprocess.Popen([os.path.join(HERE, "java-server.sh"), *args])


def until(what, holds, seconds=180):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def mode(port):
    try:
        lines = ask(port, "srvr").decode().splitlines()
    except OSError:
        return None
    return next((line.split()[1] for line in lines if line.startswith("Mode: ")), "looking" if lines else None)


def main(directory):
    logging.disable(logging.CRITICAL)
    data = tempfile.mkdtemp(prefix="rk-words-")
    ports = {server: free_port() for server in range(1, 5)}
    processes = {server: launch(server, port, data) for server, port in ports.items()}
    try:
        until("all serve", lambda: all(mode(port) not in (None, "looking") for port in ports.values()))
        modes = {server: mode(port) for server, port in ports.items()}
        roles = {role: next(server for server, its in modes.items() if its == role) for role in ("leader", "follower", "observer")}
        clients = {}
        for role, server in roles.items():
            clients[role] = client = KazooClient(f"127.0.0.1:{ports[server]}", timeout=20)
            client.start()
            client.create(f"/{role}", b"x" * 10)
            client.create(f"/{role}/e", b"1", ephemeral=True)
            client.get(f"/{role}", watch=lambda _event: None)
            client.exists("/none", watch=lambda _event: None)
        for role, server in roles.items():
            clients[role].sync("/")
            time.sleep(1)
            record(ports[server], os.path.join(directory, role))
            content, stat = clients[role].get("/zookeeper/config")
            with open(os.path.join(directory, role, "config_node.txt"), "w", encoding="utf-8") as out:
                out.write(f"{content.decode()}\n{stat}\n")
        for client in clients.values():
            client.stop()
        for server, its in modes.items():
            if server not in (roles["follower"], 4):
                processes[server].terminate()
                processes[server].wait(30)
        port = ports[roles["follower"]]
        until("it looks", lambda: mode(port) == "looking")
        assert NOT_SERVING in ask(port, "srvr")
        record(port, os.path.join(directory, "looking"))
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(data)


if __name__ == "__main__":
    main(sys.argv[1])
