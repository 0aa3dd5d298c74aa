package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;

/** Counters, barriers, queues, persistent nodes, group membership. */
final class RecipeChecks {
    private RecipeChecks() {}

    static void register(Suite suite) {
        suite.add("shared_count", RecipeChecks::sharedCount);
        suite.add("distributed_atomic_long", RecipeChecks::atomicLong);
        suite.add("distributed_barrier", RecipeChecks::barrier);
        suite.add("distributed_double_barrier", RecipeChecks::doubleBarrier);
        suite.add("distributed_queue", RecipeChecks::queue);
        suite.add("simple_distributed_queue", RecipeChecks::simpleQueue);
        suite.add("persistent_node", RecipeChecks::persistentNode);
        suite.add("group_member", RecipeChecks::groupMember);
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
        expect(8, seen.take(), "the change");
        expectTrue(writer.trySetCount(writer.getVersionedValue(), 9), "a set with the present version");
        expect(9, seen.take(), "the second change");
    }

    private static void atomicLong(Context context) throws Exception {
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            DistributedAtomicLong number = new DistributedAtomicLong(curator, context.path("n"), new RetryNTimes(1000, 1));
            for (int i = 0; i < 20; i++) {
                expectTrue(number.increment().succeeded(), "increment");
            }
        });
        DistributedAtomicLong number = new DistributedAtomicLong(Frameworks.open(context), context.path("n"), new RetryNTimes(1, 1));
        expect(80L, number.get().postValue(), "number");
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

    private static void queue(Context context) throws Exception {
        Replies<String> consumed = new Replies<>();
        QueueConsumer<String> consumer = new QueueConsumer<>() {
            @Override
            public void consumeMessage(String message) {
                consumed.add(message);
            }

            @Override
            public void stateChanged(CuratorFramework curator, ConnectionState state) {}
        };
        QueueSerializer<String> serializer = new QueueSerializer<>() {
            @Override
            public byte[] serialize(String item) {
                return item.getBytes();
            }

            @Override
            public String deserialize(byte[] bytes) {
                return new String(bytes);
            }
        };
        DistributedQueue<String> source = context.track(
                QueueBuilder.builder(Frameworks.open(context), consumer, serializer, context.path("queue"))
                        .lockPath(context.path("locks")).buildQueue());
        DistributedQueue<String> sink = context.track(
                QueueBuilder.builder(Frameworks.open(context), null, serializer, context.path("queue")).buildQueue());
        source.start();
        sink.start();
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            sink.put("item " + i);
            wanted.add("item " + i);
        }
        expectTrue(sink.flushPuts((int) Suite.WAIT_MS, TimeUnit.MILLISECONDS), "puts were flushed");
        List<String> got = new ArrayList<>(consumed.take(30));
        got.sort(null);
        wanted.sort(null);
        expect(wanted, got, "items, each once");
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

    private static void persistentNode(Context context) throws Exception {
        CuratorFramework observer = Frameworks.open(context);
        PersistentNode node = context.track(new PersistentNode(
                Frameworks.open(context), CreateMode.EPHEMERAL, false, context.path("n"), "x".getBytes()));
        node.start();
        expectTrue(node.waitForInitialCreate(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "created");
        expect("x", Frameworks.get(observer, context.path("n")), "data");
        Replies<String> created = new Replies<>();
        node.getListenable().addListener(created::add);
        observer.delete().forPath(context.path("n"));
        expect(context.path("n"), created.take(), "created again after a foreign delete");
        node.setData("y".getBytes());
        node.close();
        // A create that was under way when it was closed is taken back in the background.
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(Suite.WAIT_MS);
        while (observer.checkExists().forPath(context.path("n")) != null) {
            expectTrue(System.nanoTime() < deadline, "gone after close");
        }
    }

    private static void groupMember(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        GroupMember first = context.track(new GroupMember(curator, context.path("group"), "first", "1".getBytes()));
        GroupMember second = context.track(new GroupMember(Frameworks.open(context), context.path("group"), "second"));
        first.start();
        second.start();
        awaitMembers(curator, context.path("group"), first, 2);
        second.close();
        awaitMembers(curator, context.path("group"), first, 1);
    }

    /** The member's view follows by watches; each turn of the loop is a round trip to the server, and the loop has a limit. */
    private static void awaitMembers(CuratorFramework curator, String path, GroupMember member, int count) throws Exception {
        long deadline = System.nanoTime() + Suite.WAIT_MS * 1_000_000;
        while (member.getCurrentMembers().size() != count
                || curator.checkExists().forPath(path).getNumChildren() != count) {
            expectTrue(System.nanoTime() < deadline, count + " members, got " + member.getCurrentMembers().keySet());
        }
    }
}
