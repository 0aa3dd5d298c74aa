"""ZooKeeper's client protocol and txn log in plain Python: what `capture.py`, `behaviour.py` and `txnlog.py` share.

It is written from the format descriptions, apart from the Rust codec, so that the two check each other. Encoders exist for requests
only; decoders for replies, events and txns, and each decoder must consume its input to the last byte (`Reader.end`), else it raises.
It owns no policy: which requests to send is the callers' matter. Standard library only.
"""

import re
import socket
import struct
import time

OPS = {
    "notification": 0, "create": 1, "delete": 2, "exists": 3, "getData": 4, "setData": 5, "getACL": 6, "setACL": 7,
    "getChildren": 8, "sync": 9, "ping": 11, "getChildren2": 12, "check": 13, "multi": 14, "create2": 15, "reconfig": 16,
    "checkWatches": 17, "removeWatches": 18, "createContainer": 19, "deleteContainer": 20, "createTTL": 21,
    "multiRead": 22, "auth": 100, "setWatches": 101, "sasl": 102, "getEphemerals": 103, "getAllChildrenNumber": 104,
    "setWatches2": 105, "addWatch": 106, "whoAmI": 107, "createSession": -10, "closeSession": -11, "error": -1,
}
OP_NAMES = {number: name for name, number in OPS.items()}
ERRORS = {
    0: "Ok", -1: "SystemError", -2: "RuntimeInconsistency", -5: "MarshallingError", -6: "Unimplemented", -8: "BadArguments",
    -101: "NoNode", -102: "NoAuth", -103: "BadVersion", -108: "NoChildrenForEphemerals", -110: "NodeExists",
    -111: "NotEmpty", -112: "SessionExpired", -114: "InvalidACL", -115: "AuthFailed", -118: "SessionMoved",
    -121: "NoWatcher", -123: "ReconfigDisabled", -124: "SessionClosedRequireSaslAuth", -125: "QuotaExceeded",
}
STAT = ("czxid:q mzxid:q ctime:q mtime:q version:i cversion:i aversion:i ephemeralOwner:q dataLength:i numChildren:i "
        "pzxid:q")


# ---- encoding -----------------------------------------------------------------------------------------------------

def i32(value):
    return struct.pack(">i", value)


def i64(value):
    return struct.pack(">q", value)


def boolean(value):
    return b"\1" if value else b"\0"


def buf(value):
    """A jute buffer; None is the null buffer (length -1)."""
    return i32(-1) if value is None else i32(len(value)) + value


def ustr(value):
    return buf(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)


def vec(values, encode=ustr):
    return i32(-1) if values is None else i32(len(values)) + b"".join(encode(v) for v in values)


def acl(entry):
    """(perms, scheme, id)"""
    perms, scheme, ident = entry
    return i32(perms) + ustr(scheme) + ustr(ident)


ANYONE = [(31, "world", "anyone")]


def create(path, data=b"", acls=ANYONE, flags=0):
    return ustr(path) + buf(data) + vec(acls, acl) + i32(flags)


def create_ttl(path, data=b"", acls=ANYONE, flags=5, ttl=60000):
    # A mode without TTL together with ttl -1 is logged and then kills the server at every start.
    assert flags in (5, 6) or ttl != -1, "this would destroy the server"
    return create(path, data, acls, flags) + i64(ttl)


def path_watch(path, watch=False):
    return ustr(path) + boolean(watch)


def path_int(path, number=-1):
    return ustr(path) + i32(number)


def set_data(path, data, version=-1):
    return ustr(path) + buf(data) + i32(version)


def set_acl(path, acls, version=-1):
    return ustr(path) + vec(acls, acl) + i32(version)


def multi(ops):
    """[(op name or number, body)]"""
    out = b""
    for op, body in ops:
        out += i32(OPS.get(op, op)) + boolean(False) + i32(-1) + body
    return out + i32(-1) + boolean(True) + i32(-1)


def set_watches(zxid, *lists):
    return i64(zxid) + b"".join(vec(paths) for paths in lists)


def auth(scheme, token, kind=0):
    return i32(kind) + ustr(scheme) + buf(token)


def connect_request(timeout_ms=30000, session=0, password=b"\0" * 16, last_zxid=0, read_only=False, protocol=0):
    """read_only None leaves the byte out, as old clients do."""
    body = i32(protocol) + i64(last_zxid) + i32(timeout_ms) + i64(session) + buf(password)
    return body if read_only is None else body + boolean(read_only)


# ---- decoding -----------------------------------------------------------------------------------------------------

def java_text(raw):
    """As Java reads a string: a surrogate, whole or cut short, is one mistake to it and two or three to Python."""
    return re.sub(rb"\xed[\xa0-\xbf][\x80-\xbf]?", "\ufffd".encode(), raw).decode("utf-8", "replace")


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise ValueError(f"need {n} bytes at {self.at} of {len(self.data)}")
        self.at += n
        return self.data[self.at - n:self.at]

    def i32(self):
        return struct.unpack(">i", self.take(4))[0]

    def i64(self):
        return struct.unpack(">q", self.take(8))[0]

    def bool(self):
        return self.take(1) != b"\0"

    def buf(self):
        n = self.i32()
        return None if n == -1 else self.take(n)

    def ustr(self):
        raw = self.buf()
        return None if raw is None else java_text(raw)

    def vec(self, decode):
        n = self.i32()
        return None if n == -1 else [decode() for _ in range(n)]

    def fields(self, spec):
        """`name:type` words; types i q b(ool) s(tring) d(ata) and the vectors S, A."""
        kinds = {"i": self.i32, "q": self.i64, "b": self.bool, "s": self.ustr, "d": lambda: text(self.buf()),
                 "S": lambda: self.vec(self.ustr), "A": lambda: self.vec(self.acl)}
        return {name: kinds[kind]() for name, kind in (word.split(":") for word in spec.split())}

    def acl(self):
        return [self.i32(), self.ustr(), self.ustr()]

    def left(self):
        return len(self.data) - self.at

    def end(self):
        if self.left():
            raise ValueError(f"{self.left()} bytes left over at {self.at}")


def text(data):
    """Bytes as something JSON can hold: text where it is printable, else hex:..."""
    if data is None:
        return None
    try:
        if all(31 < b < 127 for b in data):
            return data.decode()
    except UnicodeDecodeError:
        pass
    return "hex:" + data.hex()


REPLIES = {
    "create": "path:s", "exists": STAT, "setData": STAT, "setACL": STAT, "getData": "data:d " + STAT,
    "getACL": "acl:A " + STAT, "getChildren": "children:S", "getChildren2": "children:S " + STAT, "sync": "path:s",
    "create2": "path:s " + STAT, "createContainer": "path:s " + STAT, "createTTL": "path:s " + STAT,
    "getEphemerals": "ephemerals:S", "getAllChildrenNumber": "totalNumber:i", "addWatch": "err:i", "sasl": "token:d",
    "reconfig": "data:d " + STAT, "check": STAT,
}


def decode_reply(op, frame):
    """A whole reply frame as a dict: xid, zxid, err, and the body's fields."""
    r = Reader(frame)
    out = r.fields("xid:i zxid:q err:i")
    if out["err"] != 0 and r.left():
        # Java sends what it had built so far of a multiRead's answer beside the error.
        out["extra"] = r.take(r.left()).hex()
    if not r.left():
        return out
    name = OP_NAMES.get(op, op)
    if name in ("multi", "multiRead"):
        out["results"] = decode_multi(r)
    elif name == "whoAmI":
        out["clientInfo"] = r.vec(lambda: [r.ustr(), r.ustr()])
    else:
        out["body"] = r.fields(REPLIES[name])
    r.end()
    return out


def decode_multi(r):
    results = []
    bodies = {1: "path:s", 15: "path:s " + STAT, 19: "path:s " + STAT, 21: "path:s " + STAT, 2: "", 13: "", 5: STAT,
              -1: "err:i", 8: "children:S", 4: "data:d " + STAT}
    while True:
        head = r.fields("type:i done:b err:i")
        if head["done"]:
            return results + [head]
        head["body"] = r.fields(bodies[head["type"]])
        results.append(head)


def decode_event(frame):
    r = Reader(frame)
    out = r.fields("xid:i zxid:q err:i type:i state:i path:s")
    r.end()
    return out


def decode_connect(frame):
    r = Reader(frame)
    out = r.fields("protocolVersion:i timeOut:i sessionId:q passwd:d")
    if r.left():
        out["readOnly"] = r.bool()
    r.end()
    return out


TXNS = {
    1: "path:s data:d acl:A ephemeral:b parentCVersion:i", 15: "path:s data:d acl:A ephemeral:b parentCVersion:i",
    21: "path:s data:d acl:A parentCVersion:i ttl:q", 19: "path:s data:d acl:A parentCVersion:i", 2: "path:s", 20: "path:s",
    5: "path:s data:d version:i", 16: "path:s data:d version:i", 7: "path:s acl:A version:i", 13: "path:s version:i",
    -10: "timeOut:i", -11: "paths2Delete:S", -1: "err:i",
}


def decode_txn_body(kind, r):
    if kind != 14:
        return r.fields(TXNS[kind])

    def sub():
        inner_kind = r.i32()
        inner = Reader(r.buf())
        body = decode_txn_body(inner_kind, inner)
        inner.end()
        return {"type": inner_kind, **body}
    return {"txns": r.vec(sub)}


def decode_txn(payload):
    """TxnHeader + record + (optional) TxnDigest. A close of a session may lack its record (old logs)."""
    r = Reader(payload)
    out = {"hdr": r.fields("clientId:q cxid:i zxid:q time:q type:i")}
    if out["hdr"]["type"] == -11 and r.left() in (0, 12):
        out["txn"] = None
    else:
        out["txn"] = decode_txn_body(out["hdr"]["type"], r)
    if r.left():
        out["digest"] = r.fields("version:i treeDigest:q")
    r.end()
    return out


# ---- a connection -------------------------------------------------------------------------------------------------

class Closed(Exception):
    """The server closed the connection (or reset it)."""


class Conn:
    """One client connection. Frames go in and come out whole; nothing is answered behind the caller's back."""

    def __init__(self, port, host="127.0.0.1", timeout_s=10):
        self.sock = socket.create_connection((host, port), timeout=timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.session = self.xid = 0
        self.password = b""
        self.events = []

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed from e

    def send(self, body):
        self.raw(i32(len(body)) + body)

    def recv(self):
        """The next frame, without its length."""
        return self._exactly(struct.unpack(">i", self._exactly(4))[0])

    def _exactly(self, n):
        out = b""
        while len(out) < n:
            try:
                part = self.sock.recv(n - len(out))
            except ConnectionResetError as e:
                raise Closed from e
            if not part:
                raise Closed
            out += part
        return out

    def connect(self, **kwargs):
        """Sends a connect request; returns its bytes and those of the answer."""
        request = connect_request(**kwargs)
        self.send(request)
        reply = self.recv()
        fields = decode_connect(reply)
        self.session = fields["sessionId"]
        self.password = Reader(reply[16:]).buf()
        return request, reply

    def frame(self, op, body=b"", xid=None):
        if xid is None:
            self.xid += 1
            xid = self.xid
        return i32(xid) + i32(OPS.get(op, op)) + body

    def reply(self):
        """The next frame that is not an event; events before it are appended to `events`."""
        while True:
            frame = self.recv()
            if frame[:4] != b"\xff\xff\xff\xff":
                return frame
            self.events.append(frame)

    def call(self, op, body=b"", xid=None):
        self.send(self.frame(op, body, xid))
        return self.reply()

    def ask(self, op, body=b"", xid=None):
        """As `call`, decoded."""
        return decode_reply(OPS.get(op, op), self.call(op, body, xid))

    def is_closed_soon(self, wait_s=3):
        """Whether the server closes within the wait; extra frames that it sends first are dropped."""
        self.sock.settimeout(wait_s)
        try:
            while True:
                self.recv()
        except Closed:
            return True
        except socket.timeout:
            return False

    def close(self):
        self.sock.close()


def session(port, **kwargs):
    c = Conn(port)
    c.connect(**kwargs)
    return c


def four_letter(port, word, host="127.0.0.1"):
    with socket.create_connection((host, port), timeout=5) as s:
        s.sendall(word.encode())
        out = b""
        while part := s.recv(65536):
            out += part
        return out.decode()


def wait_until_up(port, limit_s=60):
    # Not `ruok`: Java answers imok before it serves.
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            if "Mode:" in four_letter(port, "srvr"):
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"no ZooKeeper server on port {port} within {limit_s} s")
