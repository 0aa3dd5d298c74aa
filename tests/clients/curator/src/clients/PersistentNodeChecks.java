package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;

/** Nodes that come back: after a foreign delete, after a cut, after the loss of their session, and before their TTL runs out. */
final class PersistentNodeChecks {
    private PersistentNodeChecks() {}

    static void register(Suite suite) {
        suite.add("persistent_node", PersistentNodeChecks::persistentNode);
        suite.add("persistent_node_in_each_mode", PersistentNodeChecks::eachMode);
        suite.add("persistent_node_after_a_cut", PersistentNodeChecks::afterCut);
        suite.add("persistent_node_after_its_session_was_lost", PersistentNodeChecks::afterLoss);
        if (suite.options().extendedTypes()) {
            suite.add("persistent_ttl_node", PersistentNodeChecks::ttlNode);
            if (suite.options().scale() > 1) { // the server looks for expired nodes once a minute
                suite.add("persistent_ttl_node_expires", PersistentNodeChecks::ttlNodeExpires);
            }
        }
        suite.add("group_member", PersistentNodeChecks::groupMember);
        suite.add("group_member_after_its_session_was_lost", PersistentNodeChecks::groupMemberAfterLoss);
    }

    private static PersistentNode start(Context context, CuratorFramework curator, CreateMode mode, String name) throws Exception {
        PersistentNode node = context.track(new PersistentNode(curator, mode, false, context.path(name), "x".getBytes()));
        node.start();
        expectTrue(node.waitForInitialCreate(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "created");
        return node;
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
        Frameworks.eventually("gone after close", () -> observer.checkExists().forPath(context.path("n")) == null);
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

    private static void awaitMembers(CuratorFramework curator, String path, GroupMember member, int count) throws Exception {
        Frameworks.eventually(count + " members", () -> member.getCurrentMembers().size() == count
                && curator.checkExists().forPath(path).getNumChildren() == count);
    }

    private static void eachMode(Context context) throws Exception {
        CuratorFramework observer = Frameworks.open(context);
        for (CreateMode mode : List.of(CreateMode.PERSISTENT, CreateMode.PERSISTENT_SEQUENTIAL,
                CreateMode.EPHEMERAL_SEQUENTIAL, CreateMode.CONTAINER)) {
            PersistentNode node = start(context, Frameworks.open(context), mode, mode.name().toLowerCase());
            String path = node.getActualPath();
            expectTrue(path.matches(".*/" + mode.name().toLowerCase() + (mode.isSequential() ? "\\d{10}" : "")), "path " + path);
            Replies<String> created = new Replies<>();
            node.getListenable().addListener(created::add);
            observer.delete().forPath(path);
            expect(path, created.take(), mode + ": created again under its name");
            node.close();
        }
        Frameworks.eventually("none is left", () -> observer.getChildren().forPath(context.root()).isEmpty());
    }

    /** The session lives on, and so does the very same node. */
    private static void afterCut(Context context) throws Exception {
        Relay relay = context.relay();
        CuratorFramework curator = Frameworks.openPatient(context, relay);
        CuratorFramework observer = Frameworks.open(context);
        PersistentNode node = start(context, curator, CreateMode.EPHEMERAL, "n");
        Stat before = observer.checkExists().forPath(context.path("n"));
        Replies<ConnectionState> states = Frameworks.states(curator);
        relay.cut();
        expect(ConnectionState.SUSPENDED, states.take(), "after the cut");
        relay.restore();
        expect(ConnectionState.RECONNECTED, states.take(), "after the restore");
        node.setData("y".getBytes());
        Frameworks.eventually("the data that was set", () -> Frameworks.get(observer, context.path("n")).equals("y"));
        expect(before.getCzxid(), observer.checkExists().forPath(context.path("n")).getCzxid(), "the node's first zxid");
    }

    /** Cut the relay until the server has expired the session that owns the node, then restore it. */
    private static long loseSession(Relay relay, CuratorFramework observer, String path) throws Exception {
        long owner = observer.checkExists().forPath(path).getEphemeralOwner();
        relay.cut();
        Frameworks.eventually("the session expires", () -> observer.checkExists().forPath(path) == null);
        relay.restore();
        return owner;
    }

    private static void afterLoss(Context context) throws Exception {
        Relay relay = context.relay();
        CuratorFramework observer = Frameworks.open(context);
        start(context, Frameworks.open(context, relay.address(), Client.SHORT_TIMEOUT_MS), CreateMode.EPHEMERAL, "n");
        long former = loseSession(relay, observer, context.path("n"));
        Frameworks.eventually("created again", () -> observer.checkExists().forPath(context.path("n")) != null);
        expectTrue(observer.checkExists().forPath(context.path("n")).getEphemeralOwner() != former, "another session owns it");
        expect("x", Frameworks.get(observer, context.path("n")), "data");
    }

    private static PersistentTtlNode startTtl(Context context, CuratorFramework curator) throws Exception {
        PersistentTtlNode node = context.track(new PersistentTtlNode(curator, context.path("n"), 1_000, "x".getBytes()));
        node.start();
        expectTrue(node.waitForInitialCreate(Suite.WAIT_MS, TimeUnit.MILLISECONDS), "created");
        return node;
    }

    private static void ttlNode(Context context) throws Exception {
        CuratorFramework observer = Frameworks.open(context);
        PersistentTtlNode node = startTtl(context, Frameworks.open(context));
        String child = context.path("n/" + PersistentTtlNode.DEFAULT_CHILD_NODE_NAME);
        expect("x", Frameworks.get(observer, context.path("n")), "data");
        Frameworks.eventually("its child is touched, again and again", () -> {
            Stat stat = observer.checkExists().forPath(child);
            return stat != null && stat.getVersion() >= 2;
        });
        node.setData("y".getBytes());
        Frameworks.eventually("the data that was set", () -> Frameworks.get(observer, context.path("n")).equals("y"));
        long before = observer.checkExists().forPath(context.path("n")).getCzxid();
        observer.delete().deletingChildrenIfNeeded().forPath(context.path("n"));
        Frameworks.eventually("it comes back", () -> {
            Stat stat = observer.checkExists().forPath(context.path("n"));
            return stat != null && stat.getCzxid() > before && observer.checkExists().forPath(child) != null;
        });
        expect("y", Frameworks.get(observer, context.path("n")), "data afterwards");
    }

    private static void ttlNodeExpires(Context context) throws Exception {
        CuratorFramework observer = Frameworks.open(context);
        PersistentTtlNode node = startTtl(context, Frameworks.open(context));
        Frameworks.eventually("its child is there",
                () -> observer.checkExists().forPath(context.path("n/" + PersistentTtlNode.DEFAULT_CHILD_NODE_NAME)) != null);
        node.close();
        Frameworks.eventually("it and its child are gone", 200_000, () -> observer.checkExists().forPath(context.path("n")) == null);
    }

    private static void groupMemberAfterLoss(Context context) throws Exception {
        Relay relay = context.relay();
        CuratorFramework observer = Frameworks.open(context);
        GroupMember stays = context.track(new GroupMember(observer, context.path("group"), "stays"));
        GroupMember lost = context.track(new GroupMember(
                Frameworks.open(context, relay.address(), Client.SHORT_TIMEOUT_MS), context.path("group"), "lost"));
        stays.start();
        lost.start();
        awaitMembers(observer, context.path("group"), stays, 2);
        loseSession(relay, observer, context.path("group/lost"));
        awaitMembers(observer, context.path("group"), stays, 2);
        awaitMembers(observer, context.path("group"), lost, 2);
    }
}
