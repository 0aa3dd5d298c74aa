#!/usr/bin/env python3
"""Asks a server, Java's or ours, how it authenticates: SASL DIGEST-MD5 step by step, right and wrong, ACLs, and who is turned away.

usage: auth_script.py --port N --setting NAME     probes a server that runs with these settings, and prints what it answers
       auth_script.py --record                    starts ZooKeeper 3.9.5 with each of the settings and writes auth.expected

`auth.expected` is what `tests/tests/sasl.rs` holds RingKeeper to: it starts one with the settings of each part and runs this script on it.
One line a probe, `name: answers · connection`; what differs from run to run (nonces, the server's proof) is left out. With --trace the
tokens go to stderr, which is where the vectors of `engine/src/sasl/tests.rs` come from.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys

from zkwire import ANYONE, ERRORS, Closed, Conn, auth, buf, create, path_watch, ustr

CNONCE = "b2E2TUh4aDZWcVRyUms="
URI = "zookeeper/zk-sasl-md5"
REALM = "zk-sasl-md5"
# How long a connection that should stay open is watched.
CLOSE_WAIT_S = 0.3
OPTIONS = None
HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "auth.expected")
JAAS = os.path.join(HERE, "auth.jaas")


def md5(data):
    return hashlib.md5(data).digest()


def hexed(data):
    return md5(data).hex().encode()


def response(challenge, user="bob", password="bobsecret", **change):
    """The client's second token; `change` overrides directives, None leaves one out, and `authzid` adds one."""
    nonce = re.search(rb'nonce="([^"]*)"', challenge).group(1)
    fields = {"username": user, "realm": REALM, "nonce": nonce.decode(), "cnonce": CNONCE, "nc": "00000001", "qop": "auth",
              "digest-uri": URI, "charset": "utf-8", "maxbuf": "65536"}
    fields.update(change)
    value = lambda name, default="": (fields.get(name) if fields.get(name) is not None else default).encode()
    narrow = lambda text: text.encode("latin-1") if all(ord(c) < 256 for c in text) else text.encode()
    a1 = md5(narrow(user) + b":" + value("realm") + b":" + narrow(password)) + b":" + nonce + b":" + value("cnonce")
    if fields.get("authzid") is not None:
        a1 += b":" + value("authzid")
    a2 = b"AUTHENTICATE:" + value("digest-uri")
    kd = b":".join([hexed(a1), nonce, b"00000001", value("cnonce"), value("qop", "auth"), hexed(a2)])
    fields.setdefault("response", hexed(kd).decode())
    bare = ("nc", "qop", "response", "charset", "maxbuf")
    out = [f"{k}={v}" if k in bare else f'{k}="{v}"' for k, v in fields.items() if v is not None]
    return ",".join(out).encode()


def told(reply):
    err = reply["err"]
    words = ["OK" if err == 0 else ERRORS.get(err, str(err))]
    if reply["zxid"] == 0:
        words.append("zxid 0")
    if "extra" in reply:
        words.append("body " + reply["extra"])
    if "body" in reply and "token" in reply["body"]:
        token = reply["body"]["token"]
        words.append("null token" if token is None else re.sub(r'nonce="[^"]*"', 'nonce="…"', re.sub(r'rspauth=[0-9a-f]{32}$', 'rspauth=…', token)))
    if "clientInfo" in reply:
        # Java keeps them in a set without order.
        words.append(" ".join(sorted(f"{scheme}:{user}" for scheme, user in reply["clientInfo"])))
    if reply.get("body", {}).get("acl") is not None:
        words.append(str(reply["body"]["acl"]))
    return " ".join(words)


class Probe:
    """A connection whose answers are noted."""

    def __init__(self, name):
        self.name, self.notes = name, []
        self.conn = Conn(OPTIONS.port, host=OPTIONS.host)
        self.conn.connect()

    def ask(self, op, body=b"", xid=None):
        try:
            reply = self.conn.ask(op, body, xid)
            self.notes.append(told(reply))
            return reply
        except Closed:
            self.notes.append("closed")
            return None

    def sasl(self, token):
        reply = self.ask("sasl", buf(token))
        answer = (reply or {}).get("body", {}).get("token")
        if OPTIONS.trace:
            print(f"{self.name}\n  > {token!r}\n  < {answer!r}", file=sys.stderr)
        return answer.encode() if answer else b'nonce="none"'

    def log_in(self, *args, **kwargs):
        return self.sasl(response(self.sasl(b""), *args, **kwargs))

    def end(self):
        self.notes.append("closed" if self.conn.is_closed_soon(CLOSE_WAIT_S) else "open")
        print(f"{self.name}: {' · '.join(self.notes)}")
        self.conn.close()


def probe(name, *steps):
    p = Probe(name)
    for step in steps:
        step(p)
    p.end()


def log_in(*args, **kwargs):
    return lambda p: p.log_in(*args, **kwargs)


def token(data):
    return lambda p: p.sasl(data)


def ask(op, body=b"", xid=None):
    return lambda p: p.ask(op, body, xid)


def make(path, entries):
    return ask("create", create(path, b"", entries))


ANN = ask("auth", auth("digest", b"ann:secret"), xid=-4)
BOB = [(31, "sasl", "bob")]
WHO = ask("whoAmI")


def sasl_probes():
    probe("nobody", WHO, ask("ping", xid=-2))
    probe("right password", log_in(), WHO)
    probe("the super user", log_in("super", "adminsecret"), WHO)
    probe("wrong password", log_in("bob", "nope"))
    probe("unknown user", log_in("eve", "x"))
    probe("umlauts within latin-1", log_in("jörg", "pässword"), WHO)
    probe("beyond latin-1", log_in("юля", "пароль"), WHO)
    probe("authzid", log_in(authzid="somebody"), WHO)
    probe("wrong realm", log_in(realm="elsewhere"))
    probe("no realm", log_in(realm=None))
    probe("wrong uri", log_in(**{"digest-uri": "zookeeper/elsewhere"}))
    probe("uri in capitals", log_in(**{"digest-uri": "ZooKeeper/ZK-SASL-MD5"}), WHO)
    probe("no uri", log_in(**{"digest-uri": None}))
    probe("no qop", log_in(qop=None), WHO)
    probe("auth-int", log_in(qop="auth-int"))
    probe("no charset", log_in(charset=None), WHO)
    probe("another charset", log_in(charset="iso-8859-1"))
    probe("no cnonce", log_in(cnonce=None))
    probe("no username", log_in(username=None))
    probe("another nonce", log_in(nonce="abc"))
    probe("no response", log_in(response=None))
    probe("a response in capitals", lambda p: p.sasl(re.sub(rb"response=(\w+)", lambda m: m.group().upper().replace(b"RESPONSE", b"response"), response(p.sasl(b"")))))
    probe("something twice", lambda p: p.sasl(response(p.sasl(b"")) + b",qop=auth"))
    probe("an unknown directive", lambda p: p.sasl(response(p.sasl(b"")) + b", , other=1 ,"), WHO)
    probe("an open quote", lambda p: p.sasl(response(p.sasl(b"")) + b',other="x'))
    probe("an initial response", token(b"x"))
    probe("a null token", token(None))
    probe("too long", token(b""), token(b"a=" + b"x" * 4100))
    probe("empty second token", token(b""), token(b""))
    probe("a second exchange", log_in(), token(b""))
    probe("in the middle of a session", make("/mid", ANYONE), log_in(), WHO)
    probe("auth packet with scheme sasl", ask("auth", auth("sasl", b"bob"), xid=-4))
    probe("ensemble", ask("auth", auth("ensemble", b"prod"), xid=-4), WHO)
    probe("ensemble, another", ask("auth", auth("ensemble", b"other"), xid=-4))
    probe("ensemble, empty", ask("auth", auth("ensemble", b""), xid=-4))


def acl_probes():
    probe("an ACL needs no login", make("/of-bob", BOB))
    for name, ident in (("user@host", "a@b"), ("two slashes", "a/b/c@d"), ("two ats", "a@b@c"), ("empty", ""), ("slash", "a/b")):
        probe(f"sasl id, {name}", make("/id-" + name.replace(" ", "-"), [(31, "sasl", ident)]))
    probe("a stranger", ask("getData", path_watch("/of-bob")))
    probe("its user", log_in(), ask("getACL", ustr("/of-bob")))
    probe("super is every sasl user", log_in("super", "adminsecret"), ask("getACL", ustr("/of-bob")))
    probe("another user", log_in("jörg", "pässword"), ask("getACL", ustr("/of-bob")))
    probe("any user", make("/of-any", [(31, "sasl", "anybody")]), log_in("jörg", "pässword"), ask("getACL", ustr("/of-any")))
    probe("auth", log_in(), make("/by-auth", [(31, "auth", "")]), ask("getACL", ustr("/by-auth")))
    digest = auth("digest", b"ann:secret")
    probe("digest", ask("auth", digest, xid=-4), make("/by-digest", [(31, "auth", "")]), ask("getACL", ustr("/by-digest")), WHO)
    probe("a digest ACL", make("/of-ann", [(31, "digest", "ann:x")]))
    probe("admin by digest", ask("auth", auth("digest", b"super:test"), xid=-4), ask("getACL", ustr("/of-bob")), WHO)


IPS = ["::1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1::2::3", "::", "::/0", "::1/129", "::1/-1", "::ffff:1.2.3.4", "12345::", "g::",
       "+1::", "-1::", ":1", "1:", "1:2", "1.2.3.4/32", "1.2.3.4/33", "01.2.3.4", "+1.2.3.4", "1.2.3", "1.2.3.4.", "1.2.3.4/+8",
       "1.2.3.4/-0", "1.2.3.4/", "localhost", "", "127.0.0.0/8", "fe80::1%lo", "1:2:3:4::5:6:7:8"]


def ip_probes():
    for number, ident in enumerate(IPS):
        probe(f"ip {ident}", make(f"/ip-{number}", [(31, "ip", ident)]), ask("getACL", ustr(f"/ip-{number}")))


def common_probes():
    """What every setting is asked."""
    probe("nobody", WHO, ask("ping", xid=-2))
    probe("nobody reads", ask("exists", path_watch("/")))
    probe("nobody does what is unknown", ask(77))
    probe("nobody leaves", ask("closeSession"))
    probe("sasl", log_in(), WHO)
    probe("sasl, wrong password", log_in("bob", "nope"), WHO)
    probe("sasl, once more after a failure", log_in("bob", "nope"), token(b""), WHO)
    probe("sasl, the user super", log_in("super", "adminsecret"), WHO)
    probe("sasl, the user super by another password", log_in("super", "fromflag"), WHO)
    probe("digest", ANN, WHO, make("/by-digest", [(31, "auth", "")]), ask("getACL", ustr("/by-digest")))
    probe("ip", ask("auth", auth("ip", b""), xid=-4), WHO)
    probe("auth packet with scheme sasl", ask("auth", auth("sasl", b"bob"), xid=-4))
    probe("unknown scheme", ask("auth", auth("nope", b"bob"), xid=-4))
    for name in (b"prod", b"test", b"other", b"", None):
        probe(f"ensemble {name}", ask("auth", auth("ensemble", name), xid=-4), WHO)
    probe("sasl ACL", ANN, log_in(), make("/of-eve", [(31, "sasl", "eve")]), ask("getACL", ustr("/of-eve")))
    probe("digest ACL", log_in(), make("/of-x", [(31, "digest", "x:y")]), ask("getACL", ustr("/of-x")))
    probe("sasl ACL of anybody", log_in(), make("/of-any", [(31, "sasl", "anybody")]), ask("getACL", ustr("/of-any")))


PROVIDER = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
ENSEMBLE = "authProvider.2=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider"
USERS = "java.security.auth.login.config=JAAS"
SETTINGS = {
    "users": ([USERS, PROVIDER], (sasl_probes, acl_probes, ip_probes)),
    "plain": ([], (common_probes,)),
    "another section": ([USERS, PROVIDER, "sasl.serverconfig=Other"], (common_probes,)),
    "no such section": ([USERS, PROVIDER, "sasl.serverconfig=Nowhere"], (common_probes,)),
    "everything": ([USERS, PROVIDER, ENSEMBLE, "ensembleAuthName=prod, test", "letAnySaslUserDoX=anybody", "superUser.1=bob",
                    "SASLAuthenticationProvider.superPassword=fromflag"], (common_probes,)),
    "any ensemble": ([ENSEMBLE], (common_probes,)),
    "sasl required": ([USERS, PROVIDER, "sessionRequireClientSASLAuth=true"], (common_probes,)),
    "failed clients stay": ([USERS, PROVIDER, "allowSaslFailedClients=true"], (common_probes,)),
    "failed clients do not stay where sasl is required": ([USERS, PROVIDER, "allowSaslFailedClients=true", "enforce.auth.enabled=true",
                                                           "enforce.auth.schemes=sasl"], (common_probes,)),
    "digest or sasl required": ([USERS, PROVIDER, "enforce.auth.enabled=true", "enforce.auth.schemes=digest, sasl"],
                                (common_probes,)),
    "sha-256": (["DigestAuthenticationProvider.digestAlg=SHA-256"], (common_probes,)),
    "no digest": ([USERS, PROVIDER, "DigestAuthenticationProvider.enabled=false"], (common_probes,)),
    "no acl": ([USERS, PROVIDER, "skipACL=yes"], (common_probes,)),
}


def run_probes(setting):
    for probes in SETTINGS[setting][1]:
        probes()


def java_argument(setting):
    key, value = setting.split("=", 1)
    prefix = "" if key.startswith("java.") else "zookeeper."
    return f"--jvm=-D{prefix}{key}={value}".replace("=JAAS", "=" + JAAS).split("=", 1)


def record():
    from capture import Server
    out = ["# How ZooKeeper 3.9.5 answers the probes of auth_script.py, which wrote this. Do not edit.", ""]
    for name, (settings, _) in SETTINGS.items():
        out += [f"[{name}]"] + [f"set {setting}" for setting in settings]
        arguments = [word for setting in settings for word in java_argument(setting)]
        with Server("3.9.5", *arguments) as server:
            command = [sys.executable, __file__, "--port", str(server.port), "--setting", name]
            out += subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines() + [""]
        print(name, file=sys.stderr)
    with open(EXPECTED, "w", encoding="utf-8") as f:
        f.write("\n".join(out))


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--setting", choices=SETTINGS)
    parser.add_argument("--trace", action="store_true", help="show the SASL tokens on stderr")
    parser.add_argument("--record", action="store_true", help="ask ZooKeeper 3.9.5 and write auth.expected")
    OPTIONS = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")
    if OPTIONS.record:
        record()
    elif OPTIONS.port and OPTIONS.setting:
        run_probes(OPTIONS.setting)
    else:
        parser.error("needs --port and --setting, or --record")


if __name__ == "__main__":
    main()
