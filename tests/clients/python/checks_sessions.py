"""Sessions: negotiated, resumed on another connection, refused with a wrong password, expired, reconnected."""

import time

from kazoo.exceptions import ConnectionLoss
from kazoo.protocol.states import KazooState

from suite import DEAD_HOST, WAIT_SECONDS, await_state, banish, check, cut, expect

SHORT_TIMEOUT = 4.0
"""Asked-for session timeout in seconds; the server may raise it, and kazoo keeps what was negotiated."""


@check
def session_ids_differ(context):
    ids = {context.client().client_id[0] for _ in range(8)}
    expect(len(ids), 8, "different session ids")
    expect(0 in ids, False, "a session id is 0")


@check
def reattach_with_password(context):
    """Another connection to the same server takes the session over: same id, its ephemerals stay, and the former connection is closed."""
    first, observer, path = context.banishable(), context.client(), context.root + "/e"
    first.create(path, ephemeral=True)
    session = first.client_id
    states = context.states(first)
    first.set_hosts(DEAD_HOST)  # where it will look once its connection is closed
    second = context.banishable(client_id=session)  # at another server the former connection would stay until it asks for something
    expect(second.client_id, session, "session of the second connection")
    await_state(states, KazooState.SUSPENDED)
    expect(second.exists(path).ephemeralOwner, observer.exists(path).ephemeralOwner, "the ephemeral stays")
    second.create(path + "2", ephemeral=True)
    second.stop()
    observer.sync(context.root)
    expect(observer.get_children(context.root), [], "both ephemerals go with the session")


@check
def reattach_after_a_cut(context):
    first, observer, path = context.banishable(), context.client(), context.root + "/e"
    first.create(path, ephemeral=True)
    session = first.client_id
    banish(first)
    second = context.client(client_id=session)
    expect(second.client_id, session, "session")
    second.delete(path)
    expect(observer.exists(path), None, "the session's new connection deleted it")


@check
def wrong_password_is_refused(context):
    owner, path = context.client(), context.root + "/e"
    owner.create(path, ephemeral=True)
    session, password = owner.client_id
    forged = bytes(byte ^ 0xFF for byte in password)
    thief = context.client(client_id=(session, forged))
    expect(thief.client_id[0] == session, False, "the forger got the session")
    thief.sync(path)
    expect(thief.exists(path).ephemeralOwner, session, "the ephemeral stays with its session")


@check
def unknown_session_is_refused(context):
    closed = context.client()
    session = closed.client_id
    closed.stop()
    later = context.client(client_id=session)
    expect(later.client_id[0] == session[0], False, "a closed session came back")


@check
def reconnect_keeps_the_session(context):
    client, path = context.client(), context.root + "/e"
    client.create(path, ephemeral=True)
    session, states = client.client_id, context.states(client)
    for _ in range(3):
        cut(client)
        await_state(states, KazooState.SUSPENDED)
        await_state(states, KazooState.CONNECTED)
        expect(client.client_id, session, "session after the reconnect")
    expect(client.exists(path).ephemeralOwner, session[0], "owner")


@check
def expiry_removes_ephemerals(context):
    """Cut off for good, the session expires: not before its timeout, and its ephemerals go; the client then learns that it was lost."""
    owner, observer, path = context.banishable(timeout=SHORT_TIMEOUT), context.client(), context.root + "/e"
    owner.create(path, ephemeral=True)
    session, states, timeout = owner.client_id[0], context.states(owner), owner._session_timeout / 1000.0
    observer.exists(path, lambda event: None)
    last_heard_after = time.monotonic()
    owner.sync(path)
    banish(owner)
    deadline = timeout * 2 + WAIT_SECONDS
    while not observer.wire.events() and time.monotonic() - last_heard_after < deadline:
        observer.sync(path)
        observer.exists(path)
    elapsed = time.monotonic() - last_heard_after
    expect(observer.wire.events(), [("DELETED", path)], "events")
    expect(observer.exists(path), None, "exists after expiry")
    expect(elapsed >= timeout * 0.9, True, f"expired after {elapsed:.2f} s of {timeout:.2f} s")
    owner.set_hosts(context.options.hosts)
    await_state(states, KazooState.LOST)
    await_state(states, KazooState.CONNECTED)
    expect(owner.client_id[0] == session, False, "the expired session came back")


@check
def pings_keep_an_idle_session(context):
    """An idle client outlives twice its timeout: measured on another session that expires meanwhile."""
    idle, doomed, observer = (context.client(timeout=SHORT_TIMEOUT), context.banishable(timeout=SHORT_TIMEOUT), context.client())
    idle.create(context.root + "/idle", ephemeral=True)
    doomed.create(context.root + "/doomed", ephemeral=True)
    observer.exists(context.root + "/doomed", lambda event: None)
    banish(doomed)
    observer.wire.wait_events(1)
    expect(observer.get_children(context.root), ["idle"], "who is left")


@check
def a_frame_over_the_limit_costs_only_the_connection(context):
    client, path = context.client(), context.root + "/n"
    client.create(path, b"kept")
    session, states = client.client_id, context.states(client)
    try:
        client.set(path, b"x" * 1_200_000)
        raise AssertionError("1.2 MB were accepted")
    except ConnectionLoss:
        pass
    await_state(states, KazooState.CONNECTED)
    expect(client.client_id, session, "session after the refused frame")
    expect(client.get(path)[0], b"kept", "data")


@check
def read_only_flag_of_the_handshake(context):
    client, path = context.client(read_only=True), context.root + "/n"
    client.create(path, b"x")
    expect(client.get(path)[0], b"x", "a client that may read only still writes here")
