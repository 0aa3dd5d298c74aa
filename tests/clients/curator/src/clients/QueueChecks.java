package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;

/** Queues of each kind: every item comes once, and in the order that the kind promises. */
final class QueueChecks {
    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return item.getBytes();
        }

        @Override
        public String deserialize(byte[] bytes) {
            return new String(bytes);
        }
    };

    private QueueChecks() {}

    static void register(Suite suite) {
        suite.addSpread("distributed_queue", QueueChecks::queue);
        suite.addSpread("distributed_queue_many_producers_and_consumers", QueueChecks::manySides);
        suite.addSpread("distributed_queue_keeps_what_its_consumer_failed_on", QueueChecks::failingConsumer);
        suite.addSpread("distributed_queue_after_a_cut", QueueChecks::afterCut);
        suite.add("distributed_id_queue", QueueChecks::idQueue);
        suite.add("distributed_priority_queue", QueueChecks::priorityQueue);
        suite.add("distributed_delay_queue", QueueChecks::delayQueue);
        suite.addSpread("simple_distributed_queue", QueueChecks::simpleQueue);
        suite.addSpread("simple_distributed_queue_under_contention", QueueChecks::simpleContention);
    }

    /** What a consumer does with an item; it fails by throwing. */
    private interface Taking {
        void take(String item) throws Exception;
    }

    private static QueueConsumer<String> consumer(Taking taking) {
        return new QueueConsumer<>() {
            @Override
            public void consumeMessage(String item) throws Exception {
                taking.take(item);
            }

            @Override
            public void stateChanged(CuratorFramework curator, ConnectionState state) {}
        };
    }

    /** A queue that consumes, or only puts where {@code taking} is null. */
    private static QueueBuilder<String> builder(Context context, CuratorFramework curator, Taking taking) {
        return QueueBuilder.builder(curator, taking == null ? null : consumer(taking), TEXT, context.path("queue"));
    }

    private static DistributedQueue<String> start(Context context, DistributedQueue<String> queue) throws Exception {
        context.track(queue);
        queue.start();
        return queue;
    }

    private static DistributedQueue<String> sink(Context context) throws Exception {
        return start(context, builder(context, Frameworks.open(context), null).buildQueue());
    }

    private static DistributedQueue<String> safeSource(Context context, CuratorFramework curator, Taking taking) throws Exception {
        return start(context, builder(context, curator, taking).lockPath(context.path("locks")).buildQueue());
    }

    /** Put {@code count} items whose names start with {@code name}; all are on the server afterwards. */
    private static List<String> fill(DistributedQueue<String> queue, String name, int count) throws Exception {
        List<String> items = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            items.add(name + i);
            queue.put(name + i);
        }
        expectTrue(queue.flushPuts(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "puts were flushed");
        return items;
    }

    private static List<String> sorted(List<String> items) {
        return items.stream().sorted().toList();
    }

    private static void queue(Context context) throws Exception {
        Replies<String> consumed = new Replies<>();
        safeSource(context, Frameworks.open(context), consumed::add);
        List<String> wanted = fill(sink(context), "item ", 30);
        expect(sorted(wanted), sorted(consumed.take(30)), "items, each once");
    }

    private static void manySides(Context context) throws Exception {
        Replies<String> consumed = new Replies<>();
        for (int i = 0; i < 3; i++) {
            safeSource(context, Frameworks.open(context), consumed::add);
        }
        int each = 10 * context.options().scale();
        List<String> wanted = new ArrayList<>();
        Frameworks.sideBySide(context, 3, (curator, worker) -> {
            try (DistributedQueue<String> mine = builder(context, curator, null).buildQueue()) {
                mine.start();
                List<String> items = fill(mine, "item of " + worker + " ", each);
                synchronized (wanted) {
                    wanted.addAll(items);
                }
            }
        });
        expect(sorted(wanted), sorted(consumed.take(3 * each)), "items, each once");
        CuratorFramework curator = Frameworks.open(context);
        Frameworks.eventually("nothing is left", () -> curator.getChildren().forPath(context.path("queue")).isEmpty());
    }

    private static void failingConsumer(Context context) throws Exception {
        Replies<String> consumed = new Replies<>();
        AtomicInteger tries = new AtomicInteger();
        safeSource(context, Frameworks.open(context), item -> {
            if (tries.incrementAndGet() == 1) {
                throw new IllegalStateException("the first time");
            }
            consumed.add(item);
        });
        fill(sink(context), "item ", 1);
        expect("item 0", consumed.take(), "the second time");
        expect(2, tries.get(), "tries");
    }

    private static void afterCut(Context context) throws Exception {
        Relay relay = context.relay();
        Replies<String> consumed = new Replies<>();
        safeSource(context, Frameworks.openPatient(context, relay), consumed::add);
        DistributedQueue<String> sink = sink(context);
        fill(sink, "before ", 1);
        expect("before 0", consumed.take(), "before the cut");
        relay.cut();
        List<String> wanted = fill(sink, "meanwhile ", 5);
        relay.restore();
        expect(sorted(wanted), sorted(consumed.take(5)), "what came meanwhile");
        fill(sink, "after ", 1);
        expect("after 0", consumed.take(), "afterwards");
    }

    private static void idQueue(Context context) throws Exception {
        DistributedIdQueue<String> sink = context.track(builder(context, Frameworks.open(context), null).buildIdQueue());
        sink.start();
        for (String id : List.of("a", "b", "a", "c")) {
            sink.put("item " + id, id);
        }
        expectTrue(sink.flushPuts(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "puts were flushed");
        expect(2, sink.remove("a"), "items that were removed by their id");
        expect(0, sink.remove("a"), "items that are left to remove");
        Replies<String> consumed = new Replies<>();
        DistributedIdQueue<String> source = context.track(
                builder(context, Frameworks.open(context), consumed::add).executor(Runnable::run).buildIdQueue());
        source.start();
        expect(List.of("item b", "item c"), consumed.take(2), "what is left");
    }

    private static void priorityQueue(Context context) throws Exception {
        DistributedPriorityQueue<String> sink =
                context.track(builder(context, Frameworks.open(context), null).buildPriorityQueue(0));
        sink.start();
        for (int priority : List.of(5, -3, 1, 5, 0)) {
            sink.put("item of " + priority, priority);
        }
        expectTrue(sink.flushPuts(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "puts were flushed");
        Replies<String> consumed = new Replies<>();
        // The executor runs each item at once, so that they come one after the other.
        DistributedPriorityQueue<String> source = context.track(
                builder(context, Frameworks.open(context), consumed::add).executor(Runnable::run).buildPriorityQueue(0));
        source.start();
        expect(List.of("item of -3", "item of 0", "item of 1", "item of 5", "item of 5"), consumed.take(5), "in order");
        sink.put("item of 2", 2);
        expect("item of 2", consumed.take(), "while it runs");
    }

    private static void delayQueue(Context context) throws Exception {
        Replies<String> consumed = new Replies<>();
        AtomicLong dueMs = new AtomicLong();
        DistributedDelayQueue<String> queue = context.track(
                builder(context, Frameworks.open(context), item -> {
                    consumed.add(item + (System.currentTimeMillis() < dueMs.get() ? ", too early" : ""));
                }).buildDelayQueue());
        queue.start();
        queue.put("in an hour", System.currentTimeMillis() + 3_600_000);
        queue.put("at once", 1);
        expect("at once", consumed.take(), "what is due, though another was there before it");
        dueMs.set(System.currentTimeMillis() + 1_000);
        queue.put("in a second", dueMs.get());
        expect("in a second", consumed.take(), "when its time has come");
    }

    private static void simpleQueue(Context context) throws Exception {
        SimpleDistributedQueue sink = new SimpleDistributedQueue(Frameworks.open(context), context.path("queue"));
        SimpleDistributedQueue source = new SimpleDistributedQueue(Frameworks.open(context), context.path("queue"));
        for (int i = 0; i < 10; i++) {
            sink.offer(("item " + i).getBytes());
        }
        for (int i = 0; i < 10; i++) {
            expect("item " + i, new String(source.poll(Suite.WAIT_MS, TimeUnit.MILLISECONDS)), "item in order");
        }
        expect(null, source.poll(), "nothing more");
    }

    private static void simpleContention(Context context) throws Exception {
        int each = 10 * context.options().scale();
        Set<String> taken = new ConcurrentSkipListSet<>();
        Frameworks.sideBySide(context, 6, (curator, worker) -> {
            SimpleDistributedQueue queue = new SimpleDistributedQueue(curator, context.path("queue"));
            for (int i = 0; i < each; i++) {
                if (worker % 2 == 0) {
                    expectTrue(queue.offer(("item " + i + " of " + worker).getBytes()), "offered");
                } else {
                    expectTrue(taken.add(new String(queue.take())), "an item that nobody else has");
                }
            }
        });
        expect(3 * each, taken.size(), "items that were taken");
    }
}
