package clients;

import static clients.Suite.expect;

import java.util.List;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.CuratorEventType;
import org.apache.curator.framework.api.CuratorWatcher;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;

/** Curator's own calls: create with parents and protection, TTL, watchers, ACLs, background calls, connection states. */
final class FrameworkChecks {
    private FrameworkChecks() {}

    static void register(Suite suite) {
        suite.add("create_with_parents", FrameworkChecks::createWithParents);
        suite.add("create_with_parents_as_containers", FrameworkChecks::containers);
        suite.add("create_or_set", FrameworkChecks::createOrSet);
        suite.add("create_with_protection", FrameworkChecks::protection);
        suite.add("delete_with_children", FrameworkChecks::deleteChildren);
        suite.add("background", FrameworkChecks::background);
        suite.add("ttl_nodes", FrameworkChecks::ttl);
        suite.add("idempotent_writes", FrameworkChecks::idempotent);
        suite.add("compressed_data", FrameworkChecks::compressed);
        suite.add("watchers_are_added_and_removed", FrameworkChecks::watchers);
        suite.add("acl_and_authorization", FrameworkChecks::acl);
        suite.add("configuration", FrameworkChecks::configuration);
        suite.add("namespace", FrameworkChecks::namespace);
        suite.add("connection_states", FrameworkChecks::connectionStates);
    }

    private static void createWithParents(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        Stat stat = new Stat();
        String path = context.path("a/b/c");
        expect(path, curator.create().storingStatIn(stat).creatingParentsIfNeeded().forPath(path, "x".getBytes()), "path");
        expect(curator.checkExists().forPath(path), stat, "Stat of create and of exists");
        expect("x", Frameworks.get(curator, path), "data");
    }

    private static void containers(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        curator.create().creatingParentContainersIfNeeded().forPath(context.path("a/b/c"));
        expect(List.of("b"), curator.getChildren().forPath(context.path("a")), "children of the container");
    }

    private static void createOrSet(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        curator.create().orSetData().forPath(context.path("n"), "1".getBytes());
        curator.create().orSetData().forPath(context.path("n"), "2".getBytes());
        expect("2", Frameworks.get(curator, context.path("n")), "data");
        expect(1, curator.checkExists().forPath(context.path("n")).getVersion(), "version");
    }

    private static void protection(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        String path = curator.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(context.path("n-"));
        Suite.expectTrue(path.matches(".*/_c_[0-9a-f-]{36}-n-0000000000"), "a protected name, got " + path);
    }

    private static void deleteChildren(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        for (int i = 0; i < 20; i++) {
            curator.create().creatingParentsIfNeeded().forPath(context.path("a/b" + i + "/c"));
        }
        curator.delete().guaranteed().deletingChildrenIfNeeded().forPath(context.path("a"));
        expect(null, curator.checkExists().forPath(context.path("a")), "exists");
    }

    private static void background(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        Replies<CuratorEventType> events = new Replies<>();
        curator.create().inBackground((client, event) -> events.add(event.getType())).forPath(context.path("n"));
        expect(CuratorEventType.CREATE, events.take(), "first");
        curator.setData().inBackground((client, event) -> events.add(event.getType())).forPath(context.path("n"));
        expect(CuratorEventType.SET_DATA, events.take(), "second");
        curator.sync().inBackground((client, event) -> events.add(event.getType())).forPath(context.path("n"));
        expect(CuratorEventType.SYNC, events.take(), "third");
    }

    private static void namespace(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        CuratorFramework inside = curator.usingNamespace(context.root().substring(1) + "/space");
        inside.create().forPath("/n", "x".getBytes());
        expect("x", Frameworks.get(curator, context.path("space/n")), "data seen outside");
    }

    private static void connectionStates(Context context) throws Exception {
        Relay relay = context.relay();
        CuratorFramework curator = Frameworks.open(context, relay.address(), Client.TIMEOUT_MS);
        Replies<ConnectionState> states = Frameworks.states(curator);
        relay.cut();
        expect(ConnectionState.SUSPENDED, states.take(), "after the cut");
        relay.restore();
        expect(ConnectionState.RECONNECTED, states.take(), "after the restore");
        curator.create().forPath(context.path("n"));
    }

    private static void ttl(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        if (!context.options().extendedTypes()) {
            try {
                curator.create().withTtl(60_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(context.path("n"));
                throw new AssertionError("a TTL node was created");
            } catch (KeeperException.UnimplementedException refused) {
                return;
            }
        }
        curator.create().withTtl(60_000).creatingParentsIfNeeded().withMode(CreateMode.PERSISTENT_WITH_TTL)
                .forPath(context.path("a/n"), "x".getBytes());
        String path = curator.create().withTtl(60_000).withMode(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL).forPath(context.path("a/s-"));
        expect(context.path("a/s-0000000001"), path, "sequential path");
        expect("x", Frameworks.get(curator, context.path("a/n")), "data");
    }

    /** A write that finds itself done already has succeeded: by its data and version, not by its reply. */
    private static void idempotent(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        String path = context.path("n");
        for (int i = 0; i < 2; i++) {
            expect(path, curator.create().idempotent().forPath(path, "1".getBytes()), "create");
        }
        for (int i = 0; i < 2; i++) {
            expect(1, curator.setData().idempotent().withVersion(0).forPath(path, "2".getBytes()).getVersion(), "set");
        }
        for (int i = 0; i < 2; i++) {
            curator.delete().idempotent().withVersion(1).forPath(path);
        }
        expect(null, curator.checkExists().forPath(path), "exists");
    }

    private static void compressed(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        String text = "again and ".repeat(1000);
        curator.create().compressed().forPath(context.path("n"), text.getBytes());
        expect(text, new String(curator.getData().decompressed().forPath(context.path("n"))), "data");
        Suite.expectTrue(curator.checkExists().forPath(context.path("n")).getDataLength() < 1000, "less is stored");
    }

    private static void watchers(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        CuratorFramework writer = Frameworks.open(context);
        String path = context.path("n");
        Replies<String> events = new Replies<>();
        CuratorWatcher watcher = event -> events.add(event.getType() + (event.getPath() == null ? "" : " " + event.getPath()));
        curator.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE).usingWatcher(watcher).forPath(path);
        writer.create().creatingParentsIfNeeded().forPath(path + "/c");
        expect(List.of("NodeCreated " + path, "NodeCreated " + path + "/c"), events.take(2), "while it is there");
        curator.watchers().remove(watcher).forPath(path);
        expect("PersistentWatchRemoved " + path, events.take(), "the removal");
        writer.setData().forPath(path);
        curator.getData().usingWatcher(watcher).forPath(path);
        writer.setData().forPath(path);
        expect("NodeDataChanged " + path, events.take(), "of a watch that was set later");
    }

    private static void acl(Context context) throws Exception {
        CuratorFramework owner = context.track(CuratorFrameworkFactory.builder().connectString(context.hosts())
                .retryPolicy(new RetryOneTime(100)).authorization("digest", "owner:secret".getBytes()).build());
        owner.start();
        String path = context.path("n");
        owner.create().withACL(Ids.CREATOR_ALL_ACL).forPath(path, "x".getBytes());
        expect(1, owner.getACL().forPath(path).size(), "entries");
        CuratorFramework other = Frameworks.open(context);
        try {
            other.getData().forPath(path);
            throw new AssertionError("another could read it");
        } catch (KeeperException.NoAuthException refused) {
            expect(path, refused.getPath(), "the path that was refused");
        }
        owner.setACL().withVersion(0).withACL(Ids.OPEN_ACL_UNSAFE).forPath(path);
        expect("x", Frameworks.get(other, path), "once everybody may");
    }

    private static void configuration(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        Stat stat = new Stat();
        byte[] config = curator.getConfig().storingStatIn(stat).forEnsemble();
        expect(config == null ? 0 : config.length, stat.getDataLength(), "length of the configuration");
    }
}
