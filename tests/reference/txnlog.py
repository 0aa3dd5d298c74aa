#!/usr/bin/env python3
"""Decodes ZooKeeper's transaction log files (version-2/log.*) to lines.

File:   magic "ZKLG" · version i32 (2) · dbid i64 · record* · zeros to the preallocated end
Record: checksum i64 (Adler-32 of the payload alone, despite what the Java class comment says) · length i32 · payload · 0x42
Payload: TxnHeader (clientId i64, cxid i32, zxid i64, time i64, type i32) · record · TxnDigest (version i32, treeDigest i64)

A checksum or an end byte that does not fit raises ValueError. Used by capture.py; standard library only.
"""

import argparse
import json
import struct
import zlib

import zkwire


def records(data):
    """Yields the payload of each record of one log file."""
    magic, version, _dbid = struct.unpack(">4siq", data[:16])
    if magic != b"ZKLG" or version != 2:
        raise ValueError(f"not a log file: {magic!r} version {version}")
    at = 16
    while at + 12 <= len(data):
        checksum, length = struct.unpack(">qi", data[at:at + 12])
        if checksum == 0 and length == 0:
            return
        payload = data[at + 12:at + 12 + length]
        if zlib.adler32(payload) != checksum:
            raise ValueError(f"checksum mismatch at {at}")
        if data[at + 12 + length:at + 13 + length] != b"\x42":
            raise ValueError(f"no end of record at {at + 12 + length}")
        yield payload
        at += 13 + length


def describe(payload):
    txn = zkwire.decode_txn(payload)
    return json.dumps(txn, ensure_ascii=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="example: txnlog.py /tmp/zk1/version-2/log.1")
    parser.add_argument("file", nargs="+")
    parser.add_argument("--hex", action="store_true", help="print the payload's bytes too")
    args = parser.parse_args()
    for name in args.file:
        with open(name, "rb") as f:
            for payload in records(f.read()):
                print(describe(payload), payload.hex() if args.hex else "")


if __name__ == "__main__":
    main()
