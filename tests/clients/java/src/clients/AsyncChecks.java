package clients;

import static clients.Suite.expect;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** The asynchronous form of each call: result code, path, context object, payload; and the order of a deep pipeline. */
final class AsyncChecks {
    private static final byte[] DATA = "data".getBytes();
    private static final Object MARK = new Object();

    private AsyncChecks() {}

    static void register(Suite suite) {
        suite.add("async_create", AsyncChecks::create);
        suite.add("async_create2_and_ttl", AsyncChecks::create2);
        suite.add("async_get_and_set_data", AsyncChecks::data);
        suite.add("async_exists", AsyncChecks::exists);
        suite.add("async_children", AsyncChecks::children);
        suite.add("async_delete", AsyncChecks::delete);
        suite.add("async_acl", AsyncChecks::acl);
        suite.add("async_sync", AsyncChecks::sync);
        suite.add("async_counts_and_ephemerals", AsyncChecks::countsAndEphemerals);
        suite.add("async_config", AsyncChecks::config);
        suite.add("pipeline_order", AsyncChecks::pipelineOrder);
        suite.add("pipeline_reads_between_writes", AsyncChecks::readsBetweenWrites);
    }

    private static int code(Code code) {
        return code.intValue();
    }

    private static void create(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        Replies<List<Object>> replies = new Replies<>();
        for (int i = 0; i < 2; i++) {
            zk.create(context.path("n"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                    (rc, path, ctx, name) -> replies.add(List.of(rc, path, ctx, String.valueOf(name))), MARK);
        }
        expect(List.of(0, context.path("n"), MARK, context.path("n")), replies.take(), "first");
        expect(List.of(code(Code.NODEEXISTS), context.path("n"), MARK, "null"), replies.take(), "second");
    }

    private static void create2(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        Replies<List<Object>> replies = new Replies<>();
        zk.create(context.path("s-"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL,
                (rc, path, ctx, name, stat) -> replies.add(List.of(rc, name, stat.getDataLength())), MARK);
        expect(List.of(0, context.path("s-0000000000"), 4), replies.take(), "sequential");
        if (context.options().extendedTypes()) {
            zk.create(context.path("t"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL,
                    (rc, path, ctx, name, stat) -> replies.add(List.of(rc, name, stat.getDataLength())), MARK, 60_000);
            expect(List.of(0, context.path("t"), 4), replies.take(), "TTL");
        }
        zk.create(context.path("c"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER,
                (rc, path, ctx, name, stat) -> replies.add(List.of(rc, name, stat.getDataLength())), MARK);
        expect(List.of(0, context.path("c"), 4), replies.take(), "container");
    }

    private static void data(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "x");
        Replies<List<Object>> replies = new Replies<>();
        client.zk().setData(path, DATA, 0, (rc, p, ctx, stat) -> replies.add(List.of(rc, p, ctx, stat.getVersion())), MARK);
        expect(List.of(0, path, MARK, 1), replies.take(), "setData");
        client.zk().setData(path, DATA, 0, (rc, p, ctx, stat) -> replies.add(List.of(rc, p, ctx, stat == null)), MARK);
        expect(List.of(code(Code.BADVERSION), path, MARK, true), replies.take(), "setData with a wrong version");
        client.zk().getData(path, false,
                (rc, p, ctx, data, stat) -> replies.add(List.of(rc, p, new String(data), stat.getVersion())), MARK);
        expect(List.of(0, path, "data", 1), replies.take(), "getData");
        client.zk().getData(path + "/none", client.watcher,
                (rc, p, ctx, data, stat) -> replies.add(List.of(rc, p, data == null)), MARK);
        expect(List.of(code(Code.NONODE), path + "/none", true), replies.take(), "getData of nothing");
    }

    private static void exists(Context context) throws Exception {
        Client client = context.client();
        Replies<List<Object>> replies = new Replies<>();
        client.zk().exists(context.root(), false, (rc, p, ctx, stat) -> replies.add(List.of(rc, p, ctx, stat.getVersion())), MARK);
        expect(List.of(0, context.root(), MARK, 0), replies.take(), "exists");
        client.zk().exists(context.path("n"), client.watcher,
                (rc, p, ctx, stat) -> replies.add(List.of(rc, stat == null)), MARK);
        expect(List.of(code(Code.NONODE), true), replies.take(), "exists of nothing");
        client.create(context.path("n"), "");
        expect(List.of("NodeCreated " + context.path("n")), client.awaitLog(1), "its watch");
    }

    private static void children(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("a"), "");
        client.create(context.path("b"), "");
        Replies<List<Object>> replies = new Replies<>();
        client.zk().getChildren(context.root(), client.watcher,
                (rc, p, ctx, names) -> replies.add(List.of(rc, p, ctx, Set.copyOf(names))), MARK);
        expect(List.of(0, context.root(), MARK, Set.of("a", "b")), replies.take(), "getChildren");
        client.zk().getChildren(context.root(), false,
                (rc, p, ctx, names, stat) -> replies.add(List.of(rc, new HashSet<>(names), stat.getNumChildren())), MARK);
        expect(List.of(0, Set.of("a", "b"), 2), replies.take(), "getChildren with Stat");
        client.zk().delete(context.path("a"), -1);
        expect(List.of("NodeChildrenChanged " + context.root()), client.awaitLog(1), "its watch");
    }

    private static void delete(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("n"), "");
        Replies<List<Object>> replies = new Replies<>();
        for (int i = 0; i < 2; i++) {
            client.zk().delete(context.path("n"), -1, (rc, p, ctx) -> replies.add(List.of(rc, p, ctx)), MARK);
        }
        expect(List.of(0, context.path("n"), MARK), replies.take(), "first");
        expect(List.of(code(Code.NONODE), context.path("n"), MARK), replies.take(), "second");
    }

    private static void acl(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        Replies<List<Object>> replies = new Replies<>();
        zk.setACL(context.root(), Ids.OPEN_ACL_UNSAFE, 0,
                (rc, p, ctx, stat) -> replies.add(List.of(rc, p, stat.getAversion())), MARK);
        expect(List.of(0, context.root(), 1), replies.take(), "setACL");
        zk.getACL(context.root(), null,
                (rc, p, ctx, acl, stat) -> replies.add(List.of(rc, p, acl, stat.getAversion())), MARK);
        expect(List.of(0, context.root(), Ids.OPEN_ACL_UNSAFE, 1), replies.take(), "getACL");
    }

    private static void sync(Context context) throws Exception {
        Replies<List<Object>> replies = new Replies<>();
        context.client().zk().sync(context.root(), (rc, p, ctx) -> replies.add(List.of(rc, p, ctx)), MARK);
        expect(List.of(0, context.root(), MARK), replies.take(), "sync");
    }

    private static void countsAndEphemerals(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("e"), "", CreateMode.EPHEMERAL);
        Replies<List<Object>> replies = new Replies<>();
        client.zk().getAllChildrenNumber(context.root(), (rc, p, ctx, number) -> replies.add(List.of(rc, p, number)), MARK);
        expect(List.of(0, context.root(), 1), replies.take(), "getAllChildrenNumber");
        client.zk().getEphemerals((rc, ctx, paths) -> replies.add(List.of(rc, ctx, paths)), MARK);
        expect(List.of(0, MARK, List.of(context.path("e"))), replies.take(), "getEphemerals");
        client.zk().getEphemerals(context.path("x"), (rc, ctx, paths) -> replies.add(List.of(rc, ctx, paths)), MARK);
        expect(List.of(0, MARK, List.of()), replies.take(), "getEphemerals with a prefix that none has");
    }

    private static void config(Context context) throws Exception {
        Replies<List<Object>> replies = new Replies<>();
        context.client().zk().getConfig(false, (rc, p, ctx, data, stat) -> replies.add(List.of(rc, p)), MARK);
        expect(List.of(0, "/zookeeper/config"), replies.take(), "getConfig");
    }

    private static void pipelineOrder(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        Replies<Integer> order = new Replies<>();
        List<Integer> wanted = new ArrayList<>();
        for (int i = 0; i < 1000; i++) {
            int number = i;
            wanted.add(i);
            String path = context.path("n" + i / 4);
            switch (i % 4) {
                case 0 -> zk.create(path, DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                        (rc, p, ctx, name) -> order.add(rc == 0 ? number : -1), null);
                case 1 -> zk.exists(path, false, (rc, p, ctx, stat) -> order.add(rc == 0 ? number : -1), null);
                case 2 -> zk.setData(path, DATA, 0, (rc, p, ctx, stat) -> order.add(rc == 0 ? number : -1), null);
                default -> zk.getData(path, false,
                        (rc, p, ctx, data, stat) -> order.add(rc == 0 && stat.getVersion() == 1 ? number : -1), null);
            }
        }
        expect(wanted, order.take(1000), "completions in order, each successful");
    }

    private static void readsBetweenWrites(Context context) throws Exception {
        Client client = context.client();
        Client noise = context.client();
        String path = client.create(context.path("n"), "start");
        String other = client.create(context.path("other"), "");
        Replies<String> shown = new Replies<>();
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 300; i++) {
            noise.zk().setData(other, DATA, -1, (rc, p, ctx, stat) -> {}, null);
            client.zk().setData(path, ("w" + i).getBytes(), i, (rc, p, ctx, stat) -> {}, null);
            client.zk().getData(path, false, (rc, p, ctx, data, stat) -> shown.add(rc == 0 ? new String(data) : "rc " + rc), null);
            wanted.add("w" + i);
        }
        expect(wanted, shown.take(300), "what each read shows");
    }
}
