package clients;

import static clients.Suite.expect;

import java.util.List;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.Revoker;

/** Curator's locks: each worker has a connection of its own, and the counter on the server is right only if the lock holds. */
final class LockChecks {
    private static final int WORKERS = 6;
    private static final int ROUNDS = 10;

    private LockChecks() {}

    static void register(Suite suite) {
        suite.addSpread("mutex_under_contention", LockChecks::mutex);
        suite.add("mutex_is_reentrant_and_times_out", LockChecks::reentrant);
        suite.addSpread("mutex_passes_on_when_its_holder_expires", LockChecks::holderExpires);
        suite.addSpread("read_write_lock", LockChecks::readWrite);
        suite.addSpread("read_write_lock_under_contention", LockChecks::readWriteContention);
        suite.addSpread("read_write_lock_goes_down_never_up", LockChecks::downgrade);
        suite.addSpread("mutex_is_given_in_the_order_of_asking", LockChecks::order);
        suite.add("mutex_is_held_through_a_cut", LockChecks::heldThroughCut);
        suite.addSpread("mutex_is_waited_for_through_a_cut", LockChecks::waitedThroughCut);
        suite.addSpread("mutex_is_revoked", LockChecks::revoked);
        suite.addSpread("multi_lock", LockChecks::multiLock);
        suite.addSpread("multi_lock_under_contention", LockChecks::multiLockContention);
    }

    static boolean tryNow(InterProcessLock lock) throws Exception {
        return lock.acquire(0, TimeUnit.MILLISECONDS);
    }

    static boolean acquire(InterProcessLock lock) throws Exception {
        return lock.acquire(Suite.WAIT_MS, TimeUnit.MILLISECONDS);
    }

    /** Read, then write: loses increments wherever two are inside at once. */
    static void increment(CuratorFramework curator, String path) throws Exception {
        int value = Integer.parseInt(Frameworks.get(curator, path));
        curator.setData().forPath(path, String.valueOf(value + 1).getBytes());
    }

    static CuratorFramework withCounter(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        curator.create().forPath(context.path("counter"), "0".getBytes());
        return curator;
    }

    private static void mutex(Context context) throws Exception {
        CuratorFramework reader = withCounter(context);
        Frameworks.sideBySide(context, WORKERS, (curator, worker) -> {
            InterProcessMutex lock = new InterProcessMutex(curator, context.path("lock"));
            for (int i = 0; i < ROUNDS * context.options().scale(); i++) {
                Suite.expectTrue(acquire(lock), "acquired");
                try {
                    increment(curator, context.path("counter"));
                } finally {
                    lock.release();
                }
            }
        });
        Frameworks.catchUp(reader);
        expect(String.valueOf(WORKERS * ROUNDS * context.options().scale()), Frameworks.get(reader, context.path("counter")), "counter");
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
            for (int i = 0; i < 5 * context.options().scale(); i++) {
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
        Frameworks.catchUp(reader);
        expect(String.valueOf(15 * context.options().scale()), Frameworks.get(reader, context.path("counter")), "counter");
        expect(0, torn.get(), "reads that changed under the read lock");
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

    private static void multiLockContention(Context context) throws Exception {
        CuratorFramework reader = withCounter(context);
        List<String> paths = List.of(context.path("a"), context.path("b"), context.path("c"));
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            // Each takes two of the three, in one order: any two of them share one.
            List<String> mine = paths.stream().filter(path -> paths.indexOf(path) != worker % 3).toList();
            InterProcessMultiLock lock = new InterProcessMultiLock(curator, mine);
            for (int i = 0; i < 5 * context.options().scale(); i++) {
                Suite.expectTrue(acquire(lock), "acquired");
                increment(curator, context.path("counter"));
                lock.release();
            }
        });
        Frameworks.catchUp(reader);
        expect(String.valueOf(20 * context.options().scale()), Frameworks.get(reader, context.path("counter")), "counter");
        InterProcessMutex last = new InterProcessMutex(reader, context.path("c"));
        expect(true, acquire(last), "the last of them");
        expect(false, new InterProcessMultiLock(Frameworks.open(context), paths).acquire(1, TimeUnit.MILLISECONDS), "all of them");
        expect(true, tryNow(new InterProcessMutex(reader, context.path("a"))), "the first, which was given back");
    }

    private static void downgrade(Context context) throws Exception {
        InterProcessReadWriteLock mine = new InterProcessReadWriteLock(Frameworks.open(context), context.path("lock"));
        InterProcessReadWriteLock other = new InterProcessReadWriteLock(Frameworks.open(context), context.path("lock"));
        expect(true, acquire(mine.writeLock()) && acquire(mine.readLock()), "write, then read");
        mine.writeLock().release();
        expect(true, acquire(other.readLock()), "another reader once the writer only reads");
        expect(false, tryNow(mine.writeLock()), "from read to write");
        mine.readLock().release();
        expect(false, tryNow(mine.writeLock()), "while the other reads");
        other.readLock().release();
        expect(true, acquire(mine.writeLock()), "when nobody reads");
    }

    private static void order(Context context) throws Exception {
        InterProcessMutex held = new InterProcessMutex(Frameworks.open(context), context.path("lock"));
        expect(true, acquire(held), "the first has it");
        Replies<Integer> order = new Replies<>();
        for (int i = 0; i < WORKERS; i++) {
            int number = i;
            InterProcessMutex wanted = new InterProcessMutex(Frameworks.open(context), context.path("lock"));
            Frameworks.aside(context, () -> {
                Suite.expectTrue(acquire(wanted), "acquired");
                order.add(number);
                wanted.release();
                return null;
            });
            Frameworks.eventually((i + 2) + " participants", () -> held.getParticipantNodes().size() == number + 2);
        }
        held.release();
        expect(List.of(0, 1, 2, 3, 4, 5), order.take(WORKERS), "order of holders");
    }

    private static void heldThroughCut(Context context) throws Exception {
        Relay relay = context.relay();
        InterProcessMutex held = new InterProcessMutex(Frameworks.openPatient(context, relay), context.path("lock"));
        InterProcessMutex wanted = new InterProcessMutex(Frameworks.open(context), context.path("lock"));
        expect(true, acquire(held), "the first has it");
        relay.cut();
        expect(false, wanted.acquire(1, TimeUnit.MILLISECONDS), "by another while the holder is cut off");
        relay.restore();
        expect(1, held.getParticipantNodes().size(), "the holder's node after the restore");
        expect(false, tryNow(wanted), "by another after the restore");
        held.release();
        expect(true, acquire(wanted), "by another once it is free");
    }

    private static void waitedThroughCut(Context context) throws Exception {
        Relay relay = context.relay();
        InterProcessMutex held = new InterProcessMutex(Frameworks.open(context), context.path("lock"));
        InterProcessMutex wanted = new InterProcessMutex(Frameworks.openPatient(context, relay), context.path("lock"));
        expect(true, acquire(held), "the first has it");
        Future<Boolean> second = Frameworks.aside(context, () -> acquire(wanted));
        Frameworks.eventually("two participants", () -> held.getParticipantNodes().size() == 2);
        relay.cut();
        held.release();
        expect(false, second.isDone(), "the second has it while it is cut off");
        relay.restore();
        expect(true, Frameworks.result(second), "the second has it after the restore");
        expect(1, held.getParticipantNodes().size(), "participants");
    }

    private static void revoked(Context context) throws Exception {
        InterProcessMutex held = new InterProcessMutex(Frameworks.open(context), context.path("lock"));
        CuratorFramework other = Frameworks.open(context);
        InterProcessMutex wanted = new InterProcessMutex(other, context.path("lock"));
        Replies<String> asked = new Replies<>();
        held.makeRevocable(lock -> asked.add("asked"));
        expect(true, acquire(held), "the first has it");
        Revoker.attemptRevoke(other, held.getParticipantNodes().iterator().next());
        expect("asked", asked.take(), "the holder is told");
        held.release();
        expect(true, acquire(wanted), "by the one that asked");
    }
}
