package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;

/** Barriers: nobody passes before it is open, everybody passes once it is. */
final class BarrierChecks {
    private BarrierChecks() {}

    static void register(Suite suite) {
        suite.addSpread("distributed_barrier", BarrierChecks::barrier);
        suite.addSpread("distributed_barrier_with_many_waiters", BarrierChecks::manyWaiters);
        suite.addSpread("distributed_double_barrier", BarrierChecks::doubleBarrier);
        suite.addSpread("distributed_double_barrier_again_and_again", BarrierChecks::doubleBarrierRounds);
    }

    private static void barrier(Context context) throws Exception {
        CuratorFramework owner = Frameworks.open(context);
        DistributedBarrier barrier = new DistributedBarrier(owner, context.path("barrier"));
        barrier.setBarrier();
        DistributedBarrier waiting = new DistributedBarrier(Frameworks.open(context), context.path("barrier"));
        expect(false, waiting.waitOnBarrier(1, TimeUnit.MILLISECONDS), "it stands");
        barrier.removeBarrier();
        expect(true, waiting.waitOnBarrier(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "it is gone");
    }

    private static void manyWaiters(Context context) throws Exception {
        DistributedBarrier barrier = new DistributedBarrier(Frameworks.open(context), context.path("barrier"));
        barrier.setBarrier();
        AtomicInteger passed = new AtomicInteger();
        List<Future<Boolean>> waiting = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            DistributedBarrier mine = new DistributedBarrier(Frameworks.open(context), context.path("barrier"));
            waiting.add(Frameworks.aside(context, () -> {
                boolean open = mine.waitOnBarrier(Suite.WAIT_MS, TimeUnit.MILLISECONDS);
                passed.incrementAndGet();
                return open;
            }));
        }
        CuratorFramework other = Frameworks.open(context);
        expectTrue(other.checkExists().forPath(context.path("barrier")) != null, "it stands");
        expect(0, passed.get(), "how many passed while it stands");
        barrier.removeBarrier();
        for (Future<Boolean> one : waiting) {
            expect(true, Frameworks.result(one), "it is open for each");
        }
    }

    private static void doubleBarrier(Context context) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            DistributedDoubleBarrier gate = new DistributedDoubleBarrier(curator, context.path("gate"), 4);
            inside.incrementAndGet();
            expectTrue(gate.enter(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "entered");
            expect(4, inside.get(), "workers that came to the gate");
            expectTrue(gate.leave(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "left");
        });
    }

    /** Nobody is in round n + 1 while another has not left round n. */
    private static void doubleBarrierRounds(Context context) throws Exception {
        int rounds = 3 * context.options().scale();
        AtomicInteger entered = new AtomicInteger();
        Frameworks.sideBySide(context, 3, (curator, worker) -> {
            for (int round = 0; round < rounds; round++) {
                DistributedDoubleBarrier gate = new DistributedDoubleBarrier(curator, context.path("gate" + round), 3);
                entered.incrementAndGet();
                expectTrue(gate.enter(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "entered");
                expectTrue(entered.get() >= 3 * (round + 1), "all came to round " + round);
                expectTrue(gate.leave(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "left");
                expectTrue(entered.get() <= 3 * (round + 2), "nobody is two rounds ahead");
            }
        });
        expect(3 * rounds, entered.get(), "entries");
    }
}
