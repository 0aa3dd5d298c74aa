"""kazoo's recipes, as programs use them: locks, semaphore, election, queues, counter, barriers, party, cache, partitioner."""

import datetime
import queue
import threading

from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.partitioner import PartitionState

from suite import WAIT_SECONDS, banish, check, expect, join


def run_all(workers):
    """Run the functions side by side; the exceptions that they raised."""
    failures = []

    def guarded(worker):
        try:
            worker()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    join(threads)
    expect(failures, [], "failures in the workers")


@check
def lock_under_contention(context):
    """Eight clients increment a counter without compare-and-set: only the lock keeps it right."""
    path, counter, rounds = context.root + "/lock", context.root + "/counter", 10
    context.client().create(counter, b"0")

    def worker(client):
        def work():
            for _ in range(rounds):
                with client.Lock(path, "worker"):
                    value = int(client.get(counter)[0])
                    client.set(counter, b"%d" % (value + 1))
        return work

    run_all([worker(context.client()) for _ in range(8)])
    expect(context.client().get(counter)[0], b"%d" % (8 * rounds), "counter")


@check
def lock_non_blocking_and_contenders(context):
    first, second, path = context.client(), context.client(), context.root + "/lock"
    held, wanted = first.Lock(path, "first"), second.Lock(path, "second")
    expect(held.acquire(), True, "first acquires")
    expect(wanted.acquire(blocking=False), False, "second does not")
    expect(held.contenders(), ["first"], "contenders")
    held.release()
    expect(wanted.acquire(timeout=WAIT_SECONDS), True, "second acquires after the release")
    wanted.release()


@check
def lock_passes_on_when_its_holder_dies(context):
    holder, waiter, path = context.banishable(timeout=4.0), context.client(), context.root + "/lock"
    expect(holder.Lock(path).acquire(), True, "the holder has it")
    banish(holder)
    expect(waiter.Lock(path).acquire(timeout=WAIT_SECONDS + 10), True, "the waiter has it after expiry")


@check
def read_and_write_locks(context):
    clients, path = [context.client() for _ in range(3)], context.root + "/lock"
    readers = [clients[0].ReadLock(path), clients[1].ReadLock(path)]
    writer = clients[2].WriteLock(path)
    for reader in readers:
        expect(reader.acquire(timeout=WAIT_SECONDS), True, "readers share")
    expect(writer.acquire(blocking=False), False, "the writer has to wait")
    for reader in readers:
        reader.release()
    expect(writer.acquire(timeout=WAIT_SECONDS), True, "the writer follows")
    expect(clients[0].ReadLock(path).acquire(blocking=False), False, "no reader beside the writer")
    writer.release()


@check
def semaphore(context):
    clients, path = [context.client() for _ in range(3)], context.root + "/semaphore"
    leases = [client.Semaphore(path, max_leases=2) for client in clients]
    expect([lease.acquire(blocking=False) for lease in leases], [True, True, False], "two leases for three")
    leases[0].release()
    expect(leases[2].acquire(timeout=WAIT_SECONDS), True, "a released lease is taken")


@check
def election(context):
    """Each of four candidates leads, one at a time."""
    path, leading, led = context.root + "/election", [], []

    def candidate(client, name):
        def lead():
            leading.append(name)
            client.sync(path)
            expect(leading, [name], "leaders at one time")
            leading.remove(name)
            led.append(name)
        return lambda: client.Election(path, name).run(lead)

    run_all([candidate(context.client(), f"c{i}") for i in range(4)])
    expect(sorted(led), ["c0", "c1", "c2", "c3"], "who led")


@check
def queue_recipe(context):
    producer, consumer, path = context.client(), context.client(), context.root + "/queue"
    items = [b"item %d" % i for i in range(30)]
    for item in items:
        producer.Queue(path).put(item)
    source = consumer.Queue(path)
    expect([source.get() for _ in items], items, "items in order")
    expect(source.get(), None, "the queue is empty")
    producer.Queue(path).put(b"low", priority=200)
    producer.Queue(path).put(b"high", priority=1)
    expect([source.get(), source.get()], [b"high", b"low"], "by priority")


@check
def locking_queue(context):
    path, taken, lock = context.root + "/queue", [], threading.Lock()
    filler = context.client().LockingQueue(path)
    filler.put_all([b"%d" % i for i in range(40)])
    filler.put_all([b"stop"] * 4, priority=200)

    def consumer(client):
        def work():
            source = client.LockingQueue(path)
            while (item := source.get(timeout=WAIT_SECONDS)) != b"stop":
                with lock:
                    taken.append(item)
                source.consume()
            source.consume()
        return work

    run_all([consumer(context.client()) for _ in range(4)])
    expect(sorted(taken, key=int), [b"%d" % i for i in range(40)], "every item once")


@check
def counter(context):
    path, rounds = context.root + "/counter", 10

    def worker(client):
        def work():
            count = client.Counter(path)
            for _ in range(rounds):
                count += 1
        return work

    clients = [context.client() for _ in range(5)]
    clients[0].ensure_path(path)
    clients[0].set(path, b"0")
    run_all([worker(client) for client in clients])
    expect(clients[0].Counter(path).value, 5 * rounds, "counter")


@check
def barrier(context):
    owner, path = context.client(), context.root + "/barrier"
    owner.Barrier(path).create()
    waiting = context.client()
    expect(waiting.Barrier(path).wait(timeout=0), False, "the barrier stands")
    passed = queue.Queue()
    thread = threading.Thread(target=lambda: passed.put(waiting.Barrier(path).wait(WAIT_SECONDS)))
    thread.start()
    expect(owner.Barrier(path).remove(), True, "removed")
    expect(passed.get(timeout=WAIT_SECONDS), True, "the waiter passed")
    join([thread])


@check
def double_barrier(context):
    path, inside = context.root + "/double", []

    def worker(client, name):
        def work():
            gate = client.DoubleBarrier(path, 3, name)
            gate.enter()
            inside.append(name)
            gate.leave()
            expect(sorted(inside), ["a", "b", "c"], "all were inside before anyone left")
        return work

    run_all([worker(context.client(), name) for name in ("a", "b", "c")])


@check
def party(context):
    clients, path = [context.client() for _ in range(3)], context.root + "/party"
    parties = [client.Party(path, f"m{i}") for i, client in enumerate(clients)]
    for one in parties:
        one.join()
    expect(sorted(parties[0]), ["m0", "m1", "m2"], "members")
    parties[1].leave()
    clients[2].stop()
    clients[0].sync(path)
    expect(sorted(parties[0]), ["m0"], "members after one left and one closed its session")


@check
def lease(context):
    path = context.root + "/lease"
    first, second = context.client(), context.client()
    hour = datetime.timedelta(hours=1)
    expect(bool(first.NonBlockingLease(path, hour, identifier="first")), True, "first")
    expect(bool(second.NonBlockingLease(path, hour, identifier="second")), False, "second")
    expect(bool(first.NonBlockingLease(path, hour, identifier="first")), True, "first again")


@check
def tree_cache(context):
    client, writer, path = context.client(), context.client(), context.root + "/tree"
    writer.ensure_path(path + "/a/b")
    events = queue.Queue()
    cache = TreeCache(client, path)
    cache.listen(events.put)
    cache.start()

    def await_event(kind, node):
        while True:
            event = events.get(timeout=WAIT_SECONDS)
            if event.event_type == kind and (node is None or event.event_data.path == node):
                return

    await_event(TreeEvent.INITIALIZED, None)
    expect(sorted(cache.get_children(path)), ["a"], "cached children")
    writer.set(path + "/a/b", b"new")
    await_event(TreeEvent.NODE_UPDATED, path + "/a/b")
    expect(cache.get_data(path + "/a/b").data, b"new", "cached data")
    writer.create(path + "/a/c")
    await_event(TreeEvent.NODE_ADDED, path + "/a/c")
    writer.delete(path + "/a/c")
    await_event(TreeEvent.NODE_REMOVED, path + "/a/c")
    cache.close()


@check
def set_partitioner(context):
    path, shares = context.root + "/partition", {}
    ready = threading.Barrier(2)

    def worker(client, name):
        def work():
            part = client.SetPartitioner(path, set=("a", "b", "c", "d"), identifier=name, time_boundary=0.2)
            while not (part.acquired and len(list(part)) == 2):
                if part.state == PartitionState.RELEASE:
                    part.release_set()
                elif part.failed:
                    raise AssertionError("the partitioner failed")
                else:
                    part.wait_for_acquire(1)
            shares[name] = list(part)
            ready.wait(WAIT_SECONDS)
            part.finish()
        return work

    run_all([worker(context.client(), name) for name in ("p0", "p1")])
    expect(sorted(shares["p0"] + shares["p1"]), ["a", "b", "c", "d"], "every element with one owner")
