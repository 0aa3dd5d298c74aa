#!/usr/bin/env python3
"""Records what a server answers to four-letter words, with some sessions, ephemerals and watches in it.

usage: words.py PORT DIRECTORY      (the server must be fresh, with 4lw.commands.whitelist=* and maxClientCnxns=0)

`tests/reference/words-3.9.5` was made with it from `java-server.sh`; `tests/tests/words.rs` does the same steps with our server.
A word that stands twice in the list is recorded as `word2` the second time. It owns nothing but the directory.
"""
import logging
import os
import socket
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

WORDS = "ruok isro srvr stat mntr conf cons dirs dump envi gtmk stmk hash wchs wchc wchp crst cons srst srvr".split()


def ask(port, word, argument=b""):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as server:
        server.sendall(word.encode() + argument)
        answer = b""
        while True:
            piece = server.recv(65536)
            if not piece:
                return answer
            answer += piece


def record(port, directory):
    os.makedirs(directory, exist_ok=True)
    seen = {}
    for word in WORDS:
        seen[word] = seen.get(word, 0) + 1
        name = word if seen[word] == 1 else f"{word}{seen[word]}"
        argument = (0x1A).to_bytes(8, "big") if word == "stmk" else b""
        with open(os.path.join(directory, name + ".txt"), "wb") as out:
            out.write(ask(port, word, argument))


def main(port, directory):
    logging.disable(logging.CRITICAL)
    a = KazooClient(f"127.0.0.1:{port}", timeout=20)
    a.start()
    b = KazooClient(f"127.0.0.1:{port}", timeout=10)
    b.start()
    silent = socket.create_connection(("127.0.0.1", port))

    def watch(_event):
        pass

    a.create("/app", b"x" * 10)
    a.create("/app/e1", b"1", ephemeral=True)
    a.create("/app/e2", b"2", ephemeral=True)
    b.create("/app/f1", b"3", ephemeral=True)
    a.get("/app", watch=watch)
    b.get("/app", watch=watch)
    b.get_children("/app", watch=watch)
    b.exists("/none", watch=watch)
    a.set("/app", b"y")
    b.get("/app", watch=watch)
    a.get("/app", watch=watch)
    try:
        b.delete("/nope")
    except NoNodeError:
        pass
    b.get_acls("/app")
    time.sleep(0.3)
    record(port, directory)
    silent.close()
    a.stop()
    b.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
