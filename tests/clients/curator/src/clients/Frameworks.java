package clients;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.RetryPolicy;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.curator.retry.RetryOneTime;

/** Curator handles for the checks, work that several of them do side by side, and waiting for what comes by itself. */
final class Frameworks {
    private Frameworks() {}

    /** Something that a worker does with its own framework. */
    interface Work {
        void run(CuratorFramework curator, int worker) throws Exception;
    }

    /** A started and connected framework that is closed with the check. */
    static CuratorFramework open(Context context) throws Exception {
        return open(context, context.hosts(), Client.TIMEOUT_MS);
    }

    /** The same at another address (a relay's) and with another session timeout, in milliseconds. */
    static CuratorFramework open(Context context, String hosts, int timeoutMs) throws Exception {
        return open(context, hosts, timeoutMs, new RetryOneTime(100));
    }

    /** One whose calls outlast a cut of its relay: they are tried again until it is restored. */
    static CuratorFramework openPatient(Context context, Relay relay) throws Exception {
        return open(context, relay.address(), Client.TIMEOUT_MS, new RetryNTimes((int) (Suite.WAIT_MS / 50), 50));
    }

    private static CuratorFramework open(Context context, String hosts, int timeoutMs, RetryPolicy retry) throws Exception {
        // Recipes take CONNECTED for a reason to begin anew (discovery deletes and creates its nodes): it must not come late to them.
        ToldStates states = new ToldStates();
        CuratorFramework curator = context.track(CuratorFrameworkFactory.builder()
                .connectString(hosts).sessionTimeoutMs(timeoutMs).connectionTimeoutMs(10_000).retryPolicy(retry)
                .connectionStateListenerManagerFactory(client -> states)
                .build());
        curator.start();
        Suite.expectTrue(states.first.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "curator is connected");
        if (context.isSpread()) {
            catchUp(curator);
        }
        return curator;
    }

    /** The states of the connection from now on. */
    static Replies<ConnectionState> states(CuratorFramework curator) {
        Replies<ConnectionState> states = new Replies<>();
        curator.getConnectionStateListenable().addListener((client, state) -> states.add(state));
        return states;
    }

    /** Run the work in {@code workers} threads, each with a framework of its own; the first failure is thrown. */
    static void sideBySide(Context context, int workers, Work work) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(workers);
        context.track(pool::shutdownNow);
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int i = 0; i < workers; i++) {
            CuratorFramework curator = open(context);
            int worker = i;
            tasks.add(() -> {
                work.run(curator, worker);
                return null;
            });
        }
        for (Future<Void> future : pool.invokeAll(tasks, 2 * Suite.WAIT_MS, TimeUnit.MILLISECONDS)) {
            future.get();
        }
    }

    /** Do this in a thread of its own, as the locks want it that belong to threads. */
    static <T> Future<T> aside(Context context, Callable<T> work) {
        ExecutorService pool = Executors.newSingleThreadExecutor();
        context.track(pool::shutdownNow);
        return pool.submit(work);
    }

    /** The result of what runs aside, waited for. */
    static <T> T result(Future<T> future) throws Exception {
        return future.get(2 * Suite.WAIT_MS, TimeUnit.MILLISECONDS);
    }

    /** Wait for what comes by itself; the condition asks the server, anew until it holds. */
    static void eventually(String what, Callable<Boolean> holds) throws Exception {
        eventually(what, Suite.WAIT_MS, holds);
    }

    /** The same with another limit, in milliseconds. */
    static void eventually(String what, long limitMs, Callable<Boolean> holds) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(limitMs);
        while (!holds.call()) {
            Suite.expectTrue(System.nanoTime() < deadline, what);
            Thread.sleep(5); // so that the asking itself is no load
        }
    }

    /** What this client asks from here on shows what any client has been told by now: its server may be a moment behind theirs. */
    static void catchUp(CuratorFramework curator) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        AtomicInteger code = new AtomicInteger();
        curator.getZookeeperClient().getZooKeeper().sync("/", (result, path, unused) -> {
            code.set(result);
            done.countDown();
        }, null);
        Suite.expectTrue(done.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "a sync is answered");
        Suite.expect(0, code.get(), "code of a sync");
    }

    /** The node's data as text. */
    static String get(CuratorFramework curator, String path) throws Exception {
        return new String(curator.getData().forPath(path));
    }
}
