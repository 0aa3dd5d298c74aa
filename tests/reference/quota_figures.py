#!/usr/bin/env python3
"""Sets quotas, reads and writes, and prints the lines of `mntr` that are told for each top-level znode, sorted.

usage: quota_figures.py HOST:PORT      (a fresh server with enforceQuota=true and 4lw.commands.whitelist=*)

`words-3.9.5/quota_figures.txt` is what the real server printed (`java-server.sh --cfg enforceQuota=true`).
"""
import logging
import socket
import sys

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException


def quota(zk, path, limits):
    zk.ensure_path("/zookeeper/quota" + path)
    zk.create("/zookeeper/quota" + path + "/zookeeper_limits", limits)
    zk.create("/zookeeper/quota" + path + "/zookeeper_stats", b"count=0,bytes=0")


def refused(call, *arguments):
    try:
        call(*arguments)
    except KazooException:
        return
    sys.exit("this had to be refused")


def mntr(address):
    with socket.create_connection(address, timeout=10) as server:
        server.sendall(b"mntr")
        answer = b""
        while True:
            piece = server.recv(65536)
            if not piece:
                return answer.decode()
            answer += piece


def main(address):
    logging.disable(logging.CRITICAL)
    host, port = address.rsplit(":", 1)
    zk = KazooClient(address)
    zk.start()
    for path, data in [("/app", b"12345"), ("/app/a", b"xyz"), ("/app/b", b""), ("/app/b/c", b"0"), ("/other", b""),
                       ("/soft", b"1234567890"), ("/odd", b"")]:
        zk.create(path, data)
    # Soft and hard limits of two subtrees of one top-level znode are added up, those that are not set as -1.
    quota(zk, "/app/a", b"count=3,bytes=100=;byteHardLimit=50;countHardLimit=-1")
    quota(zk, "/app/b", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2")
    quota(zk, "/soft", b"count=5,bytes=7")
    refused(zk.create, "/app/b/d", b"")
    refused(zk.create, "/app/b/e", b"")
    refused(zk.set, "/app/a", b"x" * 51)
    zk.set("/soft", b"12345678901")
    zk.get("/app")
    zk.exists("/soft")
    zk.get_children("/app")
    zk.get_acls("/app/a")
    zk.get("/")
    zk.get_children("/")
    zk.set_acls("/other", zk.get_acls("/other")[0])
    zk.delete("/other")
    refused(zk.get, "/nonex/x")
    refused(zk.set, "/nonex/x", b"1")
    zk.exists("/nonex2")
    print("\n".join(sorted(line for line in mntr((host, int(port))).splitlines() if "_per_namespace" in line)))
    zk.stop()


if __name__ == "__main__":
    main(sys.argv[1])
