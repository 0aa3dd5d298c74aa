"""kazoo against a server with SASL users: right and wrong password, no password, and ACLs that name a user.

usage: kazoo_sasl.py [--required] host:port        (--required: the server runs with sessionRequireClientSASLAuth)
"""

import logging
import sys
import threading
import uuid

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, KazooException, NoAuthError, SessionClosedRequireSaslError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_acl

WAIT_SECONDS = 20
PATIENCE_SECONDS = 5


def client(hosts, user=None, password=None):
    options = {"mechanism": "DIGEST-MD5", "username": user, "password": password} if user else None
    return KazooClient(hosts=hosts, sasl_options=options)


def started(hosts, *args):
    zk = client(hosts, *args)
    zk.start(timeout=WAIT_SECONDS)
    return zk


def right_password_and_an_acl(hosts, required):
    bob, path = started(hosts, "bob", "bobsecret"), f"/sasl-{uuid.uuid4().hex}"
    bob.create(path, b"x", acl=[make_acl("sasl", "bob", all=True)])
    assert bob.get(path)[0] == b"x"
    other = started(hosts, "super", "adminsecret")
    assert other.get(path)[0] == b"x", "the SASL user super may do what any SASL user may"
    if not required:
        nobody = started(hosts)
        try:
            nobody.get(path)
            raise AssertionError("read by nobody")
        except NoAuthError:
            pass
        nobody.stop()
    other.stop()
    bob.delete(path)
    bob.stop()


def wrong_password(hosts, required):
    refused(client(hosts, "bob", "nope"), required)


def unknown_user(hosts, required):
    refused(client(hosts, "eve", "nope"), required)


def refused(zk, required):
    """kazoo's connection thread hears why, and ends with it; the user's thread sees a client that answers nothing, be it started or not."""
    ended, reasons = threading.Event(), []

    def thread_ended(args):
        reasons.append(args.exc_type)
        ended.set()

    threading.excepthook = thread_ended
    try:
        zk.start(timeout=PATIENCE_SECONDS)
        zk.exists_async("/").get(timeout=PATIENCE_SECONDS)
        raise AssertionError("served after a failed login")
    except (KazooException, KazooTimeoutError) as error:
        if required:
            assert ended.wait(WAIT_SECONDS) and reasons == [SessionClosedRequireSaslError], (reasons, error)
        else:
            assert isinstance(error, AuthFailedError), repr(error)
    finally:
        zk.stop()


def nobody(hosts, required):
    """A client without SASL connects; where SASL is required, its first request ends that."""
    zk = started(hosts)
    try:
        zk.exists_async("/").get(timeout=WAIT_SECONDS)
        assert not required, "served without SASL"
    except KazooException as error:
        assert required and isinstance(error, SessionClosedRequireSaslError), repr(error)
    zk.stop()


def main():
    logging.disable(logging.CRITICAL)
    hosts, required = sys.argv[-1], "--required" in sys.argv
    passed = failed = 0
    for check in (right_password_and_an_acl, wrong_password, unknown_user, nobody):
        try:
            check(hosts, required)
            passed += 1
            print(f"ok kazoo_{check.__name__}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL kazoo_{check.__name__}: {type(error).__name__}: {error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
