package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.cache.TreeCacheEvent;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.zookeeper.KeeperException;

/** Every kind of cache ends with what the server has, after writers side by side and through cuts: no event may be lost. */
@SuppressWarnings("deprecation") // the old caches are what most programs still use
final class CacheConvergenceChecks {
    private CacheConvergenceChecks() {}

    static void register(Suite suite) {
        suite.add("caches_agree_with_the_server_under_writers", context -> agree(context, 0));
        suite.add("caches_agree_with_the_server_through_cuts", context -> agree(context, 3));
    }

    /** What is below the node: the data of each child and grandchild by its path. */
    private static Map<String, String> onServer(CuratorFramework curator, String root) throws Exception {
        Map<String, String> data = new TreeMap<>();
        for (String child : curator.getChildren().forPath(root)) {
            String path = root + "/" + child;
            data.put(path, Frameworks.get(curator, path));
            for (String below : curator.getChildren().forPath(path)) {
                data.put(path + "/" + below, Frameworks.get(curator, path + "/" + below));
            }
        }
        return data;
    }

    /** A cache and what it has; null where it has nothing yet. */
    private record View(String name, boolean grandchildren, Supplier<Map<String, String>> content) {}

    private static void put(Map<String, String> data, ChildData node) {
        data.put(node.getPath(), new String(node.getData()));
    }

    private static View curatorCache(Context context, CuratorFramework curator, String root) throws Exception {
        CuratorCache cache = context.track(CuratorCache.build(curator, root));
        CountDownLatch ready = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder().forInitialized(ready::countDown).build());
        cache.start();
        expectTrue(ready.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "CuratorCache is initialized");
        return new View("CuratorCache", true, () -> {
            Map<String, String> data = new TreeMap<>();
            cache.stream().filter(node -> !node.getPath().equals(root)).forEach(node -> put(data, node));
            return data;
        });
    }

    private static View treeCache(Context context, CuratorFramework curator, String root) throws Exception {
        TreeCache cache = context.track(new TreeCache(curator, root));
        CountDownLatch ready = new CountDownLatch(1);
        cache.getListenable().addListener((client, event) -> {
            if (event.getType() == TreeCacheEvent.Type.INITIALIZED) {
                ready.countDown();
            }
        });
        cache.start();
        expectTrue(ready.await(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "TreeCache is initialized");
        return new View("TreeCache", true, () -> {
            Map<String, String> data = new TreeMap<>();
            addChildren(cache, root, data);
            return data;
        });
    }

    private static void addChildren(TreeCache cache, String path, Map<String, String> data) {
        Map<String, ChildData> children = cache.getCurrentChildren(path);
        if (children != null) {
            children.values().forEach(node -> {
                put(data, node);
                addChildren(cache, node.getPath(), data);
            });
        }
    }

    private static View pathChildrenCache(Context context, CuratorFramework curator, String root) throws Exception {
        PathChildrenCache cache = context.track(new PathChildrenCache(curator, root, true));
        cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        return new View("PathChildrenCache", false, () -> {
            Map<String, String> data = new TreeMap<>();
            cache.getCurrentData().forEach(node -> put(data, node));
            return data;
        });
    }

    private static void agree(Context context, int cuts) throws Exception {
        String root = context.path("t");
        CuratorFramework reader = Frameworks.open(context);
        reader.create().forPath(root, "root".getBytes());
        Relay relay = context.relay();
        CuratorFramework caching = Frameworks.openPatient(context, relay);
        // ZooKeeper 3.8 keeps one mode of watch per client and path (ZOOKEEPER-4466): there the persistent one needs a client of its own.
        CuratorFramework other = context.options().reference38() ? Frameworks.openPatient(context, relay) : caching;
        View[] views = {
            curatorCache(context, other, root), treeCache(context, caching, root), pathChildrenCache(context, caching, root)
        };
        NodeCache one = context.track(new NodeCache(caching, root + "/last"));
        one.start(true);
        Replies<ConnectionState> states = Frameworks.states(caching);
        int rounds = 60 * context.options().scale();
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            if (worker > 0) {
                write(curator, root, new Random(worker), rounds);
            }
            for (int i = 0; worker == 0 && i < cuts; i++) {
                relay.cut();
                expect(ConnectionState.SUSPENDED, states.take(), "after the cut");
                curator.sync().forPath(root); // the writers go on meanwhile
                relay.restore();
                expect(ConnectionState.RECONNECTED, states.take(), "after the restore");
            }
        });
        awaitAgreement(reader, root, views);
        reader.create().orSetData().forPath(root + "/last", "done".getBytes());
        awaitAgreement(reader, root, views);
        Frameworks.eventually("NodeCache has the last write", () -> one.getCurrentData() != null
                && new String(one.getCurrentData().getData()).equals("done"));
    }

    private static void awaitAgreement(CuratorFramework reader, String root, View[] views) throws Exception {
        Map<String, String> wanted = onServer(reader, root);
        for (View view : views) {
            Map<String, String> expected = new TreeMap<>(wanted);
            expected.keySet().removeIf(path -> !view.grandchildren() && path.substring(root.length() + 1).contains("/"));
            Frameworks.eventually(view.name() + " has what the server has", () -> view.content().get().equals(expected));
        }
    }

    private static void write(CuratorFramework curator, String root, Random random, int rounds) throws Exception {
        for (int i = 0; i < rounds; i++) {
            String path = root + "/n" + random.nextInt(5) + (random.nextBoolean() ? "" : "/c" + random.nextInt(3));
            byte[] data = String.valueOf(random.nextInt()).getBytes();
            try {
                switch (random.nextInt(4)) {
                    case 0 -> curator.create().forPath(path, data);
                    case 1 -> curator.setData().forPath(path, data);
                    case 2 -> curator.create().orSetData().creatingParentsIfNeeded().forPath(path, data);
                    default -> curator.delete().forPath(path);
                }
            } catch (KeeperException.NoNodeException | KeeperException.NodeExistsException | KeeperException.NotEmptyException other) {
                // another writer was there before: any of them is as good
            }
        }
    }
}
