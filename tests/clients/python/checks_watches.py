"""Watches: which events which watch gets, each once, and before any reply that shows the change."""

import queue

from kazoo.protocol.states import EventType

from suite import WAIT_SECONDS, check, expect


def watching(client):
    """A watch function and the queue that it fills."""
    events = queue.Queue()
    return events.put, events


def expect_event(events, kind, path):
    """The next event of a watch function's queue."""
    event = events.get(timeout=WAIT_SECONDS)
    expect((event.type, event.path), (kind, path), "event")


@check
def watch_of_get_sees_a_set(context):
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    watch, events = watching(client)
    client.get(path, watch)
    writer.set(path, b"x")
    expect_event(events, EventType.CHANGED, path)


@check
def watch_of_get_sees_a_delete(context):
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    watch, events = watching(client)
    client.get(path, watch)
    writer.delete(path)
    expect_event(events, EventType.DELETED, path)


@check
def watch_of_exists_sees_a_create(context):
    client, writer, path = context.client(), context.client(), context.root + "/n"
    watch, events = watching(client)
    expect(client.exists(path, watch), None, "exists")
    writer.create(path)
    expect_event(events, EventType.CREATED, path)


@check
def watch_of_exists_sees_set_and_delete(context):
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    watch, events = watching(client)
    client.exists(path, watch)
    writer.set(path, b"x")
    expect_event(events, EventType.CHANGED, path)
    client.exists(path, watch)
    writer.delete(path)
    expect_event(events, EventType.DELETED, path)


@check
def watch_of_children_sees_create_and_delete_of_a_child(context):
    client, writer = context.client(), context.client()
    watch, events = watching(client)
    client.get_children(context.root, watch)
    writer.create(context.root + "/c")
    expect_event(events, EventType.CHILD, context.root)
    client.get_children(context.root, watch)
    writer.delete(context.root + "/c")
    expect_event(events, EventType.CHILD, context.root)


@check
def watch_of_children_sees_the_node_go(context):
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    watch, events = watching(client)
    client.get_children(path, watch)
    writer.delete(path)
    expect_event(events, EventType.DELETED, path)


@check
def a_watch_fires_once(context):
    """Three changes, one event: seen on the wire, and complete because the last read's reply came after all of them."""
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    client.get(path, lambda event: None)
    for i in range(3):
        writer.set(path, b"%d" % i)
    client.sync(path)
    expect(client.get(path)[0], b"2", "data")
    expect(client.wire.events(), [("CHANGED", path)], "events on the wire")


@check
def two_watches_of_one_kind_give_one_event(context):
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    client.get(path, lambda event: None)
    client.exists(path, lambda event: None)
    client.get_children(path, lambda event: None)
    writer.delete(path)
    client.sync(context.root)
    expect(client.exists(path), None, "exists")
    expect(client.wire.events(), [("DELETED", path)], "data and child watch of a deleted node")


@check
def what_does_not_fire(context):
    """A child watch ignores data and grandchildren; a data watch ignores children; set_acls fires nothing; nor does a failed write."""
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    writer.create(path + "/c")
    client.get_children(path, lambda event: None)
    client.get(path + "/c", lambda event: None)
    writer.set(path, b"data")
    writer.create(path + "/c/grandchild")
    writer.set_acls(path, writer.get_acls(path)[0])
    for version in (7, 8):
        try:
            writer.set(path + "/c", b"", version=version)
        except Exception:
            pass
    client.sync(path)
    expect(client.get(path)[0], b"data", "data")
    expect(client.wire.events(), [], "events on the wire")


@check
def a_watch_does_not_outlive_its_get(context):
    """get of a missing node sets no watch, exists does."""
    client, writer, path = context.client(), context.client(), context.root + "/n"
    try:
        client.get(path, lambda event: None)
    except Exception:
        pass
    writer.create(path)
    client.sync(path)
    client.exists(path)
    expect(client.wire.events(), [], "events after a failed get")


@check
def own_write_event_comes_before_its_reply(context):
    client, path = context.client(), context.root + "/n"
    client.create(path)
    client.get(path, lambda event: None)
    client.set(path, b"x")
    event, reply = client.wire.position(("event", "CHANGED", path)), client.wire.position(("reply", "SetData", path, 0))
    expect(event < reply, True, f"event before the reply of the write, wire {client.wire.log}")


@check
def event_comes_before_a_read_that_shows_the_change(context):
    """50 rounds: another client writes while this one reads in a pipeline; at the first reply with the new data, the event was there."""
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path, b"0")
    for i in range(1, 51):
        value = b"%d" % i
        client.get(path, lambda event: None)
        seen = len(client.wire.events())
        shown = []
        pending_write = writer.set_async(path, value)
        while True:
            pending = client.get_async(path)
            data, _ = pending.get(timeout=WAIT_SECONDS)
            shown.append(data)
            if data == value:
                break
        pending_write.get(timeout=WAIT_SECONDS)
        expect(len(client.wire.events()), seen + 1, f"events when round {i} showed {shown[-1]}")


@check
def events_come_in_the_order_of_the_changes(context):
    client, writer = context.client(), context.client()
    paths = [f"{context.root}/n{i:03}" for i in range(200)]
    for pending in [client.exists_async(path, lambda event: None) for path in paths]:
        pending.get(timeout=WAIT_SECONDS)
    for pending in [writer.create_async(path) for path in paths]:
        pending.get(timeout=WAIT_SECONDS)
    expect(client.wire.wait_events(len(paths)), [("CREATED", path) for path in paths], "events")


@check
def a_multi_fires_for_each_of_its_changes(context):
    client, writer, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    client.get(path, lambda event: None)
    client.exists(path + "/a", lambda event: None)
    client.get_children(path, lambda event: None)
    transaction = writer.transaction()
    transaction.set_data(path, b"x")
    transaction.create(path + "/a")
    transaction.commit()
    wanted = [("CHANGED", path), ("CHILD", path), ("CREATED", path + "/a")]
    expect(sorted(client.wire.wait_events(3)), sorted(wanted), "events")


@check
def closing_a_session_fires_for_its_ephemerals(context):
    client, owner, path = context.client(), context.client(), context.root + "/e"
    owner.create(path, ephemeral=True)
    client.exists(path, lambda event: None)
    client.get_children(context.root, lambda event: None)
    owner.stop()
    expect(sorted(client.wire.wait_events(2)), [("CHILD", context.root), ("DELETED", path)], "events")


@check
def many_watchers_of_one_node(context):
    writer, path = context.client(), context.root + "/n"
    writer.create(path)
    clients = [context.client() for _ in range(10)]
    for client in clients:
        client.get(path, lambda event: None)
    writer.set(path, b"x")
    for client in clients:
        expect(client.wire.wait_events(1), [("CHANGED", path)], "events")


@check
def data_watch_and_children_watch_recipes(context):
    client, writer, path = context.client(), context.client(), context.root + "/n"
    data, children = queue.Queue(), queue.Queue()
    client.DataWatch(path, lambda value, stat: data.put(value))
    expect(data.get(timeout=WAIT_SECONDS), None, "before the node exists")
    writer.create(path, b"1")
    expect(data.get(timeout=WAIT_SECONDS), b"1", "after create")
    client.ChildrenWatch(path, lambda names: children.put(sorted(names)))
    expect(children.get(timeout=WAIT_SECONDS), [], "no children")
    writer.set(path, b"2")
    expect(data.get(timeout=WAIT_SECONDS), b"2", "after set")
    writer.create(path + "/a")
    expect(children.get(timeout=WAIT_SECONDS), ["a"], "one child")
    writer.delete(path + "/a")
    expect(children.get(timeout=WAIT_SECONDS), [], "no child again")
    writer.delete(path)
    expect(data.get(timeout=WAIT_SECONDS), None, "after delete")
