#!/usr/bin/env python3
"""Captures golden vectors from real ZooKeeper servers into proto/vectors (format: proto/vectors/README.md).

It starts its own servers with java-server.sh on free ports and temporary directories, runs fixed scripts of requests against them and
writes what went over the wire or into the log, byte for byte. It must never run against a server that somebody needs. Fails with an
exception when a reply does not have the shape that zkwire.py knows.

parts: client   client-3.9.5.txt, and client-3.8.0.txt with what differs in 3.8.0
       txn      txn-3.9.5.txt, one record of each kind from the log
       digest   txnlog_digest.txt, every record of one run from an empty server, and snapshot.* beside it
       sequence sequence-3.9.5.txt, counters that run over, and sequence-3.8.0.txt with what differs in 3.8.0
       texts    acl-texts-3.9.5.txt, ids that are not UTF-8
       quorum   quorum-3.9.5.txt and quorum-3.8.0.txt, what the servers of an ensemble say to each other; each of one run, and so not comparable
"""

import argparse
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import client_script
import quorum_script
import sequence_script
import text_script
import txn_script
import txnlog
import zkwire

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.normpath(os.path.join(HERE, "../../proto/vectors"))


class Server:
    """A Java server for the time of a `with` block; ended by its own process id."""

    def __init__(self, version, *args, data=None):
        self.version, self.args, self.keep = version, args, data is not None
        self.data = data or tempfile.mkdtemp(prefix="rk-ref-")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    def __enter__(self):
        self.log = open(os.path.join(self.data, "server.out"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [os.path.join(HERE, "java-server.sh"), "--version", self.version, "--port", str(self.port), "--data", self.data,
             *self.args], stdout=self.log, stderr=self.log)
        try:
            zkwire.wait_until_up(self.port)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)

    def __exit__(self, *_):
        self.stop()
        self.log.close()
        if not self.keep:
            shutil.rmtree(self.data)

    def txns(self):
        """The payloads of all log records, in order."""
        files = sorted(glob.glob(os.path.join(self.data, "version-2/log.*")), key=lambda n: int(n.rsplit(".", 1)[1], 16))
        out = []
        for name in files:
            with open(name, "rb") as f:
                out += list(txnlog.records(f.read()))
        return out


def head(title, version):
    return [f"# {title}", f"# Captured from Apache ZooKeeper {version} by tests/reference/capture.py. Format: README.md. Do not edit.", ""]


def render(vector):
    lines = [f"# {vector.comment}"] if vector.comment else []
    if vector.fields is not None:
        lines.append("# = " + json.dumps(vector.fields, ensure_ascii=True))
    lines.append(f"{vector.kind} {vector.name} {vector.op} {vector.data.hex() or '-'}")
    return lines + [""]


def write(out_dir, name, lines):
    with open(os.path.join(out_dir, name), "w", encoding="ascii") as f:
        f.write("\n".join(lines).rstrip("\n") + "\n")
    print(f"{name}: {sum(1 for line in lines if line and line[0] != '#')} vectors")


def capture_client(version):
    with Server(version, "--cfg", "reconfigEnabled=true", "--cfg", "enforce.auth.enabled=false") as server:
        return client_script.run(server.port)


# Fields that differ from run to run and say nothing about the version.
VOLATILE = {"ctime", "mtime", "sessionId", "passwd", "ephemeralOwner"}
# These shift once one version has consumed a zxid more than the other; what stays telling is -1, 0 or a real one.
ZXIDS = {"zxid", "czxid", "mzxid", "pzxid"}


def shape(vector):
    """What of a vector is comparable between two runs."""
    def clean(key, value):
        if key in VOLATILE or (key in ZXIDS and value > 0):
            return "*"
        if isinstance(value, dict):
            return {k: clean(k, v) for k, v in value.items()}
        if key in ("children", "ephemerals"):
            return sorted(value)
        return [clean("", v) for v in value] if isinstance(value, list) else value
    return (vector.kind, vector.data if vector.fields is None else clean("", vector.fields))


def do_client(out_dir):
    new = capture_client("3.9.5")
    lines = head("Client protocol: requests, replies and watch events", "3.9.5")
    for vector in new:
        lines += render(vector)
    write(out_dir, "client-3.9.5.txt", lines)
    lines = head("Client protocol: where 3.8.0 differs from client-3.9.5.txt (same names); values of times, session ids and zxids aside", "3.8.0")
    write(out_dir, "client-3.8.0.txt", lines + differences(new, capture_client("3.8.0")))


def differences(new, old):
    """The lines of the vectors of `old` that are not those of `new`."""
    known = {(v.kind, v.name): v for v in new}
    kinds = {(v.name): v.kind for v in new if v.kind in ("reply", "closed")}
    lines = []
    for vector in old:
        other = known.get((vector.kind, vector.name))
        if vector.kind in ("request", "connect", "txn"):
            continue
        if other is None or shape(vector) != shape(other):
            if other is None:
                vector.comment += f" (3.9.5: {kinds.get(vector.name, 'nothing')})"
            lines += render(vector)
    return lines


def do_txn(out_dir):
    with Server("3.9.5", "--jvm", "-Dznode.container.checkIntervalMs=300") as server:
        txn_script.every_kind(server.port)
        server.stop()
        seen, lines = {}, head("Log records: TxnHeader, record and TxnDigest, one of each kind and shape", "3.9.5")
        for payload in server.txns():
            fields = zkwire.decode_txn(payload)
            name = txn_name(fields)
            seen[name] = seen.get(name, 0) + 1
            if seen[name] == 1:
                lines += render(client_script.Vector("txn", name, fields["hdr"]["type"], payload, "", fields))
        write(out_dir, "txn-3.9.5.txt", lines)


def txn_name(fields):
    """A name by kind and shape, so that the first of each shape is kept."""
    kind, txn = fields["hdr"]["type"], fields["txn"]
    name = {20: "deleteContainer", -10: "createSession", -11: "closeSession", -1: "error"}.get(kind, zkwire.OP_NAMES[kind])
    if kind in (1, 15):
        name += "_ephemeral" if txn["ephemeral"] else ""
    if kind in (1, 5, 15):
        name += "_null_data" if txn["data"] is None else "_empty_data" if txn["data"] == "" else ""
    if kind in (1, 15) and not txn["path"].isascii():
        name += "_unicode"
    if kind == -11:
        name += f"_{len(txn['paths2Delete'])}_paths"
    if kind == -1:
        name += "_" + zkwire.ERRORS.get(txn["err"], str(-txn["err"]))
    if kind == 14:
        name += "_" + ("_".join(zkwire.OP_NAMES[t["type"]] for t in txn["txns"]) or "empty")
    return name


def do_digest(out_dir):
    with Server("3.9.5", "--jvm", "-Dznode.container.checkIntervalMs=300", "--cfg", "snapshot.compression.method=") as server:
        txn_script.digest_run(server.port)
        hashes = zkwire.four_letter(server.port, "hash")
        server.stop()
        lines = head("Every log record of one run from an empty server, in order: after each the tree's digest is its treeDigest", "3.9.5")
        lines += ["# Start: the tree of a new server (/, /zookeeper, /zookeeper/quota, /zookeeper/config), zxid 0.",
                  "# The newest digests by the server's own `hash` command (it keeps one of every 128 zxids, so maybe none):"]
        lines += last_digests(hashes)
        lines.append("")
        for number, payload in enumerate(server.txns(), 1):
            fields = zkwire.decode_txn(payload)
            vector = client_script.Vector("txn", f"r{number:03}_{txn_name(fields)}", fields["hdr"]["type"], payload, "", fields)
            lines += render(vector)
        write(out_dir, "txnlog_digest.txt", lines)
        data = server.data
        keep_version_2(data, out_dir)


def do_sequence(out_dir):
    new = capture_sequence("3.9.5")
    lines = head("Counters that run over: a crafted tree, requests, replies and log records (sequence_script.py)", "3.9.5")
    for vector in new:
        lines += render(vector)
    write(out_dir, "sequence-3.9.5.txt", lines)
    lines = head("Where 3.8.0 differs from sequence-3.9.5.txt (same names); values of times, session ids and zxids aside", "3.8.0")
    write(out_dir, "sequence-3.8.0.txt", lines + differences(new, capture_sequence("3.8.0")))


def capture_sequence(version):
    with tempfile.TemporaryDirectory(prefix="rk-ref-") as data:
        sequence_script.write_snapshot(data)
        with Server(version, data=data) as server:
            out = sequence_script.run(server.port)
            server.stop()
            sequence_script.add_log(out, server.txns())
            with open(os.path.join(data, "server.out"), encoding="utf-8") as log:
                print(f"{version}: {sum('igest' in line and 'match' in line for line in log)} complaints about digests")
        return out


def do_texts(out_dir):
    with tempfile.TemporaryDirectory(prefix="rk-ref-") as data:
        text_script.write_snapshot(data)
        with Server("3.9.5", data=data) as server:
            out = text_script.run(server.port)
            server.stop()
            sequence_script.add_log(out, server.txns())
    lines = head("Ids of ACLs and clients that are not UTF-8: a crafted tree, requests, replies and log records (text_script.py)", "3.9.5")
    for vector in out:
        lines += render(vector)
    write(out_dir, "acl-texts-3.9.5.txt", lines)


def do_quorum(out_dir):
    for version in ("3.9.5", "3.8.0"):
        lines = head("What the servers of an ensemble say to each other: election and quorum ports (quorum_script.py)", version)
        for vector in quorum_script.run(version):
            lines += render(vector)
        write(out_dir, f"quorum-{version}.txt", lines)


def last_digests(hash_reply):
    """What the `hash` command said, as comment lines."""
    return [f"#   {line}" for line in hash_reply.splitlines()[-3:]]


def keep_version_2(data, out_dir):
    """The run's log without its zero padding, and the snapshot that a restart writes after replaying it."""
    with Server("3.9.5", data=data):
        pass
    fixture = os.path.join(out_dir, "version-2")
    shutil.rmtree(fixture, ignore_errors=True)
    os.makedirs(fixture)
    for name in glob.glob(os.path.join(data, "version-2/*")):
        with open(name, "rb") as f:
            content = f.read()
        if os.path.basename(name).startswith("log."):
            end = 16 + sum(13 + len(p) for p in txnlog.records(content))
            content = content[:end] + b"\0" * 64
        with open(os.path.join(fixture, os.path.basename(name)), "wb") as f:
            f.write(content)
        print(f"version-2/{os.path.basename(name)}: {len(content)} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: capture.py --out /tmp/vectors client txn")
    parser.add_argument("--out", default=VECTORS, help="directory to write into, default %(default)s")
    parser.add_argument("part", nargs="*", help="client, txn, digest, sequence, texts, quorum; all by default")
    args = parser.parse_args()
    parts = {"client": do_client, "txn": do_txn, "digest": do_digest, "sequence": do_sequence, "texts": do_texts,
             "quorum": do_quorum}
    unknown = set(args.part) - set(parts)
    if unknown:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    os.makedirs(args.out, exist_ok=True)
    for part in args.part or parts:
        parts[part](args.out)


if __name__ == "__main__":
    sys.exit(main())
