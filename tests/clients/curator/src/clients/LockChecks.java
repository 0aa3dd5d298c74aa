package clients;

import static clients.Suite.expect;

import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;

/** Curator's locks: each worker has a connection of its own, and the counter on the server is right only if the lock holds. */
final class LockChecks {
    private static final int WORKERS = 6;
    private static final int ROUNDS = 10;

    private LockChecks() {}

    static void register(Suite suite) {
        suite.add("mutex_under_contention", LockChecks::mutex);
        suite.add("mutex_is_reentrant_and_times_out", LockChecks::reentrant);
        suite.add("mutex_passes_on_when_its_holder_expires", LockChecks::holderExpires);
        suite.add("semaphore_mutex_under_contention", LockChecks::semaphoreMutex);
        suite.add("read_write_lock", LockChecks::readWrite);
        suite.add("read_write_lock_under_contention", LockChecks::readWriteContention);
        suite.add("semaphore", LockChecks::semaphore);
        suite.add("multi_lock", LockChecks::multiLock);
    }

    private static boolean tryNow(InterProcessLock lock) throws Exception {
        return lock.acquire(0, TimeUnit.MILLISECONDS);
    }

    private static boolean acquire(InterProcessLock lock) throws Exception {
        return lock.acquire(Suite.WAIT_MS, TimeUnit.MILLISECONDS);
    }

    /** Read, then write: loses increments wherever two are inside at once. */
    private static void increment(CuratorFramework curator, String path) throws Exception {
        int value = Integer.parseInt(Frameworks.get(curator, path));
        curator.setData().forPath(path, String.valueOf(value + 1).getBytes());
    }

    private static CuratorFramework withCounter(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        curator.create().forPath(context.path("counter"), "0".getBytes());
        return curator;
    }

    private static void mutex(Context context) throws Exception {
        CuratorFramework reader = withCounter(context);
        Frameworks.sideBySide(context, WORKERS, (curator, worker) -> {
            InterProcessMutex lock = new InterProcessMutex(curator, context.path("lock"));
            for (int i = 0; i < ROUNDS; i++) {
                Suite.expectTrue(acquire(lock), "acquired");
                try {
                    increment(curator, context.path("counter"));
                } finally {
                    lock.release();
                }
            }
        });
        expect(String.valueOf(WORKERS * ROUNDS), Frameworks.get(reader, context.path("counter")), "counter");
    }

    private static void reentrant(Context context) throws Exception {
        InterProcessMutex held = new InterProcessMutex(Frameworks.open(context), context.path("lock"));
        InterProcessMutex wanted = new InterProcessMutex(Frameworks.open(context), context.path("lock"));
        expect(true, acquire(held) && acquire(held), "twice by its holder");
        held.release();
        expect(false, tryNow(wanted), "by another while it is held");
        expect(1, held.getParticipantNodes().size(), "participants");
        held.release();
        expect(true, acquire(wanted), "by another once it is free");
    }

    private static void holderExpires(Context context) throws Exception {
        Relay relay = context.relay();
        InterProcessMutex held = new InterProcessMutex(
                Frameworks.open(context, relay.address(), Client.SHORT_TIMEOUT_MS), context.path("lock"));
        InterProcessMutex wanted = new InterProcessMutex(Frameworks.open(context), context.path("lock"));
        expect(true, acquire(held), "the first has it");
        relay.cut();
        expect(true, acquire(wanted), "the second has it once the first's session expired");
    }

    private static void semaphoreMutex(Context context) throws Exception {
        CuratorFramework reader = withCounter(context);
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            InterProcessSemaphoreMutex lock = new InterProcessSemaphoreMutex(curator, context.path("lock"));
            for (int i = 0; i < 5; i++) {
                Suite.expectTrue(acquire(lock), "acquired");
                increment(curator, context.path("counter"));
                lock.release();
            }
        });
        expect("20", Frameworks.get(reader, context.path("counter")), "counter");
    }

    private static void readWrite(Context context) throws Exception {
        InterProcessReadWriteLock first = new InterProcessReadWriteLock(Frameworks.open(context), context.path("lock"));
        InterProcessReadWriteLock second = new InterProcessReadWriteLock(Frameworks.open(context), context.path("lock"));
        InterProcessReadWriteLock third = new InterProcessReadWriteLock(Frameworks.open(context), context.path("lock"));
        expect(true, acquire(first.readLock()) && acquire(second.readLock()), "two readers");
        expect(false, tryNow(third.writeLock()), "a writer beside readers");
        first.readLock().release();
        second.readLock().release();
        expect(true, acquire(third.writeLock()), "a writer alone");
        expect(false, tryNow(first.readLock()), "a reader beside the writer");
        expect(true, acquire(third.readLock()), "the writer itself may read");
    }

    private static void readWriteContention(Context context) throws Exception {
        CuratorFramework reader = withCounter(context);
        AtomicInteger torn = new AtomicInteger();
        Frameworks.sideBySide(context, WORKERS, (curator, worker) -> {
            InterProcessReadWriteLock lock = new InterProcessReadWriteLock(curator, context.path("lock"));
            for (int i = 0; i < 5; i++) {
                InterProcessMutex side = worker % 2 == 0 ? lock.writeLock() : lock.readLock();
                Suite.expectTrue(acquire(side), "acquired");
                if (worker % 2 == 0) {
                    increment(curator, context.path("counter"));
                } else if (!Frameworks.get(curator, context.path("counter"))
                        .equals(Frameworks.get(curator, context.path("counter")))) {
                    torn.incrementAndGet();
                }
                side.release();
            }
        });
        expect("15", Frameworks.get(reader, context.path("counter")), "counter");
        expect(0, torn.get(), "reads that changed under the read lock");
    }

    private static void semaphore(Context context) throws Exception {
        InterProcessSemaphoreV2 first = new InterProcessSemaphoreV2(Frameworks.open(context), context.path("s"), 2);
        InterProcessSemaphoreV2 second = new InterProcessSemaphoreV2(Frameworks.open(context), context.path("s"), 2);
        Lease one = first.acquire();
        Lease two = second.acquire(Suite.WAIT_MS, TimeUnit.MILLISECONDS);
        expect(null, second.acquire(0, TimeUnit.MILLISECONDS), "a third lease of two");
        expect(2, second.getParticipantNodes().size(), "participants");
        first.returnLease(one);
        Suite.expectTrue(second.acquire(Suite.WAIT_MS, TimeUnit.MILLISECONDS) != null, "a lease that was given back");
        second.returnLease(two);
    }

    private static void multiLock(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        List<String> paths = List.of(context.path("a"), context.path("b"));
        InterProcessMultiLock both = new InterProcessMultiLock(curator, paths);
        InterProcessMutex single = new InterProcessMutex(Frameworks.open(context), context.path("b"));
        expect(true, acquire(both), "both");
        expect(false, tryNow(single), "one of them by another");
        both.release();
        expect(true, acquire(single), "after the release");
    }
}
