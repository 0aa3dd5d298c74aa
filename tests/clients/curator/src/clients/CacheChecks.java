package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheBridge;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCacheEvent;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.cache.TreeCacheEvent;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.framework.state.ConnectionState;

/** Caches, which live on watches: one-shot ones (PathChildrenCache, NodeCache, TreeCache) and persistent ones (CuratorCache). */
@SuppressWarnings("deprecation") // the old caches are what most programs still use
final class CacheChecks {
    private CacheChecks() {}

    static void register(Suite suite) {
        suite.add("path_children_cache", CacheChecks::pathChildrenCache);
        suite.add("node_cache", CacheChecks::nodeCache);
        suite.add("tree_cache", CacheChecks::treeCache);
        suite.add("curator_cache", CacheChecks::curatorCache);
        suite.add("curator_cache_catches_up_after_a_cut", CacheChecks::curatorCacheReconnects);
        suite.add("curator_cache_of_a_single_node", CacheChecks::singleNode);
        suite.add("curator_cache_bridge", CacheChecks::bridge);
        suite.add("persistent_watcher", CacheChecks::persistentWatcher);
        suite.add("persistent_watcher_after_a_cut", CacheChecks::persistentWatcherAfterCut);
    }

    private static void pathChildrenCache(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        writer.create().forPath(context.path("a"), "1".getBytes());
        Replies<String> events = new Replies<>();
        PathChildrenCache cache = context.track(new PathChildrenCache(Frameworks.open(context), context.root(), true));
        cache.getListenable().addListener((curator, event) -> {
            if (event.getType() == PathChildrenCacheEvent.Type.INITIALIZED || event.getData() != null) {
                events.add(event.getType() + (event.getData() == null ? "" : " " + event.getData().getPath()));
            }
        });
        cache.start(PathChildrenCache.StartMode.POST_INITIALIZED_EVENT);
        expect(List.of("CHILD_ADDED " + context.path("a"), "INITIALIZED"), events.take(2), "initial");
        writer.create().forPath(context.path("b"));
        expect("CHILD_ADDED " + context.path("b"), events.take(), "after create");
        writer.setData().forPath(context.path("a"), "2".getBytes());
        expect("CHILD_UPDATED " + context.path("a"), events.take(), "after set");
        expect("2", new String(cache.getCurrentData(context.path("a")).getData()), "cached data");
        writer.delete().forPath(context.path("b"));
        expect("CHILD_REMOVED " + context.path("b"), events.take(), "after delete");
    }

    private static void nodeCache(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        NodeCache cache = context.track(new NodeCache(Frameworks.open(context), context.path("n")));
        Replies<String> values = new Replies<>();
        cache.getListenable().addListener(
                () -> values.add(cache.getCurrentData() == null ? "none" : new String(cache.getCurrentData().getData())));
        cache.start(true);
        writer.create().forPath(context.path("n"), "1".getBytes());
        expect("1", values.take(), "after create");
        writer.setData().forPath(context.path("n"), "2".getBytes());
        expect("2", values.take(), "after set");
        writer.delete().forPath(context.path("n"));
        expect("none", values.take(), "after delete");
    }

    private static void treeCache(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        writer.create().creatingParentsIfNeeded().forPath(context.path("t/a/b"), "1".getBytes());
        Replies<String> events = new Replies<>();
        CountDownLatch ready = new CountDownLatch(1);
        TreeCache cache = context.track(new TreeCache(Frameworks.open(context), context.path("t")));
        cache.getListenable().addListener((curator, event) -> {
            if (event.getType() == TreeCacheEvent.Type.INITIALIZED) {
                ready.countDown();
            } else if (ready.getCount() == 0 && event.getData() != null) {
                events.add(event.getType() + " " + event.getData().getPath());
            }
        });
        cache.start();
        expectTrue(ready.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "initialized");
        writer.setData().forPath(context.path("t/a/b"), "2".getBytes());
        expect("NODE_UPDATED " + context.path("t/a/b"), events.take(), "after set");
        writer.create().forPath(context.path("t/a/c"));
        expect("NODE_ADDED " + context.path("t/a/c"), events.take(), "after create");
        writer.delete().forPath(context.path("t/a/b"));
        expect("NODE_REMOVED " + context.path("t/a/b"), events.take(), "after delete");
    }

    private static CuratorCache startCache(Context context, CuratorFramework curator, Replies<String> events) throws Exception {
        CuratorCache cache = context.track(CuratorCache.build(curator, context.path("t")));
        CountDownLatch ready = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forInitialized(ready::countDown)
                .forCreates(node -> events.add("created " + node.getPath()))
                .forChanges((before, after) -> events.add("changed " + after.getPath()))
                .forDeletes(node -> events.add("deleted " + node.getPath()))
                .build());
        cache.start();
        expectTrue(ready.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "initialized");
        return cache;
    }

    private static List<String> sorted(List<String> entries) {
        List<String> copy = new ArrayList<>(entries);
        copy.sort(null);
        return copy;
    }

    private static void curatorCache(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        writer.create().creatingParentsIfNeeded().forPath(context.path("t/a"), "1".getBytes());
        Replies<String> events = new Replies<>();
        CuratorCache cache = startCache(context, Frameworks.open(context), events);
        expect(List.of("created " + context.path("t"), "created " + context.path("t/a")), sorted(events.take(2)), "initial");
        writer.setData().forPath(context.path("t/a"), "2".getBytes());
        expect("changed " + context.path("t/a"), events.take(), "after set");
        expect("2", new String(cache.get(context.path("t/a")).orElseThrow().getData()), "cached data");
        writer.create().forPath(context.path("t/a/b"));
        expect("created " + context.path("t/a/b"), events.take(), "after create");
        writer.delete().forPath(context.path("t/a/b"));
        expect("deleted " + context.path("t/a/b"), events.take(), "after delete");
    }

    private static void curatorCacheReconnects(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        writer.create().forPath(context.path("t"), "1".getBytes());
        Relay relay = context.relay();
        Replies<String> events = new Replies<>();
        startCache(context, Frameworks.open(context, relay.address(), Client.TIMEOUT_MS), events);
        expect("created " + context.path("t"), events.take(), "initial");
        relay.cut();
        writer.setData().forPath(context.path("t"), "2".getBytes());
        writer.create().forPath(context.path("t/new"));
        relay.restore();
        expect(List.of("changed " + context.path("t"), "created " + context.path("t/new")), sorted(events.take(2)), "caught up");
    }

    private static void persistentWatcher(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        Replies<String> events = new Replies<>();
        CountDownLatch set = new CountDownLatch(1);
        PersistentWatcher watcher = context.track(new PersistentWatcher(Frameworks.open(context), context.path("n"), true));
        watcher.getListenable().addListener(event -> events.add(event.getType() + " " + event.getPath()));
        watcher.getResetListenable().addListener(set::countDown);
        watcher.start();
        expectTrue(set.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "the watch is set");
        writer.create().forPath(context.path("n"));
        writer.create().forPath(context.path("n/c"));
        writer.setData().forPath(context.path("n/c"));
        expect(List.of("NodeCreated " + context.path("n"), "NodeCreated " + context.path("n/c"),
                "NodeDataChanged " + context.path("n/c")), events.take(3), "events");
    }

    private static void singleNode(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        Replies<String> events = new Replies<>();
        CuratorCache cache = context.track(
                CuratorCache.build(Frameworks.open(context), context.path("n"), CuratorCache.Options.SINGLE_NODE_CACHE));
        CountDownLatch ready = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder().forInitialized(ready::countDown)
                .forAll((type, before, after) -> events.add(type + " " + (after == null ? before : after).getPath())).build());
        cache.start();
        expectTrue(ready.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "initialized");
        // One by one: the cache reads a node after the event and tells nothing of what is over by then.
        writer.create().creatingParentsIfNeeded().forPath(context.path("n/child"));
        expect("NODE_CREATED " + context.path("n"), events.take(), "after create");
        writer.setData().forPath(context.path("n"), "1".getBytes());
        expect("NODE_CHANGED " + context.path("n"), events.take(), "after set, nothing of the child");
        writer.delete().deletingChildrenIfNeeded().forPath(context.path("n"));
        expect("NODE_DELETED " + context.path("n"), events.take(), "after delete");
    }

    /** The bridge takes CuratorCache where the client library has persistent watches, and so needs them of the server. */
    private static void bridge(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        writer.create().creatingParentsIfNeeded().forPath(context.path("t/a"), "1".getBytes());
        Replies<String> events = new Replies<>();
        CuratorCacheBridge cache = context.track(CuratorCache.bridgeBuilder(Frameworks.open(context), context.path("t")).build());
        expect(true, cache.isCuratorCache(), "it is a CuratorCache");
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forCreatesAndChanges((before, after) -> events.add("is " + new String(after.getData()) + " at " + after.getPath()))
                .forDeletes(node -> events.add("deleted " + node.getPath())).build());
        cache.start();
        events.take(2);
        writer.create().forPath(context.path("t/b"), "2".getBytes());
        expect("is 2 at " + context.path("t/b"), events.take(), "after create");
        expect(3L, cache.stream().count(), "nodes");
        writer.delete().forPath(context.path("t/a"));
        expect("deleted " + context.path("t/a"), events.take(), "after delete");
        expect(false, cache.get(context.path("t/a")).isPresent(), "the deleted one is cached");
    }

    private static void persistentWatcherAfterCut(Context context) throws Exception {
        CuratorFramework writer = Frameworks.open(context);
        Relay relay = context.relay();
        CuratorFramework curator = Frameworks.openPatient(context, relay);
        Replies<ConnectionState> states = Frameworks.states(curator);
        Replies<String> events = new Replies<>();
        CountDownLatch set = new CountDownLatch(1);
        PersistentWatcher watcher = context.track(new PersistentWatcher(curator, context.path("n"), false));
        watcher.getListenable().addListener(event -> {
            if (event.getPath() != null) {
                events.add(event.getType() + " " + event.getPath());
            }
        });
        watcher.getResetListenable().addListener(set::countDown);
        watcher.start();
        expectTrue(set.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "the watch is set");
        relay.cut();
        expect(ConnectionState.SUSPENDED, states.take(), "after the cut");
        writer.create().forPath(context.path("n"));
        relay.restore();
        expect(ConnectionState.RECONNECTED, states.take(), "after the restore");
        // A persistent watch is not told what it missed. The client set it again before this request of its own.
        curator.checkExists().forPath(context.path("n"));
        writer.setData().forPath(context.path("n"), "x".getBytes());
        expect("NodeDataChanged " + context.path("n"), events.take(), "what came afterwards");
    }
}
