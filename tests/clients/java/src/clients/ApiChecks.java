package clients;

import static clients.Suite.expect;
import static clients.Suite.expectCode;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.Stat;

/** Forms of calls that no other check needs: {@link ApiTable} asks for each. */
final class ApiChecks {
    private static final byte[] DATA = "data".getBytes();
    private static final Object MARK = new Object();

    private ApiChecks() {}

    static void register(Suite suite) {
        suite.add("api_get_children_each_form", ApiChecks::children);
        suite.add("api_get_config_with_a_watcher", ApiChecks::config);
        suite.add("api_multi_with_flags", ApiChecks::flags);
        suite.add("api_recursive_helpers", ApiChecks::recursive);
        suite.add("api_reconfigure_is_refused", ApiChecks::reconfigure);
    }

    private static void children(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("a"), "");
        Replies<List<Object>> replies = new Replies<>();
        client.zk().getChildren(context.root(), false, (rc, p, ctx, names) -> replies.add(List.of(rc, p, ctx, names)), MARK);
        expect(List.of(0, context.root(), MARK, List.of("a")), replies.take(), "without a watch");
        client.zk().getChildren(context.root(), client.watcher,
                (rc, p, ctx, names, stat) -> replies.add(List.of(rc, names, stat.getNumChildren())), MARK);
        expect(List.of(0, List.of("a"), 1), replies.take(), "with a watcher and the Stat");
        Stat stat = new Stat();
        expect(List.of("a"), client.zk().getChildren(context.root(), client.watcher("sync "), stat), "the synchronous form");
        expect(1, stat.getCversion(), "cversion");
        client.create(context.path("b"), "");
        expect(Set.of("NodeChildrenChanged " + context.root(), "sync NodeChildrenChanged " + context.root()),
                Set.copyOf(client.awaitLog(2)), "events");
    }

    private static void config(Context context) throws Exception {
        Client client = context.client();
        Stat stat = new Stat();
        byte[] config = client.zk().getConfig(client.watcher, stat);
        Replies<List<Object>> replies = new Replies<>();
        client.zk().getConfig(client.watcher, (rc, p, ctx, data, same) -> replies.add(List.of(rc, p, ctx, same)), MARK);
        expect(List.of(0, "/zookeeper/config", MARK, stat), replies.take(), "the asynchronous form");
        expect(config == null ? 0 : config.length, stat.getDataLength(), "length");
    }

    private static void flags(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        List<Op> operations = new ArrayList<>(List.of(
                Op.create(context.path("p"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT.toFlag()),
                Op.create(context.path("s-"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL.toFlag())));
        if (context.options().extendedTypes()) {
            operations.add(Op.create(context.path("t"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL.toFlag(), 60_000));
        }
        Op first = operations.get(0);
        expect(List.of(OpCode.create, context.path("p"), Op.OpKind.TRANSACTION),
                List.of(first.getType(), first.getPath(), first.getKind()), "what an operation tells of itself");
        List<OpResult> results = zk.multi(operations);
        expect(context.path("s-0000000001"), ((OpResult.CreateResult) results.get(1)).getPath(), "sequential path");
        expect(operations.size(), zk.getAllChildrenNumber(context.root()), "children");
        expect(zk.getSessionId(), zk.exists(context.path("s-0000000001"), false).getEphemeralOwner(), "owner");
    }

    private static void makeTree(Client client, String root) throws Exception {
        for (String path : List.of("", "/a", "/a/b", "/c")) {
            client.create(root + path, "");
        }
    }

    private static void recursive(Context context) throws Exception {
        Client client = context.client();
        ZooKeeper zk = client.zk();
        String root = context.path("t");
        makeTree(client, root);
        expect(Set.of(root, root + "/a", root + "/a/b", root + "/c"), Set.copyOf(ZKUtil.listSubTreeBFS(zk, root)), "breadth first");
        List<String> visited = new ArrayList<>();
        ZKUtil.visitSubTreeDFS(zk, root, false, (rc, path, ctx, name) -> visited.add(path));
        expect(Set.of(root, root + "/a", root + "/a/b", root + "/c"), Set.copyOf(visited), "depth first");
        ZKUtil.deleteRecursive(zk, root);
        expect(null, zk.exists(root, false), "after the synchronous form");
        makeTree(client, root);
        Replies<List<Object>> replies = new Replies<>();
        ZKUtil.deleteRecursive(zk, root, (rc, path, ctx) -> replies.add(List.of(rc, path, ctx)), MARK);
        for (List<Object> reply : replies.take(4)) {
            expect(0, reply.get(0), "result of the asynchronous form at " + reply.get(1));
        }
        expect(null, zk.exists(root, false), "after the asynchronous form");
    }

    /** Each form of reconfigure reaches the server, which is asked to be no part of an ensemble's reconfiguration. */
    private static void reconfigure(Context context) throws Exception {
        Client client = context.track(
                Client.of(watcher -> new ZooKeeperAdmin(context.options().hosts(), Client.TIMEOUT_MS, watcher)));
        ZooKeeperAdmin admin = (ZooKeeperAdmin) client.zk();
        String member = "server.9=127.0.0.1:1:2;3";
        expectCode(Code.RECONFIGDISABLED, () -> admin.reconfigure(member, null, null, -1, new Stat()));
        expectCode(Code.RECONFIGDISABLED, () -> admin.reconfigure(List.of(member), null, null, -1, new Stat()));
        Replies<Integer> replies = new Replies<>();
        admin.reconfigure(null, "9", null, -1, (rc, path, ctx, data, stat) -> replies.add(rc), MARK);
        admin.reconfigure(null, List.of("9"), null, -1, (rc, path, ctx, data, stat) -> replies.add(rc), MARK);
        int disabled = Code.RECONFIGDISABLED.intValue();
        expect(List.of(disabled, disabled), replies.take(2), "the asynchronous forms");
    }
}
