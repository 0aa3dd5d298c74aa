"""Size and depth: data near the frame limit, thousands of children, a thousand requests in flight, clients side by side."""

import threading

from kazoo.exceptions import BadVersionError, NodeExistsError

from suite import check, expect, gather, join


@check
def data_near_one_megabyte(context):
    client, path = context.client(), context.root + "/n"
    data = bytes(i * 31 % 251 for i in range(1_000_000))
    client.create(path, data)
    expect(client.exists(path).dataLength, len(data), "dataLength")
    expect(client.get(path)[0] == data, True, "the data came back unchanged")
    client.set(path, data[::-1])
    expect(context.client().get(path)[0] == data[::-1], True, "and so did its reverse, to another client")


@check
def five_thousand_children(context):
    client, path = context.client(), context.root
    created = gather([client.create_async(f"{path}/child-{i:05}", b"%d" % i) for i in range(5000)])
    expect(created, [f"{path}/child-{i:05}" for i in range(5000)], "created paths")
    names, stat = context.client().get_children(path, include_data=True)
    expect(sorted(names), [f"child-{i:05}" for i in range(5000)], "children")
    expect((stat.numChildren, stat.cversion), (5000, 5000), "numChildren and cversion")
    gather([client.delete_async(f"{path}/child-{i:05}") for i in range(5000)])
    stat = client.exists(path)
    expect((stat.numChildren, stat.cversion), (0, 10000), "numChildren and cversion after the deletes")


@check
def pipeline_of_writes_keeps_its_order(context):
    client, path = context.client(), context.root + "/n"
    client.create(path)
    stats = gather([client.set_async(path, b"%d" % i) for i in range(1000)])
    expect([stat.version for stat in stats], list(range(1, 1001)), "versions")
    zxids = [stat.mzxid for stat in stats]
    expect(zxids, sorted(set(zxids)), "zxids grow")
    expect(client.get(path)[0], b"999", "the last write stands")


@check
def pipeline_of_writes_and_reads_keeps_program_order(context):
    """Each read in flight between two writes shows the former and not the latter."""
    client, path = context.client(), context.root + "/n"
    client.create(path, b"start")
    pending = []
    for i in range(500):
        pending += [client.set_async(path, b"%d" % i), client.get_async(path)]
    results = gather(pending)
    for i in range(500):
        data, stat = results[2 * i + 1]
        expect((data, stat.version), (b"%d" % i, i + 1), f"read after write {i}")
        expect(stat, results[2 * i], f"Stat of read and write {i}")
    wire = [entry[1] for entry in client.wire.log if entry[0] == "reply" and entry[1] in ("SetData", "GetData")]
    expect(wire, ["SetData", "GetData"] * 500, "replies on the wire")


@check
def pipeline_of_reads_before_writes(context):
    """A read sent before a write of its own session does not show it."""
    client, path = context.client(), context.root + "/n"
    client.create(path, b"0")
    pending = []
    for i in range(1, 301):
        pending += [client.get_async(path), client.set_async(path, b"%d" % i)]
    results = gather(pending)
    expect([results[2 * i][0] for i in range(300)], [b"%d" % i for i in range(300)], "what the reads show")


@check
def zxids_in_reply_headers_never_go_back(context):
    client, noise, path = context.client(), context.client(), context.root + "/n"
    client.create(path)
    others = [noise.set_async(path, b"%d" % i) for i in range(300)]
    mine = []
    for i in range(300):
        mine += [client.get_async(path), client.create_async(f"{path}/c{i}"), client.exists_async(path + "/none")]
    gather(mine)
    gather(others)
    expect(client.wire.zxids, sorted(client.wire.zxids), "zxids of the reply headers")


@check
def errors_in_a_pipeline_stay_with_their_request(context):
    client, path = context.client(), context.root
    pending = [client.create_async(f"{path}/n{i // 2}") for i in range(200)]
    for i, one in enumerate(pending):
        one.wait(20)
        wanted = NodeExistsError if i % 2 else type(None)
        expect(type(one.exception).__name__, wanted.__name__, f"outcome {i}")


@check
def clients_contend_for_one_version(context):
    """Compare-and-set from eight clients: every success is one increment, none is lost."""
    path, rounds = context.root + "/n", 25
    context.client().create(path, b"0")
    failures = []

    def work(client):
        try:
            for _ in range(rounds):
                while True:
                    data, stat = client.get(path)
                    try:
                        client.set(path, b"%d" % (int(data) + 1), version=stat.version)
                        break
                    except BadVersionError:
                        continue
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(context.client(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(threads)
    expect(failures, [], "failures")
    data, stat = context.client().get(path)
    expect((data, stat.version), (b"%d" % (8 * rounds), 8 * rounds), "counter and version")


@check
def sequence_numbers_are_unique_across_clients(context):
    clients = [context.client() for _ in range(6)]
    pending = [client.create_async(context.root + "/s-", sequence=True) for _ in range(50) for client in clients]
    wanted = [f"{context.root}/s-{i:010}" for i in range(300)]
    expect(sorted(gather(pending)), wanted, "the numbers, none twice, none left out")


@check
def sync_shows_another_clients_write(context):
    writer, reader, path = context.client(), context.client(), context.root + "/n"
    writer.create(path)
    for i in range(100):
        writer.set(path, b"%d" % i)
        expect(reader.sync(path), path, "sync's reply")
        expect(reader.get(path)[0], b"%d" % i, "read after sync")
