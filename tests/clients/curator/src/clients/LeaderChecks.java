package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;

/** Leader election: the latch passes on when its leader closes or expires, the selector leads one at a time. */
final class LeaderChecks {
    private LeaderChecks() {}

    static void register(Suite suite) {
        suite.add("leader_latch", LeaderChecks::latch);
        suite.add("leader_latch_passes_on_when_its_leader_expires", LeaderChecks::latchLeaderExpires);
        suite.add("leader_selector", LeaderChecks::selector);
        suite.add("leader_selector_requeues", LeaderChecks::requeue);
    }

    private static LeaderLatch startLatch(Context context, CuratorFramework curator, String id) throws Exception {
        LeaderLatch latch = new LeaderLatch(curator, context.path("latch"), id);
        latch.start();
        return latch;
    }

    private static void latch(Context context) throws Exception {
        List<LeaderLatch> candidates = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            candidates.add(startLatch(context, Frameworks.open(context), "c" + i));
            expectTrue(i > 0 || candidates.get(0).await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "the first one leads");
        }
        while (!candidates.isEmpty()) {
            LeaderLatch leader = awaitLeaderAmong(candidates);
            String id = leader.getId();
            expectTrue(leader.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), id + " knows that it leads");
            expect(1L, candidates.stream().filter(LeaderLatch::hasLeadership).count(), "leaders");
            candidates.remove(leader);
            leader.close();
        }
    }

    /** A latch that was closed deletes its znode in the background: another client may still see it lead for a moment. */
    private static LeaderLatch awaitLeaderAmong(List<LeaderLatch> candidates) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(Suite.WAIT_MS);
        while (true) {
            String id = candidates.get(0).getLeader().getId();
            for (LeaderLatch one : candidates) {
                if (one.getId().equals(id)) {
                    return one;
                }
            }
            expectTrue(System.nanoTime() < deadline, "one of those that are left leads, not " + id);
        }
    }

    private static void latchLeaderExpires(Context context) throws Exception {
        Relay relay = context.relay();
        LeaderLatch first = startLatch(context, Frameworks.open(context, relay.address(), Client.SHORT_TIMEOUT_MS), "first");
        expectTrue(first.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "the first leads");
        LeaderLatch second = startLatch(context, Frameworks.open(context), "second");
        CountDownLatch lost = new CountDownLatch(1);
        first.addListener(new LeaderLatchListener() {
            @Override
            public void isLeader() {}

            @Override
            public void notLeader() {
                lost.countDown();
            }
        });
        relay.cut();
        expectTrue(lost.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "the first knows that it leads no more");
        expectTrue(second.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "the second leads");
        second.close();
    }

    private static void selector(Context context) throws Exception {
        AtomicInteger leading = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        CountDownLatch led = new CountDownLatch(4);
        for (int i = 0; i < 4; i++) {
            lead(context, false, curator -> {
                most.accumulateAndGet(leading.incrementAndGet(), Math::max);
                curator.checkExists().forPath(context.root());
                leading.decrementAndGet();
                led.countDown();
            });
        }
        expectTrue(led.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "each of the four led");
        expect(1, most.get(), "leaders at one time");
    }

    private static void requeue(Context context) throws Exception {
        CountDownLatch terms = new CountDownLatch(5);
        lead(context, true, curator -> terms.countDown());
        expectTrue(terms.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "five terms of one candidate");
    }

    /** What a leader does during its term. */
    private interface Term {
        void serve(CuratorFramework curator) throws Exception;
    }

    private static void lead(Context context, boolean again, Term term) throws Exception {
        LeaderSelector selector = new LeaderSelector(
                Frameworks.open(context), context.path("selector"), new LeaderSelectorListenerAdapter() {
                    @Override
                    public void takeLeadership(CuratorFramework curator) throws Exception {
                        term.serve(curator);
                    }
                });
        if (again) {
            selector.autoRequeue();
        }
        context.track(selector);
        selector.start();
    }
}
