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
        suite.addSpread("leader_latch", LeaderChecks::latch);
        suite.addSpread("leader_latch_passes_on_when_its_leader_expires", LeaderChecks::latchLeaderExpires);
        suite.add("leader_latch_leads_again_after_a_cut", LeaderChecks::latchAfterCut);
        suite.add("leader_latch_stays_silent_or_tells_when_it_closes", LeaderChecks::closeModes);
        suite.addSpread("leader_selector", LeaderChecks::selector);
        suite.add("leader_selector_requeues", LeaderChecks::requeue);
        suite.addSpread("leader_selector_under_contention", LeaderChecks::manyTerms);
        suite.addSpread("leader_selector_is_interrupted", LeaderChecks::interrupted);
        suite.addSpread("leader_selector_loses_it_with_the_connection", LeaderChecks::selectorCutOff);
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

    private static LeaderLatchListener telling(Replies<String> told) {
        return new LeaderLatchListener() {
            @Override
            public void isLeader() {
                told.add("leads");
            }

            @Override
            public void notLeader() {
                told.add("leads no more");
            }
        };
    }

    private static void latchAfterCut(Context context) throws Exception {
        Relay relay = context.relay();
        Replies<String> told = new Replies<>();
        LeaderLatch latch = startLatch(context, Frameworks.openPatient(context, relay), "only");
        latch.addListener(telling(told));
        expectTrue(latch.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "it leads");
        String first = told.take();
        relay.cut();
        expect(List.of("leads", "leads no more"), List.of(first, told.take()), "until the cut");
        relay.restore();
        expect("leads", told.take(), "after the restore");
        Frameworks.eventually("one candidate is left of it", () -> latch.getParticipants().size() == 1);
        expect("only", latch.getLeader().getId(), "the leader that others see");
        latch.close();
    }

    private static void closeModes(Context context) throws Exception {
        for (LeaderLatch.CloseMode mode : LeaderLatch.CloseMode.values()) {
            Replies<String> told = new Replies<>();
            LeaderLatch latch = new LeaderLatch(Frameworks.open(context), context.path("latch"), mode.name(), mode);
            latch.addListener(telling(told));
            latch.start();
            expect("leads", told.take(), mode + " at the start");
            latch.close();
            expect(LeaderLatch.State.CLOSED, latch.getState(), mode + " at the end");
            if (mode == LeaderLatch.CloseMode.NOTIFY_LEADER) {
                expect("leads no more", told.take(), mode + " when it closes");
            }
        }
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

    private static void manyTerms(Context context) throws Exception {
        AtomicInteger leading = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        int each = 5 * context.options().scale();
        List<CountDownLatch> terms = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            CountDownLatch mine = new CountDownLatch(each);
            terms.add(mine);
            lead(context, true, curator -> {
                most.accumulateAndGet(leading.incrementAndGet(), Math::max);
                curator.checkExists().forPath(context.root());
                leading.decrementAndGet();
                mine.countDown();
            });
        }
        for (CountDownLatch mine : terms) {
            expectTrue(mine.await(2 * Suite.WAIT_MS, TimeUnit.MILLISECONDS), each + " terms of each");
        }
        expect(1, most.get(), "leaders at one time");
    }

    /** Leads until it is interrupted; tells who began and who ended. */
    private static LeaderSelector leadUntilInterrupted(Context context, CuratorFramework curator, String id, Replies<String> told) {
        LeaderSelector selector = new LeaderSelector(curator, context.path("selector"), new LeaderSelectorListenerAdapter() {
            @Override
            public void takeLeadership(CuratorFramework same) throws InterruptedException {
                told.add(id + " begins");
                try {
                    new CountDownLatch(1).await();
                } finally {
                    told.add(id + " ends");
                }
            }
        });
        selector.setId(id);
        context.track(selector);
        selector.start();
        return selector;
    }

    private static void interrupted(Context context) throws Exception {
        Replies<String> told = new Replies<>();
        LeaderSelector first = leadUntilInterrupted(context, Frameworks.open(context), "first", told);
        expect("first begins", told.take(), "alone");
        expectTrue(first.hasLeadership(), "the first leads");
        LeaderSelector second = leadUntilInterrupted(context, Frameworks.open(context), "second", told);
        Frameworks.eventually("two participants", () -> second.getParticipants().size() == 2);
        expect("first", second.getLeader().getId(), "the leader that the second sees");
        first.interruptLeadership();
        expect(List.of("first ends", "second begins"), told.take(2), "after the interruption");
        expect("second", second.getLeader().getId(), "the leader after it");
    }

    /** The adapter gives leadership up as soon as the connection is suspect, long before the next one can lead. */
    private static void selectorCutOff(Context context) throws Exception {
        Relay relay = context.relay();
        Replies<String> told = new Replies<>();
        CuratorFramework cutOff = Frameworks.open(context, relay.address(), Client.SHORT_TIMEOUT_MS);
        LeaderSelector first = leadUntilInterrupted(context, cutOff, "first", told);
        expect("first begins", told.take(), "alone");
        LeaderSelector second = leadUntilInterrupted(context, Frameworks.open(context), "second", told);
        Frameworks.eventually("two participants", () -> second.getParticipants().size() == 2);
        relay.cut();
        expect(List.of("first ends", "second begins"), told.take(2), "after the cut");
        Frameworks.eventually("the first leads no more", () -> !first.hasLeadership());
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
