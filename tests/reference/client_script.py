"""The script of client requests whose bytes become proto/vectors/client-*.txt. Run by capture.py against an empty server.

Each step names its request and says what it shows; the reply, the events before it or the end of the connection are recorded under
the same name. Steps depend on the ones before (the tree grows), so new steps go to the end of their section.
"""

import zkwire
from zkwire import ANYONE, Conn, create, create_ttl, multi, path_int, path_watch, set_acl, set_data, set_watches, ustr, vec


class Vector:
    def __init__(self, kind, name, op, data, comment, fields=None):
        self.kind, self.name, self.op, self.data, self.comment, self.fields = kind, name, op, data, comment, fields


class Recorder:
    """Sends requests on one connection and keeps what was said."""

    def __init__(self, port, out):
        self.port, self.out, self.conn = port, out, Conn(port)

    def add(self, kind, name, op, data, comment="", fields=None):
        assert not any(v.kind == kind and v.name == name for v in self.out), f"{kind} {name} twice"
        self.out.append(Vector(kind, name, op, data, comment, fields))

    def connect(self, name, comment, **kwargs):
        request = zkwire.connect_request(**kwargs)
        self.add("connect", name, 0, request, comment)
        self.conn.send(request)
        try:
            reply = self.conn.recv()
        except zkwire.Closed:
            self.add("closed", name, 0, b"", "the server closed the connection without an answer")
            return
        fields = zkwire.decode_connect(reply)
        self.conn.session, self.conn.password = fields["sessionId"], reply[20:36]
        self.add("accepted", name, 0, reply, "", fields)

    def step(self, name, op, body=b"", comment="", xid=None):
        """One request and its reply. Returns the reply's fields, or None when the connection was closed instead."""
        number = zkwire.OPS.get(op, op)
        frame = self.conn.frame(op, body, xid)
        self.add("request", name, number, frame, comment)
        self.conn.events.clear()
        try:
            self.conn.send(frame)
            reply = self.conn.reply()
        except zkwire.Closed:
            self.events(name)
            self.add("closed", name, number, b"", "the server closed the connection without a reply")
            self.reopen()
            return None
        except TimeoutError:
            self.events(name)
            self.add("silent", name, number, b"", "no reply, and the connection stays open")
            self.reopen()
            return None
        self.events(name)
        fields = zkwire.decode_reply(number, reply)
        self.add("reply", name, number, reply, "", fields)
        return fields

    def reopen(self):
        """The same session on a new connection, so that the script goes on (its watches are gone)."""
        old = self.conn
        self.conn = Conn(self.port)
        self.conn.connect(session=old.session, password=old.password)
        self.conn.xid = old.xid

    def events(self, name):
        for i, frame in enumerate(self.conn.events, 1):
            self.add("event", f"{name}.{i}", 0, frame, f"arrived before the reply of {name}", zkwire.decode_event(frame))


def run(port):
    """The whole script; returns the vectors."""
    out = []
    main = connects(port, out)
    creates(main)
    reads(main)
    writes(main)
    acls(main)
    multis(main)
    watches(main)
    set_watches_section(main)
    extras(main)
    events_to_others(port, out)
    ends(port, out, main)
    return out


def connects(port, out):
    old = Recorder(port, out)
    old.connect("connect_without_read_only_byte", "an old client: no readOnly byte, so none in the answer", read_only=None)
    old.step("close_first", "closeSession", b"", "closeSession has no body, and its reply none either")
    main = Recorder(port, out)
    main.connect("connect_new", "a new session, 30 s asked", timeout_ms=30000)
    session, password = main.conn.session, main.conn.password
    main.conn.close()
    main = Recorder(port, out)
    main.connect("connect_again", "the same session with its password, and readOnly set", session=session, password=password, read_only=True)
    wrong = Recorder(port, out)
    wrong.connect("connect_unknown_session", "a session that does not exist: time-out 0, session 0", session=0x1234567890abcdef)
    Recorder(port, out).connect("connect_ahead", "lastZxidSeen beyond the server's", last_zxid=1 << 40)
    short = Recorder(port, out)
    short.connect("connect_short_password", "a new session with an empty password", password=b"")
    short = Recorder(port, out)
    short.connect("connect_null_password", "a new session with the null password", password=None)
    return main


def creates(m):
    m.step("ping", "ping", b"", "xid -2", xid=-2)
    m.step("create_persistent", "create", create("/a", b"hello"), "flags 0")
    m.step("create_ephemeral", "create", create("/e", b"eph", flags=1), "flags 1")
    m.step("create_sequential", "create", create("/a/s-", b"", flags=2), "flags 2, empty data")
    m.step("create_ephemeral_sequential", "create", create("/a/es-", b"x", flags=3), "flags 3")
    m.step("create_flag_container", "create", create("/a/cont1", b"", flags=4), "opcode create with flags 4")
    m.step("create_flag_ttl", "create", create("/a/ttl1", b"", flags=5), "opcode create with flags 5: no ttl in the body")
    m.step("create_flag_ttl_sequential", "create", create("/a/ttl1-", b"", flags=6), "opcode create with flags 6: no ttl in the body")
    m.step("create2_persistent", "create2", create("/b", b"world"), "flags 0")
    m.step("create2_ephemeral", "create2", create("/a/e2", b"", flags=1), "flags 1")
    m.step("create2_sequential", "create2", create("/a/s2-", b"", flags=2), "flags 2")
    m.step("create2_ephemeral_sequential", "create2", create("/a/es2-", b"", flags=3), "flags 3")
    m.step("createContainer", "createContainer", create("/c", b"cont", flags=4), "flags 4")
    m.step("createTTL", "createTTL", create_ttl("/t", b"ttl", flags=5, ttl=3600000), "flags 5, one hour")
    m.step("createTTL_sequential", "createTTL", create_ttl("/t-", b"ttl", flags=6, ttl=3600000), "flags 6")
    m.step("createTTL_zero", "createTTL", create_ttl("/tz", b"", flags=5, ttl=0), "ttl 0 is not allowed")
    m.step("createTTL_too_large", "createTTL", create_ttl("/tz", b"", flags=5, ttl=1 << 40), "ttl of 2^40 is one too many")
    m.step("create_null_data", "create2", create("/null", None), "data is the null buffer")
    m.step("create_empty_data", "create2", create("/empty", b""), "data of length 0")
    m.step("create_unicode", "create2", create("/\u00e9\u4e2d\u6587\u0416", b"u"), "two- and three-byte characters")
    m.step("create_emoji", "create2", create("/\U0001f600", b"u"), "a character beyond U+FFFF (a surrogate pair in Java)")
    m.step("create_exists", "create", create("/a"), "NodeExists")
    m.step("create2_exists", "create2", create("/a"), "NodeExists")
    m.step("create_no_parent", "create", create("/no/x"), "NoNode: the parent is missing")
    m.step("create_under_ephemeral", "create", create("/e/x"), "NoChildrenForEphemerals")
    m.step("create_null_acl", "create", create("/x", b"", None), "ACL list null: InvalidACL")
    m.step("create_empty_acl", "create", create("/x", b"", []), "ACL list empty: InvalidACL")
    m.step("create_unknown_scheme", "create", create("/x", b"", [(31, "nope", "x")]), "InvalidACL")
    m.step("create_bad_flags", "create", create("/x", b"", flags=99), "flags 99")
    m.step("create_bad_path", "create", create("x"), "no leading slash: BadArguments")
    m.step("create_null_path", "create", create(None), "path null")


def reads(m):
    m.step("exists", "exists", path_watch("/a"), "Stat of a node with children")
    m.step("exists_missing", "exists", path_watch("/missing"), "NoNode")
    m.step("getData", "getData", path_watch("/a"), "data and Stat")
    m.step("getData_null", "getData", path_watch("/null"), "data is null")
    m.step("getData_empty", "getData", path_watch("/empty"), "data is empty")
    m.step("getData_ephemeral", "getData", path_watch("/e"), "ephemeralOwner is the session")
    m.step("getData_container", "getData", path_watch("/c"), "ephemeralOwner of a container as a client sees it")
    m.step("getData_ttl", "getData", path_watch("/t"), "ephemeralOwner of a TTL node as a client sees it")
    m.step("getData_unicode", "getData", path_watch("/\u00e9\u4e2d\u6587\u0416"), "")
    m.step("getData_missing", "getData", path_watch("/missing"), "NoNode")
    m.step("getACL", "getACL", ustr("/a"), "")
    m.step("getACL_missing", "getACL", ustr("/missing"), "NoNode")
    m.step("getChildren", "getChildren", path_watch("/a"), "names only, in no order")
    m.step("getChildren_none", "getChildren", path_watch("/b"), "an empty list")
    m.step("getChildren_missing", "getChildren", path_watch("/missing"), "NoNode")
    m.step("getChildren2", "getChildren2", path_watch("/a"), "names and Stat")
    m.step("getChildren2_root", "getChildren2", path_watch("/"), "")
    m.step("getChildren2_missing", "getChildren2", path_watch("/missing"), "NoNode")
    m.step("sync", "sync", ustr("/a"), "the path comes back")
    m.step("sync_missing", "sync", ustr("/missing"), "the node need not exist")
    m.step("getEphemerals", "getEphemerals", ustr("/"), "of this session, in no order")
    m.step("getEphemerals_prefix", "getEphemerals", ustr("/a/e"), "a prefix of the string, not of components")
    m.step("getEphemerals_none", "getEphemerals", ustr("/none"), "an empty list")
    m.step("getEphemerals_null", "getEphemerals", ustr(None), "null prefix: all")
    m.step("getAllChildrenNumber", "getAllChildrenNumber", ustr("/"), "all descendants")
    m.step("getAllChildrenNumber_leaf", "getAllChildrenNumber", ustr("/e"), "an ephemeral: 0")
    m.step("getAllChildrenNumber_missing", "getAllChildrenNumber", ustr("/missing"), "NoNode")
    m.step("whoAmI", "whoAmI", b"", "no body in the request")


def writes(m):
    m.step("setData", "setData", set_data("/a", b"hello2"), "version -1: any")
    m.step("setData_version", "setData", set_data("/a", b"hello3", 1), "the right version")
    m.step("setData_bad_version", "setData", set_data("/a", b"z", 1), "BadVersion")
    m.step("setData_null", "setData", set_data("/b", None), "null data")
    m.step("setData_empty", "setData", set_data("/b", b""), "empty data")
    m.step("setData_missing", "setData", set_data("/missing", b""), "NoNode")
    m.step("delete", "delete", path_int("/b", 2), "with the right version; a reply without body")
    m.step("delete_missing", "delete", path_int("/b"), "NoNode")
    m.step("delete_bad_version", "delete", path_int("/e", 7), "BadVersion")
    m.step("delete_not_empty", "delete", path_int("/a"), "NotEmpty")
    m.step("delete_root", "delete", path_int("/"), "BadArguments")
    m.step("delete_zookeeper", "delete", path_int("/zookeeper"), "BadArguments")


def acls(m):
    digest = [(31, "digest", "bob:H/yrfl/C+vCUzEKsO8w9SZPJ7Nc="), (1, "world", "anyone")]
    m.step("auth_digest", "auth", zkwire.auth("digest", b"bob:secret"), "auth succeeds: xid -4, header zxid 0", xid=-4)
    m.step("whoAmI_digest", "whoAmI", b"", "ip and digest")
    m.step("create_acl_auth", "create2", create("/acl", b"", [(31, "auth", "")]), "scheme auth stands for this connection's ids")
    m.step("getACL_auth", "getACL", ustr("/acl"), "what became of it")
    m.step("create_acl_two", "create2", create("/acl2", b"", digest), "two entries, digest and world")
    m.step("setACL", "setACL", set_acl("/a", [(31, "world", "anyone"), (1, "ip", "127.0.0.1/8")]), "")
    m.step("getACL_two", "getACL", ustr("/a"), "")
    m.step("setACL_version", "setACL", set_acl("/a", ANYONE, 1), "aversion 1")
    m.step("setACL_bad_version", "setACL", set_acl("/a", ANYONE, 9), "BadVersion")
    m.step("setACL_null", "setACL", set_acl("/a", None), "InvalidACL")
    m.step("setACL_empty", "setACL", set_acl("/a", []), "InvalidACL")
    m.step("setACL_missing", "setACL", set_acl("/missing", ANYONE), "NoNode")
    m.step("setACL_no_admin", "setACL", set_acl("/acl2", ANYONE), "NoAuth: this digest is another password's")
    m.step("getACL_masked", "getACL", ustr("/acl2"), "READ without ADMIN: digest ids are masked")
    m.step("setData_no_auth", "setData", set_data("/acl2", b"x"), "NoAuth")


def multis(m):
    good = [("create", create("/m", b"1")), ("create2", create("/m/a", b"2")), ("createContainer", create("/m/c", b"", flags=4)),
            ("createTTL", create_ttl("/m/t", b"", flags=5, ttl=90000)), ("setData", set_data("/m", b"3", 0)),
            ("check", path_int("/m", 1)), ("delete", path_int("/m/a", 0))]
    m.step("multi_all_kinds", "multi", multi(good), "every kind of sub-operation, all succeed")
    m.step("multi_empty", "multi", multi([]), "no operation at all")
    m.step("multi_one", "multi", multi([("setData", set_data("/m", b"4"))]), "one operation")
    ok = [("check", path_int("/m")), ("setData", set_data("/m", b"x")), ("create", create("/m/x"))]
    bad = ("delete", path_int("/missing"))
    for at, word in enumerate(("first", "second", "third", "last")):
        m.step(f"multi_fails_{word}", "multi", multi(ok[:at] + [bad] + ok[at:]),
               f"operation {at} fails with NoNode: before it 0, after it RuntimeInconsistency (-2); header err 0")
    m.step("multi_check_fails", "multi", multi([("check", path_int("/m", 55)), ("delete", path_int("/m/x"))]), "BadVersion")
    m.step("multi_two_bad", "multi", multi([bad, ("create", create("/a"))]), "only the first failure is named")
    m.step("multi_create_then_delete", "multi", multi([("create", create("/m/y")), ("delete", path_int("/m/y"))]), "sees its own effects")
    m.step("multi_bad_flags", "multi", multi([("create", create("/m/z", flags=99))]), "create with flags 99 inside")
    m.step("multi_null_acl", "multi", multi([("create", create("/m/z", b"", None))]), "create with a null ACL list inside")
    m.step("multi_unknown_op", "multi", multi([("setData", set_data("/m", b"x")), (77, b"")]), "a sub-operation 77")
    m.step("multi_read_inside", "multi", multi([("setData", set_data("/m", b"x")), ("getData", path_watch("/m"))]), "reads and writes mixed")
    m.step("multiRead", "multiRead", multi([("getData", path_watch("/a")), ("getChildren", path_watch("/a")), ("getData", path_watch("/missing")),
                                            ("getData", path_watch("/acl2"))]), "successes and one NoNode")
    m.step("multiRead_empty", "multiRead", multi([]), "no operation at all")
    m.step("multiRead_null_data", "multiRead", multi([("getData", path_watch("/null"))]), "null data inside")
    m.step("multiRead_write_inside", "multiRead", multi([("setData", set_data("/m", b"x"))]), "a write inside")


def watches(m):
    m.step("w_exists", "exists", path_watch("/w", True), "watch on a missing node")
    m.step("w_created", "create", create("/w"), "fires NodeCreated (1)")
    m.step("w_data", "getData", path_watch("/w", True), "data watch")
    m.step("w_changed", "setData", set_data("/w", b"1"), "fires NodeDataChanged (3)")
    m.step("w_children", "getChildren", path_watch("/w", True), "child watch")
    m.step("w_child", "create", create("/w/c"), "fires NodeChildrenChanged (4)")
    m.step("w_child_data", "getData", path_watch("/w/c", True), "data watch on the child")
    m.step("w_child_children", "getChildren2", path_watch("/w/c", True), "child watch on the same node")
    m.step("w_parent_children", "getChildren2", path_watch("/w", True), "child watch on the parent")
    m.step("w_deleted", "delete", path_int("/w/c"), "NodeDeleted (2) once, then NodeChildrenChanged of the parent")
    m.step("addWatch_persistent", "addWatch", path_int("/p", 0), "mode 0; the node need not exist")
    m.step("p_created", "create", create("/p"), "persistent: NodeCreated")
    m.step("p_child", "create", create("/p/c"), "persistent: NodeChildrenChanged")
    m.step("p_changed", "setData", set_data("/p", b"1"), "persistent: NodeDataChanged, for the third time served")
    m.step("p_child_changed", "setData", set_data("/p/c", b"1"), "persistent: nothing for a child's data")
    m.step("p_child_deleted", "delete", path_int("/p/c"), "persistent: NodeChildrenChanged")
    m.step("p_deleted", "delete", path_int("/p"), "persistent: NodeDeleted")
    m.step("addWatch_recursive", "addWatch", path_int("/r", 1), "mode 1")
    m.step("r_created", "create", create("/r"), "recursive: NodeCreated")
    m.step("r_child", "create", create("/r/c"), "recursive: NodeCreated of the child, no NodeChildrenChanged")
    m.step("r_grandchild", "create", create("/r/c/d"), "recursive: of the grandchild")
    m.step("r_changed", "setData", set_data("/r/c/d", b"1"), "recursive: NodeDataChanged")
    m.step("r_multi", "multi", multi([("setData", set_data("/r", b"1")), ("setData", set_data("/r/c", b"1"))]), "two events, one zxid")
    m.step("r_deleted", "delete", path_int("/r/c/d"), "recursive: NodeDeleted")
    m.step("addWatch_unknown_mode", "addWatch", path_int("/r", 7), "mode 7")
    m.step("addWatch_null_path", "addWatch", path_int(None, 0), "path null")
    remove_watches(m)


def remove_watches(m):
    kinds = {1: "children", 2: "data", 3: "any", 4: "persistent", 5: "recursive"}
    m.step("rw_node", "create", create("/rw"), "")
    for kind, word in kinds.items():
        m.step(f"checkWatches_{word}_none", "checkWatches", path_int("/rw", kind), "no watch: NoWatcher")
        m.step(f"removeWatches_{word}_none", "removeWatches", path_int("/rw", kind), "no watch: NoWatcher")
    setters = {"children": ("getChildren", path_watch("/rw", True)), "data": ("getData", path_watch("/rw", True)),
               "any": ("exists", path_watch("/rw", True)), "persistent": ("addWatch", path_int("/rw", 0)),
               "recursive": ("addWatch", path_int("/rw", 1))}
    for kind, word in kinds.items():
        m.step(f"rw_set_{word}", *setters[word], "a watch of this kind")
        m.step(f"checkWatches_{word}", "checkWatches", path_int("/rw", kind), f"type {kind}")
        m.step(f"removeWatches_{word}", "removeWatches", path_int("/rw", kind), f"type {kind}")
    m.step("rw_after", "setData", set_data("/rw", b"1"), "no event: all are removed")
    m.step("checkWatches_bad_type", "checkWatches", path_int("/rw", 9), "type 9")
    m.step("removeWatches_bad_type", "removeWatches", path_int("/rw", 9), "type 9")


def set_watches_section(m):
    m.step("sw_node", "create", create("/sw"), "")
    now = m.step("sw_child", "create", create("/sw/c"), "")["zxid"]
    m.step("setWatches_none", "setWatches", set_watches(now, [], [], []), "empty lists; xid -8", xid=-8)
    m.step("setWatches_null", "setWatches", set_watches(now, None, None, None), "null lists", xid=-8)
    m.step("setWatches_current", "setWatches", set_watches(now, ["/sw"], ["/sw-missing"], ["/sw"]), "nothing missed: all three armed", xid=-8)
    m.step("sw_fires_data", "setData", set_data("/sw", b"1"), "the data watch")
    m.step("sw_fires_exist", "create", create("/sw-missing"), "the exist watch")
    m.step("sw_fires_child", "create", create("/sw/d"), "the child watch")
    m.step("setWatches_missed", "setWatches", set_watches(1, ["/sw", "/gone"], ["/sw"], ["/sw", "/gone2"]),
           "all missed: changed, deleted, created, children changed, deleted; these events carry zxid -1", xid=-8)
    m.step("setWatches2", "setWatches2", set_watches(now, [], [], [], ["/sp"], ["/sr"]), "persistent and recursive armed", xid=-8)
    m.step("sw2_persistent", "create", create("/sp"), "")
    m.step("sw2_recursive", "create", create("/sr"), "")
    m.step("sw2_recursive_child", "create", create("/sr/c"), "")
    m.step("setWatches2_missed", "setWatches2", set_watches(1, ["/gone3"], [], [], [], []), "as setWatches", xid=-8)
    m.step("setWatches2_null", "setWatches2", set_watches(now, None, None, None, None, None), "null lists", xid=-8)


def extras(m):
    m.step("reconfig", "reconfig", ustr("server.2=127.0.0.1:2:3;4") + ustr(None) + ustr(None) + zkwire.i64(-1), "stand-alone server: refused")
    m.step("deleteContainer", "deleteContainer", ustr("/c"), "a client's deleteContainer of an empty container (internal by intent)")
    m.step("deleteContainer_missing", "deleteContainer", ustr("/c"), "NoNode")
    m.step("truncated_body", "getData", b"\0\0\0\4/a", "the path is cut short")
    m.step("truncated_write", "setData", b"\0\0\0\2/a", "a write that is cut short: MarshallingError")
    m.step("negative_data_length", "setData", ustr("/a") + zkwire.i32(-2) + zkwire.i32(-1), "buffer length -2")
    m.step("body_too_long", "exists", path_watch("/a") + b"extra", "bytes after the body are ignored")
    m.step("sasl", "sasl", zkwire.buf(b"token"), "no SASL configured")


def events_to_others(port, out):
    watcher, writer = Recorder(port, out), Conn(port)
    watcher.connect("connect_watcher", "another session, to be told of a third one's changes")
    writer.connect()
    watcher.step("o_watch", "exists", path_watch("/o", True), "")
    zxid = writer.ask("create", create("/o", b"", flags=1))["zxid"]
    frame = watcher.conn.recv()
    watcher.add("event", "o_created", 0, frame, f"another session's create with zxid {zxid}", zkwire.decode_event(frame))
    watcher.step("o_watch_ephemeral", "getData", path_watch("/o", True), "")
    zxid = writer.ask("closeSession")["zxid"]
    frame = watcher.conn.recv()
    watcher.add("event", "o_closed", 0, frame, f"an ephemeral that goes with its session, zxid {zxid}", zkwire.decode_event(frame))
    watcher.step("close_watcher", "closeSession", b"", "")


def ends(port, out, main):
    def fresh(name, op, body, comment, xid=None):
        r = Recorder(port, out)
        r.conn.connect()
        r.step(name, op, body, comment, xid)
        if r.conn.is_closed_soon(2):
            r.add("closed", name + ".then", zkwire.OPS.get(op, op), b"", "afterwards the server closed the connection")
    fresh("unknown_opcode", 999, b"", "an opcode that does not exist")
    fresh("createSession_op", "createSession", b"", "createSession from a client")
    fresh("error_op", "error", b"", "opcode -1 from a client")
    fresh("notification_op", "notification", b"", "opcode 0 from a client")
    fresh("auth_unknown_scheme", "auth", zkwire.auth("nope", b"x"), "AuthFailed", -4)
    fresh("auth_bad_token", "auth", zkwire.auth("digest", b"no-colon"), "AuthFailed", -4)
    fresh("auth_ip", "auth", zkwire.auth("ip", b""), "the ip scheme as auth", -4)
    fresh("auth_super", "auth", zkwire.auth("digest", b"super:test"), "the super user", -4)
    fresh("check_alone", "check", path_int("/a"), "check outside a multi")
    wrong = Recorder(port, out)
    wrong.connect("connect_wrong_password", "the right session with a wrong password: refused", session=main.conn.session, password=b"x" * 16)
    again = Recorder(port, out)
    again.connect("connect_after_wrong", "the owner comes back", session=main.conn.session, password=main.conn.password)
    again.step("closeSession", "closeSession", b"", "")
    if again.conn.is_closed_soon(2):
        again.add("closed", "closeSession.then", -11, b"", "afterwards the server closed the connection")
    gone = Recorder(port, out)
    gone.connect("connect_closed_session", "a session that was closed: expired", session=main.conn.session, password=main.conn.password)
