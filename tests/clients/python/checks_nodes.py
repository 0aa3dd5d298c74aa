"""Nodes: create, read, write, delete, list; every field of Stat; paths, sequence numbers, ephemerals, errors."""

from collections import namedtuple

from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from kazoo.protocol.serialization import Create, int_struct, read_string, write_string
from kazoo.security import OPEN_ACL_UNSAFE

from suite import call_raw, check, expect, expect_raises

SESSION_MASK = (1 << 64) - 1


def expect_stat(stat, what, **fields):
    """Compare the named Stat fields."""
    for field, wanted in fields.items():
        expect(getattr(stat, field), wanted, f"{what}: {field}")


@check
def create_get_set_delete(context):
    client, path = context.client(), context.root + "/n"
    expect(client.create(path, b"one"), path, "created path")
    data, stat = client.get(path)
    expect(data, b"one", "data")
    expect_stat(stat, "new", version=0, dataLength=3)
    expect_stat(client.set(path, b"three"), "set", version=1, dataLength=5)
    expect(client.get(path)[0], b"three", "data after set")
    expect(client.delete(path), True, "delete")
    expect(client.exists(path), None, "exists after delete")
    expect_raises(NoNodeError, client.get, path)


@check
def empty_data(context):
    client, path = context.client(), context.root + "/n"
    client.create(path, b"")
    data, stat = client.get(path)
    expect((data, stat.dataLength), (b"", 0), "empty node")
    client.set(path, b"x")
    expect_stat(client.set(path, b""), "emptied", dataLength=0, version=2)


@check
def create_with_stat(context):
    """create2: path and Stat in one reply."""
    client, path = context.client(), context.root + "/n"
    created, stat = client.create(path, b"data", include_data=True)
    expect(created, path, "path")
    expect(stat, client.exists(path), "Stat of create2 and of exists")
    expect_stat(stat, "create2", dataLength=4, version=0, numChildren=0)


@check
def children(context):
    client = context.client()
    names = {f"c{i}" for i in range(20)}
    for name in names:
        client.create(f"{context.root}/{name}")
    expect(set(client.get_children(context.root)), names, "children")
    listed, stat = client.get_children(context.root, include_data=True)
    expect(set(listed), names, "children with Stat")
    expect_stat(stat, "parent", numChildren=20, cversion=20)
    client.delete(context.root + "/c3")
    expect(set(client.get_children(context.root)), names - {"c3"}, "children after delete")


@check
def stat_of_a_new_node(context):
    client, path = context.client(), context.root + "/n"
    client.create(path, b"12345")
    created_at, stat = client.last_zxid, client.exists(path)
    expect_stat(stat, "new", version=0, cversion=0, aversion=0, ephemeralOwner=0, dataLength=5, numChildren=0)
    expect((stat.mzxid, stat.pzxid), (stat.czxid, stat.czxid), "mzxid and pzxid of a new node")
    expect(stat.mtime, stat.ctime, "mtime of a new node")
    expect(stat.czxid, created_at, "czxid and the reply header's zxid")


@check
def stat_after_set(context):
    client, path = context.client(), context.root + "/n"
    client.create(path, b"1")
    before, after = client.exists(path), client.set(path, b"22")
    expect(after, client.exists(path), "Stat in the reply of set and of exists")
    expect_stat(after, "set", version=1, cversion=0, aversion=0, dataLength=2, czxid=before.czxid, pzxid=before.pzxid,
                ctime=before.ctime)
    expect(after.mzxid > before.mzxid, True, "mzxid grows")
    expect(after.mtime >= before.mtime, True, "mtime does not go back")


@check
def stat_of_a_parent(context):
    """A child's creation and removal move cversion, pzxid and numChildren, and nothing else; a child's data moves nothing."""
    client, path = context.client(), context.root + "/n"
    client.create(path, b"1")
    empty = client.exists(path)
    client.create(path + "/c")
    child, one = client.exists(path + "/c"), client.exists(path)
    expect(one, empty._replace(cversion=1, numChildren=1, pzxid=child.czxid), "parent after a child's create")
    client.set(path + "/c", b"new")
    expect(client.exists(path), one, "parent after a child's set")
    client.create(path + "/d")
    client.delete(path + "/c")
    deleted_at, two = client.last_zxid, client.exists(path)
    expect_stat(two, "parent after create and delete", cversion=3, numChildren=1, version=0, mzxid=empty.mzxid)
    expect(two.pzxid, deleted_at, "pzxid and the zxid of the delete's reply")


@check
def stat_after_set_acls(context):
    client, path = context.client(), context.root + "/n"
    client.create(path, b"1")
    before = client.exists(path)
    client.set_acls(path, OPEN_ACL_UNSAFE)
    expect(client.exists(path), before._replace(aversion=1), "Stat after set_acls")


@check
def stat_of_an_ephemeral(context):
    client, path = context.client(), context.root + "/n"
    client.create(path, b"1", ephemeral=True)
    owner = client.exists(path).ephemeralOwner
    expect(owner & SESSION_MASK, client.client_id[0] & SESSION_MASK, "ephemeralOwner and session id")


@check
def versions_are_compared(context):
    client, path = context.client(), context.root + "/n"
    client.create(path)
    client.set(path, b"a", version=0)
    expect_raises(BadVersionError, client.set, path, b"b", version=0)
    expect(client.get(path)[0], b"a", "data after the refused set")
    expect_raises(BadVersionError, client.delete, path, version=0)
    client.delete(path, version=1)


@check
def errors_of_create(context):
    client, path = context.client(), context.root + "/n"
    client.create(path)
    expect_raises(NodeExistsError, client.create, path)
    expect_raises(NoNodeError, client.create, context.root + "/missing/child")
    client.create(path + "/e", ephemeral=True)
    expect_raises(NoChildrenForEphemeralsError, client.create, path + "/e/child")


@check
def errors_of_delete_and_set(context):
    client, path = context.client(), context.root + "/n"
    expect_raises(NoNodeError, client.delete, path)
    expect_raises(NoNodeError, client.set, path, b"")
    expect_raises(NoNodeError, client.get_children, path)
    client.create(path + "/c", makepath=True)
    expect_raises(NotEmptyError, client.delete, path)
    client.delete(path, recursive=True)
    expect(client.exists(path), None, "exists after a recursive delete")


@check
def bad_paths_are_refused(context):
    """kazoo normalizes paths itself, so these go out raw. ZooKeeper looks for the parent before it looks at the path's parts."""
    client, root = context.client(), context.root
    for bad in ("relative", root + "/.", root + "/..", root + "/nul\x00", root + "/bell\x07", root + "/\ufff0"):
        expect_raises(BadArgumentsError, call_raw, client, Create(bad, b"", OPEN_ACL_UNSAFE, 0))
    for orphan in (root + "//x", root + "/x/", root + "/./x", root + "/../x"):
        expect_raises(NoNodeError, call_raw, client, Create(orphan, b"", OPEN_ACL_UNSAFE, 0))
    expect(client.get_children(context.root), [], "children after the refused creates")


@check
def unicode_paths_and_data(context):
    client = context.client()
    names = {"grüße", "日本語", "Ελλάδα", "with space", "é-combining", "\u00a0"}
    for name in names:
        client.create(f"{context.root}/{name}", name.encode())
    expect(set(client.get_children(context.root)), names, "children")
    for name in names:
        expect(client.get(f"{context.root}/{name}")[0].decode(), name, "data")


@check
def characters_beyond_the_first_plane_are_refused(context):
    """Java sees them as surrogates, which path rules exclude."""
    expect_raises(BadArgumentsError, context.client().create, context.root + "/\U0001f600")


@check
def sequence_numbers(context):
    """Ten digits, from the parent's count of creates: plain creates count, deletes do not take back, the prefix does not matter."""
    client, path = context.client(), context.root
    expect(client.create(path + "/a-", sequence=True), path + "/a-0000000000", "first")
    client.create(path + "/plain")
    expect(client.create(path + "/b-", sequence=True), path + "/b-0000000002", "after a plain create")
    client.delete(path + "/b-0000000002")
    expect(client.create(path + "/a-", sequence=True), path + "/a-0000000003", "after a delete")
    expect(client.create(path + "/", sequence=True), path + "/0000000004", "without a prefix")
    owned = client.create(path + "/e-", sequence=True, ephemeral=True)
    expect(owned, path + "/e-0000000005", "ephemeral sequential")
    expect(client.exists(owned).ephemeralOwner & SESSION_MASK, client.client_id[0] & SESSION_MASK, "owner")


@check
def ephemerals_vanish_on_close(context):
    observer, owner = context.client(), context.client()
    for i in range(10):
        owner.create(f"{context.root}/e{i}", ephemeral=True)
    owner.create(context.root + "/stays")
    expect(len(observer.get_children(context.root)), 11, "children while the session lives")
    owner.stop()
    observer.sync(context.root)
    expect(observer.get_children(context.root), ["stays"], "children after close")


class GetEphemerals(namedtuple("GetEphemerals", "path")):
    """Opcode 103, which kazoo has no method for."""

    type = 103

    def serialize(self):
        return write_string(self.path)

    @classmethod
    def deserialize(cls, data, offset):
        count, paths = int_struct.unpack_from(data, offset)[0], []
        offset += int_struct.size
        for _ in range(max(count, 0)):
            path, offset = read_string(data, offset)
            paths.append(path)
        return paths


@check
def get_ephemerals(context):
    mine, other = context.client(), context.client()
    for name in ("a1", "a2", "b1"):
        mine.create(f"{context.root}/{name}", ephemeral=True)
    other.create(context.root + "/a3", ephemeral=True)
    found = call_raw(mine, GetEphemerals(context.root + "/a"))
    expect(set(found), {context.root + "/a1", context.root + "/a2"}, "own ephemerals with the prefix")
    expect(len(call_raw(mine, GetEphemerals("/"))), 3, "all own ephemerals")
    expect(call_raw(other, GetEphemerals(context.root + "/b")), [], "none with that prefix")


@check
def chroot(context):
    inside, outside = context.client(chroot=context.root), context.client()
    expect(inside.create("/in", b"x"), "/in", "path seen inside")
    expect(outside.get(context.root + "/in")[0], b"x", "data seen outside")
    expect(inside.get_children("/"), ["in"], "children of the chroot")


@check
def reserved_nodes_exist(context):
    client = context.client()
    expect("zookeeper" in client.get_children("/"), True, "/zookeeper in the root")
    for path in ("/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        expect(client.exists(path) is not None, True, f"{path} exists")
    expect_raises(BadArgumentsError, client.delete, "/zookeeper")


@check
def four_letter_word_srvr(context):
    answer = context.client().command(b"srvr")
    expect(answer.startswith("Zookeeper version"), True, "srvr starts with the version")
    expect("Mode:" in answer and "Zxid: 0x" in answer, True, "srvr names mode and zxid")
