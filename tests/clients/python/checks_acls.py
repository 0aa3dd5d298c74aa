"""ACLs: world, digest, auth, ip; each permission; masked ids; versions; the super user (only when its password is given)."""

import ipaddress

from kazoo.exceptions import AuthFailedError, BadVersionError, InvalidACLError, NoAuthError
from kazoo.protocol.serialization import SetACL
from kazoo.security import (
    ACL,
    ANYONE_ID_UNSAFE,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Id,
    Permissions,
    make_acl,
    make_digest_acl,
)

from suite import call_raw, check, check_if, expect, expect_raises

OWNER = ("digest", "owner:secret")
"""The credentials that the clean-up has, too."""


@check
def open_acl(context):
    client, path = context.client(), context.root + "/n"
    client.create(path)
    acls, stat = client.get_acls(path)
    expect(acls, OPEN_ACL_UNSAFE, "default ACL")
    expect(stat, client.exists(path), "Stat of get_acls")


@check
def digest_acl(context):
    owner, other, path = context.client(auth_data=[OWNER]), context.client(), context.root + "/n"
    owner.create(path, b"x", acl=[make_digest_acl("owner", "secret", all=True)])
    expect(owner.get(path)[0], b"x", "the owner reads")
    for call in (lambda: other.get(path), lambda: other.set(path, b""), lambda: other.get_children(path),
                 lambda: other.create(path + "/c"), lambda: other.set_acls(path, OPEN_ACL_UNSAFE)):
        expect_raises(NoAuthError, call)
    other.add_auth("digest", "owner:wrong")
    expect_raises(NoAuthError, other.get, path)
    other.add_auth(*OWNER)
    expect(other.get(path)[0], b"x", "after add_auth")


@check
def auth_acl_becomes_the_callers_ids(context):
    owner, path = context.client(auth_data=[OWNER]), context.root + "/n"
    owner.create(path, acl=[ACL(Permissions.ALL, Id("auth", ""))])
    expect(owner.get_acls(path)[0], [make_digest_acl("owner", "secret", all=True)], "the expanded ACL")
    expect_raises(NoAuthError, context.client().get, path)


@check
def auth_acl_without_credentials_is_invalid(context):
    client = context.client()
    expect_raises(InvalidACLError, client.create, context.root + "/n", acl=[ACL(Permissions.ALL, Id("auth", ""))])


@check
def invalid_acls(context):
    client, path = context.client(), context.root + "/n"
    client.create(path)
    for scheme, name in (("nosuchscheme", "x"), ("ip", "no address"), ("digest", "nocolon"), ("world", "somebody")):
        acl = [ACL(Permissions.ALL, Id(scheme, name))]
        expect_raises(InvalidACLError, client.create, context.root + "/bad", acl=acl)
        expect_raises(InvalidACLError, client.set_acls, path, acl)
    expect_raises(InvalidACLError, call_raw, client, SetACL(path, [], -1))


@check
def ip_acl(context):
    client = context.client()
    mine = client._connection._socket.getsockname()[0]
    network = ipaddress.ip_network(mine).supernet(8)
    client.create(context.root + "/mine", b"x", acl=[make_acl("ip", mine, all=True)])
    expect(client.get(context.root + "/mine")[0], b"x", "own address")
    client.create(context.root + "/network", b"x", acl=[make_acl("ip", str(network), all=True)])
    expect(client.get(context.root + "/network")[0], b"x", "own network")
    client.create(context.root + "/other", b"x", acl=[make_acl("ip", "203.0.113.7", all=True)])
    expect_raises(NoAuthError, client.get, context.root + "/other")


@check
def each_permission(context):
    """With only one permission granted to the world, exactly the calls that it covers work. Delete is asked of the parent."""
    owner, client = context.client(auth_data=[OWNER]), context.client()
    own = make_digest_acl("owner", "secret", all=True)
    grants = {"read": 1, "write": 2, "create": 4, "delete": 8, "admin": 16}
    for name, bit in grants.items():
        path = f"{context.root}/{name}"
        owner.create(path, acl=[own, ACL(bit, ANYONE_ID_UNSAFE)])
        owner.create(path + "/victim")
        calls = {
            "read": lambda: (client.get(path), client.get_children(path)),
            "write": lambda: client.set(path, b"w"),
            "create": lambda: client.create(path + "/new"),
            "delete": lambda: client.delete(path + "/victim"),
            "admin": lambda: client.set_acls(path, [own, ACL(bit, ANYONE_ID_UNSAFE)]),
        }
        for call_name, call in calls.items():
            if call_name == name:
                call()
            else:
                expect_raises(NoAuthError, call)


@check
def read_only_world(context):
    client, path = context.client(), context.root + "/n"
    client.create(path, b"x", acl=READ_ACL_UNSAFE)
    expect(client.get(path)[0], b"x", "read")
    expect_raises(NoAuthError, client.set, path, b"y")


@check
def digest_ids_are_masked_without_admin(context):
    owner, reader, path = context.client(auth_data=[OWNER]), context.client(), context.root + "/n"
    owner.create(path, acl=[make_digest_acl("owner", "secret", all=True), ACL(Permissions.READ, ANYONE_ID_UNSAFE)])
    seen = {acl.id.scheme: acl.id.id for acl in reader.get_acls(path)[0]}
    expect(seen, {"digest": "owner:x", "world": "anyone"}, "ids seen by a reader")


@check
def set_acls_compares_the_acl_version(context):
    client, path = context.client(), context.root + "/n"
    client.create(path)
    client.set(path, b"data versions do not count")
    expect(client.set_acls(path, OPEN_ACL_UNSAFE, version=0).aversion, 1, "aversion")
    expect_raises(BadVersionError, client.set_acls, path, OPEN_ACL_UNSAFE, version=0)


@check
def failed_authentication(context):
    """An unknown scheme is answered with AuthFailed, and the connection closed."""
    expect_raises(AuthFailedError, context.client().add_auth, "nosuchscheme", "x")


@check_if(lambda options: options.super_auth)
def super_user(context):
    owner, path = context.client(auth_data=[OWNER]), context.root + "/n"
    owner.create(path, b"x", acl=[make_digest_acl("owner", "secret", all=True)])
    admin = context.client(auth_data=[("digest", context.options.super_auth)])
    expect(admin.get(path)[0], b"x", "the super user reads")
    admin.set_acls(path, OPEN_ACL_UNSAFE)
    expect(context.client().get(path)[0], b"x", "after the super user opened it")
