package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.Collection;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.shared.SharedCount;

/** Semaphores: never more leases than the count says, whether it is fixed or shared on the server. */
final class SemaphoreChecks {
    private SemaphoreChecks() {}

    static void register(Suite suite) {
        suite.addSpread("semaphore_mutex_under_contention", SemaphoreChecks::semaphoreMutex);
        suite.addSpread("semaphore", SemaphoreChecks::semaphore);
        suite.addSpread("semaphore_under_contention", SemaphoreChecks::contention);
        suite.addSpread("semaphore_several_leases_at_once", SemaphoreChecks::several);
        suite.addSpread("semaphore_with_a_shared_count", SemaphoreChecks::sharedCount);
        suite.addSpread("semaphore_lease_of_an_expired_session_is_free", SemaphoreChecks::expired);
    }

    private static Lease acquire(InterProcessSemaphoreV2 semaphore) throws Exception {
        return semaphore.acquire(Suite.WAIT_MS, TimeUnit.MILLISECONDS);
    }

    private static Lease tryNow(InterProcessSemaphoreV2 semaphore) throws Exception {
        return semaphore.acquire(0, TimeUnit.MILLISECONDS);
    }

    private static void semaphoreMutex(Context context) throws Exception {
        CuratorFramework reader = LockChecks.withCounter(context);
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            InterProcessSemaphoreMutex lock = new InterProcessSemaphoreMutex(curator, context.path("lock"));
            for (int i = 0; i < 5 * context.options().scale(); i++) {
                Suite.expectTrue(LockChecks.acquire(lock), "acquired");
                LockChecks.increment(curator, context.path("counter"));
                lock.release();
            }
        });
        Frameworks.catchUp(reader);
        expect(String.valueOf(20 * context.options().scale()), Frameworks.get(reader, context.path("counter")), "counter");
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

    private static void contention(Context context) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        CountDownLatch full = new CountDownLatch(3);
        Frameworks.sideBySide(context, 6, (curator, worker) -> {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(curator, context.path("s"), 3);
            for (int i = 0; i < 5 * context.options().scale(); i++) {
                Lease lease = acquire(semaphore);
                expectTrue(lease != null, "acquired");
                most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                full.countDown();
                expectTrue(full.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "three are inside at one time");
                inside.decrementAndGet();
                semaphore.returnLease(lease);
            }
        });
        expect(3, most.get(), "most leases at one time");
    }

    private static void several(Context context) throws Exception {
        InterProcessSemaphoreV2 first = new InterProcessSemaphoreV2(Frameworks.open(context), context.path("s"), 3);
        InterProcessSemaphoreV2 second = new InterProcessSemaphoreV2(Frameworks.open(context), context.path("s"), 3);
        Collection<Lease> two = first.acquire(2);
        expect(2, two.size(), "leases");
        expect(null, second.acquire(2, 1, TimeUnit.MILLISECONDS), "two of the one that is left");
        first.returnAll(two);
        expect(3, second.acquire(3, Suite.WAIT_MS, TimeUnit.MILLISECONDS).size(), "all, the one that was taken in vain too");
    }

    private static void sharedCount(Context context) throws Exception {
        SharedCount mine = context.track(new SharedCount(Frameworks.open(context), context.path("count"), 1));
        CuratorFramework curator = Frameworks.open(context);
        SharedCount theirs = context.track(new SharedCount(curator, context.path("count"), 1));
        mine.start();
        theirs.start();
        InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(curator, context.path("s"), theirs);
        expectTrue(acquire(semaphore) != null, "the one lease");
        expect(null, tryNow(semaphore), "a second of one");
        Future<Lease> second = Frameworks.aside(context, () -> acquire(semaphore));
        Frameworks.eventually("the second asks", () -> semaphore.getParticipantNodes().size() == 2);
        mine.setCount(2);
        expectTrue(Frameworks.result(second) != null, "the second once another raised the count");
        expect(null, tryNow(semaphore), "a third of two");
    }

    private static void expired(Context context) throws Exception {
        Relay relay = context.relay();
        InterProcessSemaphoreV2 lost = new InterProcessSemaphoreV2(
                Frameworks.open(context, relay.address(), Client.SHORT_TIMEOUT_MS), context.path("s"), 1);
        InterProcessSemaphoreV2 wanted = new InterProcessSemaphoreV2(Frameworks.open(context), context.path("s"), 1);
        expectTrue(acquire(lost) != null, "the first has it");
        relay.cut();
        expectTrue(acquire(wanted) != null, "the second has it once the first's session expired");
    }
}
