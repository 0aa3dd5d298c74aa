package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.CachedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicValue;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.shared.SharedValueListener;
import org.apache.curator.framework.recipes.shared.SharedValueReader;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;

/** Shared counts and values, and the atomic numbers: no increment is lost or counted twice, whatever the way to it. */
final class CounterChecks {
    private CounterChecks() {}

    static void register(Suite suite) {
        suite.add("shared_count", CounterChecks::sharedCount);
        suite.add("shared_count_under_contention", CounterChecks::sharedCountContention);
        suite.add("shared_value", CounterChecks::sharedValue);
        suite.add("shared_value_after_a_cut", CounterChecks::sharedValueAfterCut);
        suite.add("distributed_atomic_long", CounterChecks::atomicLong);
        suite.add("distributed_atomic_integer_each_operation", CounterChecks::eachOperation);
        suite.add("distributed_atomic_integer_promoted_to_a_lock", CounterChecks::promoted);
        suite.add("distributed_atomic_value", CounterChecks::atomicValue);
        suite.add("cached_atomic_long", CounterChecks::cached);
    }

    /** The listeners are told the seed too, where Curator's first connection is announced late. */
    private static <T> void awaitTold(Replies<T> seen, T wanted) throws InterruptedException {
        while (!seen.take().equals(wanted)) {
            // the seed, or a value that was there before
        }
    }

    private static void sharedCount(Context context) throws Exception {
        SharedCount writer = context.track(new SharedCount(Frameworks.open(context), context.path("count"), 7));
        SharedCount reader = context.track(new SharedCount(Frameworks.open(context), context.path("count"), 7));
        Replies<Integer> seen = new Replies<>();
        reader.addListener(new SharedCountListener() {
            @Override
            public void countHasChanged(SharedCountReader count, int value) {
                seen.add(value);
            }

            @Override
            public void stateChanged(CuratorFramework curator, ConnectionState state) {}
        });
        writer.start();
        reader.start();
        expect(7, reader.getCount(), "the seed");
        writer.setCount(8);
        awaitTold(seen, 8);
        expectTrue(writer.trySetCount(writer.getVersionedValue(), 9), "a set with the present version");
        awaitTold(seen, 9);
    }

    private static void sharedCountContention(Context context) throws Exception {
        int each = 10 * context.options().scale();
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            try (SharedCount count = new SharedCount(curator, context.path("count"), 0)) {
                count.start();
                for (int i = 0; i < each; i++) {
                    VersionedValue<Integer> known;
                    do {
                        known = count.getVersionedValue();
                    } while (!count.trySetCount(known, known.getValue() + 1));
                }
            }
        });
        SharedCount count = context.track(new SharedCount(Frameworks.open(context), context.path("count"), 0));
        count.start();
        expect(4 * each, count.getCount(), "count");
    }

    private static SharedValue startValue(Context context, CuratorFramework curator, Replies<String> seen) throws Exception {
        SharedValue value = context.track(new SharedValue(curator, context.path("value"), "seed".getBytes()));
        value.getListenable().addListener(new SharedValueListener() {
            @Override
            public void valueHasChanged(SharedValueReader reader, byte[] now) {
                seen.add(new String(now));
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {}
        });
        value.start();
        return value;
    }

    private static void sharedValue(Context context) throws Exception {
        Replies<String> seen = new Replies<>();
        SharedValue mine = startValue(context, Frameworks.open(context), new Replies<>());
        SharedValue theirs = startValue(context, Frameworks.open(context), seen);
        expect("seed", new String(theirs.getValue()), "at the start");
        VersionedValue<byte[]> old = mine.getVersionedValue();
        mine.setValue("one".getBytes());
        awaitTold(seen, "one");
        expect(false, mine.trySetValue(old, "stale".getBytes()), "a set with a version of before");
        expect("one", new String(mine.getValue()), "after the stale set");
        expect(true, theirs.trySetValue(theirs.getVersionedValue(), "two".getBytes()), "a set with the present version");
        expect("two", Frameworks.get(Frameworks.open(context), context.path("value")), "on the server");
    }

    private static void sharedValueAfterCut(Context context) throws Exception {
        Relay relay = context.relay();
        Replies<String> seen = new Replies<>();
        SharedValue mine = startValue(context, Frameworks.open(context), new Replies<>());
        SharedValue theirs = startValue(context, Frameworks.openPatient(context, relay), seen);
        expect("seed", new String(theirs.getValue()), "at the start");
        relay.cut();
        mine.setValue("one".getBytes());
        relay.restore();
        awaitTold(seen, "one");
        mine.setValue("two".getBytes());
        awaitTold(seen, "two");
    }

    private static void atomicLong(Context context) throws Exception {
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            DistributedAtomicLong number = new DistributedAtomicLong(curator, context.path("n"), new RetryNTimes(1000, 1));
            for (int i = 0; i < 20 * context.options().scale(); i++) {
                expectTrue(number.increment().succeeded(), "increment");
            }
        });
        DistributedAtomicLong number = new DistributedAtomicLong(Frameworks.open(context), context.path("n"), new RetryNTimes(1, 1));
        expect(80L * context.options().scale(), number.get().postValue(), "number");
    }

    private static DistributedAtomicInteger integer(Context context, CuratorFramework curator) {
        return new DistributedAtomicInteger(curator, context.path("n"), new RetryNTimes(10, 1));
    }

    private static String outcome(AtomicValue<Integer> value) {
        return (value.succeeded() ? "" : "refused ") + value.preValue() + " to " + value.postValue();
    }

    private static void eachOperation(Context context) throws Exception {
        DistributedAtomicInteger number = integer(context, Frameworks.open(context));
        expect(true, number.initialize(5), "initialize");
        expect(false, number.initialize(6), "initialize again");
        expect("5 to 7", outcome(number.add(2)), "add");
        expect("7 to 4", outcome(number.subtract(3)), "subtract");
        expect("4 to 3", outcome(number.decrement()), "decrement");
        expect("3 to 4", outcome(number.increment()), "increment");
        expect(false, number.compareAndSet(5, 9).succeeded(), "compareAndSet of another value");
        expect("4 to 9", outcome(number.compareAndSet(4, 9)), "compareAndSet");
        expect("9 to 1", outcome(number.trySet(1)), "trySet");
        number.forceSet(Integer.MIN_VALUE);
        expect(Integer.MIN_VALUE, integer(context, Frameworks.open(context)).get().postValue(), "after forceSet, for another");
    }

    /** With no optimistic retry left, each collision goes through the lock. */
    private static void promoted(Context context) throws Exception {
        PromotedToLock lock = PromotedToLock.builder().lockPath(context.path("lock"))
                .timeout(Suite.WAIT_MS, TimeUnit.MILLISECONDS).retryPolicy(new RetryNTimes(100, 1)).build();
        int each = 10 * context.options().scale();
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            DistributedAtomicInteger number =
                    new DistributedAtomicInteger(curator, context.path("n"), new RetryNTimes(0, 0), lock);
            for (int done = 0; done < each; ) {
                done += number.increment().succeeded() ? 1 : 0;
            }
        });
        expect(4 * each, integer(context, Frameworks.open(context)).get().postValue(), "number");
    }

    private static void atomicValue(Context context) throws Exception {
        DistributedAtomicValue value =
                new DistributedAtomicValue(Frameworks.open(context), context.path("v"), new RetryNTimes(10, 1));
        expect(true, value.initialize("one".getBytes()), "initialize");
        expect(false, value.compareAndSet("other".getBytes(), "two".getBytes()).succeeded(), "compareAndSet of another value");
        expect(true, value.compareAndSet("one".getBytes(), "two".getBytes()).succeeded(), "compareAndSet");
        expect("two", new String(value.get().postValue()), "value");
        AtomicValue<byte[]> set = value.trySet("three".getBytes());
        expect("two to three", new String(set.preValue()) + " to " + new String(set.postValue()), "trySet");
    }

    private static void cached(Context context) throws Exception {
        Set<Long> numbers = new ConcurrentSkipListSet<>();
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            CachedAtomicLong ids = new CachedAtomicLong(
                    new DistributedAtomicLong(curator, context.path("n"), new RetryNTimes(1000, 1)), 5);
            for (int i = 0; i < 20; i++) {
                AtomicValue<Long> next = ids.next();
                expectTrue(next.succeeded() && numbers.add(next.postValue()), "a number that nobody else has");
            }
        });
        expect(80, numbers.size(), "numbers");
    }
}
