package clients;

import static clients.Suite.expect;

import java.util.List;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.CuratorEventType;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.data.Stat;

/** Curator's own calls: create with parents and protection, transactions, background calls, connection states. */
final class FrameworkChecks {
    private FrameworkChecks() {}

    static void register(Suite suite) {
        suite.add("create_with_parents", FrameworkChecks::createWithParents);
        suite.add("create_with_parents_as_containers", FrameworkChecks::containers);
        suite.add("create_or_set", FrameworkChecks::createOrSet);
        suite.add("create_with_protection", FrameworkChecks::protection);
        suite.add("delete_with_children", FrameworkChecks::deleteChildren);
        suite.add("transactions", FrameworkChecks::transactions);
        suite.add("transaction_fails", FrameworkChecks::transactionFails);
        suite.add("background", FrameworkChecks::background);
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

    private static void transactions(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        curator.create().forPath(context.path("old"), "1".getBytes());
        List<CuratorTransactionResult> results = curator.transaction().forOperations(
                curator.transactionOp().check().withVersion(0).forPath(context.path("old")),
                curator.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(context.path("s-")),
                curator.transactionOp().setData().withVersion(0).forPath(context.path("old"), "2".getBytes()),
                curator.transactionOp().delete().forPath(context.path("old")));
        expect(4, results.size(), "results");
        expect(context.path("s-0000000001"), results.get(1).getResultPath(), "path of the created node");
        expect(1, results.get(2).getResultStat().getVersion(), "version of the set node");
        expect(List.of("s-0000000001"), curator.getChildren().forPath(context.root()), "children");
    }

    private static void transactionFails(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        try {
            curator.transaction().forOperations(
                    curator.transactionOp().create().forPath(context.path("a")),
                    curator.transactionOp().delete().forPath(context.path("none")));
            throw new AssertionError("it succeeded");
        } catch (KeeperException.NoNodeException error) {
            expect(2, error.getResults().size(), "results");
        }
        expect(List.of(), curator.getChildren().forPath(context.root()), "children");
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
        Replies<ConnectionState> states = new Replies<>();
        curator.getConnectionStateListenable().addListener((client, state) -> {
            if (state != ConnectionState.CONNECTED) { // the first connection may still be on its way to the listeners
                states.add(state);
            }
        });
        relay.cut();
        expect(ConnectionState.SUSPENDED, states.take(), "after the cut");
        relay.restore();
        expect(ConnectionState.RECONNECTED, states.take(), "after the restore");
        curator.create().forPath(context.path("n"));
    }
}
