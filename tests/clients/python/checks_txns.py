"""Transactions (multi): all or nothing, one zxid, the result of each operation, the error vector."""

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError, RolledBackError, RuntimeInconsistency

from suite import check, expect


def names(results):
    """The results' types by name."""
    return [type(result).__name__ for result in results]


@check
def transaction_succeeds(context):
    client, path = context.client(), context.root
    client.create(path + "/old", b"1")
    client.create(path + "/gone")
    transaction = client.transaction()
    transaction.check(path + "/old", 0)
    transaction.create(path + "/a", b"x")
    transaction.create(path + "/a/b", b"y")
    transaction.set_data(path + "/old", b"22", version=0)
    transaction.delete(path + "/gone", version=0)
    results = transaction.commit()
    expect(results[:3], [True, path + "/a", path + "/a/b"], "check and create results")
    expect((results[3].version, results[3].dataLength), (1, 2), "set result")
    expect(results[4], True, "delete result")
    expect(sorted(client.get_children(path)), ["a", "old"], "children")
    zxids = {client.exists(path + "/a").czxid, client.exists(path + "/a/b").czxid, client.exists(path + "/old").mzxid,
             client.exists(path).pzxid}
    expect(len(zxids), 1, "zxids of one transaction")


@check
def transaction_fails_as_a_whole(context):
    client, path = context.client(), context.root
    client.create(path + "/n", b"1")
    before = client.exists(path)
    transaction = client.transaction()
    transaction.create(path + "/a")
    transaction.set_data(path + "/n", b"2")
    transaction.delete(path + "/missing")
    transaction.create(path + "/b")
    wanted = [RolledBackError, RolledBackError, NoNodeError, RuntimeInconsistency]
    expect(names(transaction.commit()), [error.__name__ for error in wanted], "error vector")
    expect(client.get_children(path), ["n"], "children")
    expect(client.get(path + "/n")[0], b"1", "data")
    expect(client.exists(path), before, "the parent's Stat")


@check
def transaction_error_at_each_place(context):
    client, path = context.client(), context.root
    client.create(path + "/n")
    for place in range(5):
        transaction = client.transaction()
        for i in range(5):
            if i == place:
                transaction.check(path + "/n", 99)
            else:
                transaction.create(f"{path}/c{i}")
        wanted = ["RolledBackError"] * place + [BadVersionError.__name__] + ["RuntimeInconsistency"] * (4 - place)
        expect(names(transaction.commit()), wanted, f"error vector for place {place}")
    expect(client.get_children(path), ["n"], "children")


@check
def transaction_sees_its_own_operations(context):
    """A later operation works on what an earlier one made: create, set, delete and create again."""
    client, path = context.client(), context.root + "/n"
    transaction = client.transaction()
    transaction.create(path, b"1")
    transaction.set_data(path, b"2", version=0)
    transaction.check(path, 1)
    transaction.delete(path, version=1)
    transaction.create(path, b"3")
    results = transaction.commit()
    expect(results[1].version, 1, "version in the transaction")
    data, stat = client.get(path)
    expect((data, stat.version), (b"3", 0), "what is left")
    transaction = client.transaction()
    transaction.delete(path)
    transaction.create(path)
    transaction.create(path)
    wanted = [RolledBackError, RolledBackError, NodeExistsError]
    expect(names(transaction.commit()), [error.__name__ for error in wanted], "error vector")
    expect(client.get(path)[0], b"3", "data after the failed one")


@check
def transaction_with_sequence_and_ephemeral(context):
    client, path = context.client(), context.root
    transaction = client.transaction()
    transaction.create(path + "/s-", sequence=True)
    transaction.create(path + "/s-", sequence=True)
    transaction.create(path + "/e", ephemeral=True)
    expect(transaction.commit(), [path + "/s-0000000000", path + "/s-0000000001", path + "/e"], "results")
    expect(client.exists(path + "/e").ephemeralOwner, client.client_id[0], "owner")


@check
def empty_transaction(context):
    expect(context.client().transaction().commit(), [], "results of nothing")


@check
def large_transaction(context):
    client, path = context.client(), context.root
    transaction = client.transaction()
    for i in range(1000):
        transaction.create(f"{path}/n{i:04}", b"x" * 100)
    expect(transaction.commit(), [f"{path}/n{i:04}" for i in range(1000)], "results")
    expect(client.exists(path).numChildren, 1000, "numChildren")
    expect(client.exists(path).cversion, 1000, "cversion")


@check
def transactions_in_a_pipeline(context):
    """Each checks the version that the one before it made, all in flight at once."""
    client, path = context.client(), context.root + "/n"
    client.create(path)
    pending = []
    for i in range(100):
        transaction = client.transaction()
        transaction.check(path, i)
        transaction.set_data(path, b"%d" % i, version=i)
        pending.append(transaction.commit_async())
    for i, one in enumerate(pending):
        expect(one.get(timeout=20)[1].version, i + 1, "version")
