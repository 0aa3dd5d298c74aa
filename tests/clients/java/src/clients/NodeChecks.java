package clients;

import static clients.Suite.expect;
import static clients.Suite.expectCode;
import static clients.Suite.expectTrue;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** The synchronous calls on nodes, each create mode, and Stat. */
final class NodeChecks {
    private static final byte[] DATA = "data".getBytes();
    private static final long TTL_MS = 60_000;

    private NodeChecks() {}

    static void register(Suite suite) {
        suite.add("create_get_set_delete", NodeChecks::createGetSetDelete);
        suite.add("create_with_stat", NodeChecks::createWithStat);
        suite.add("null_data", NodeChecks::nullData);
        suite.add("exists", NodeChecks::exists);
        suite.add("children_with_and_without_stat", NodeChecks::children);
        suite.add("versions", NodeChecks::versions);
        suite.add("errors", NodeChecks::errors);
        suite.add("stat_of_a_parent", NodeChecks::statOfParent);
        suite.add("sequential_modes", NodeChecks::sequentialModes);
        suite.add("ephemeral_modes", NodeChecks::ephemeralModes);
        suite.add("container_mode", NodeChecks::containerMode);
        suite.add("ttl_modes", NodeChecks::ttlModes);
        suite.add("get_all_children_number", NodeChecks::allChildrenNumber);
        suite.add("get_ephemerals", NodeChecks::ephemerals);
        suite.add("get_config", NodeChecks::getConfig);
        suite.add("chroot", NodeChecks::chroot);
        suite.add("large_data", NodeChecks::largeData);
    }

    private static void createGetSetDelete(Context context) throws Exception {
        Client client = context.client();
        String path = context.path("n");
        expect(path, client.create(path, "one"), "created path");
        Stat stat = new Stat();
        expect("one", new String(client.zk().getData(path, false, stat)), "data");
        expect(stat, client.zk().exists(path, false), "Stat of getData and of exists");
        Stat set = client.zk().setData(path, "three".getBytes(), 0);
        expect(1, set.getVersion(), "version");
        expect(5, set.getDataLength(), "dataLength");
        expect("three", client.get(path), "data after set");
        client.zk().delete(path, 1);
        expect(null, client.zk().exists(path, false), "exists after delete");
    }

    private static void createWithStat(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        for (CreateMode mode : List.of(
                CreateMode.PERSISTENT, CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL)) {
            Stat stat = new Stat();
            String path = zk.create(context.path("n" + mode.ordinal() + "-"), DATA, Ids.OPEN_ACL_UNSAFE, mode, stat);
            expect(zk.exists(path, false), stat, mode + ": Stat of create and of exists");
            expect(mode.isEphemeral() ? zk.getSessionId() : 0L, stat.getEphemeralOwner(), mode + ": owner");
            expect(4, stat.getDataLength(), mode + ": dataLength");
            expect(stat.getCzxid(), stat.getPzxid(), mode + ": pzxid");
        }
    }

    private static void nullData(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        String path = zk.create(context.path("n"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        Stat stat = new Stat();
        expect(null, zk.getData(path, false, stat), "null stays null");
        expect(0, stat.getDataLength(), "dataLength of null");
        zk.setData(path, new byte[0], -1);
        expect(0, zk.getData(path, false, stat).length, "empty is not null");
        zk.setData(path, null, -1);
        expect(null, zk.getData(path, false, stat), "set to null");
    }

    private static void exists(Context context) throws Exception {
        Client client = context.client();
        expect(null, client.zk().exists(context.path("n"), false), "before");
        client.create(context.path("n"), "x");
        expect(0, client.zk().exists(context.path("n"), false).getVersion(), "version");
        expect(1, client.zk().exists(context.root(), false).getNumChildren(), "numChildren of the parent");
    }

    private static void children(Context context) throws Exception {
        Client client = context.client();
        Set<String> wanted = new HashSet<>();
        for (int i = 0; i < 30; i++) {
            client.create(context.path("c" + i), "");
            wanted.add("c" + i);
        }
        expect(wanted, new HashSet<>(client.zk().getChildren(context.root(), false)), "getChildren");
        Stat stat = new Stat();
        expect(wanted, new HashSet<>(client.zk().getChildren(context.root(), false, stat)), "getChildren with Stat");
        expect(client.zk().exists(context.root(), false), stat, "Stat of getChildren and of exists");
        expect(List.of(), client.zk().getChildren(context.path("c1"), false), "children of a leaf");
    }

    private static void versions(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "x");
        expectCode(Code.BADVERSION, () -> client.zk().setData(path, DATA, 1));
        expect(1, client.zk().setData(path, DATA, 0).getVersion(), "version");
        expect(2, client.zk().setData(path, DATA, -1).getVersion(), "version after a set of any");
        expectCode(Code.BADVERSION, () -> delete(client, path, 1));
        client.zk().delete(path, 2);
    }

    private static Object delete(Client client, String path, int version) throws Exception {
        client.zk().delete(path, version);
        return "deleted";
    }

    private static void errors(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "x");
        String none = context.path("none");
        expectCode(Code.NODEEXISTS, () -> client.create(path, ""));
        expectCode(Code.NONODE, () -> client.create(none + "/child", ""));
        expectCode(Code.NONODE, () -> client.get(none));
        expectCode(Code.NONODE, () -> client.zk().setData(none, DATA, -1));
        expectCode(Code.NONODE, () -> client.zk().getChildren(none, false));
        expectCode(Code.NONODE, () -> delete(client, none, -1));
        expectCode(Code.NONODE, () -> client.zk().getAllChildrenNumber(none));
        client.create(path + "/c", "");
        expectCode(Code.NOTEMPTY, () -> delete(client, path, -1));
        client.create(path + "/e", "", CreateMode.EPHEMERAL);
        expectCode(Code.NOCHILDRENFOREPHEMERALS, () -> client.create(path + "/e/c", ""));
        expectCode(Code.BADARGUMENTS, () -> delete(client, "/zookeeper", -1));
    }

    private static void statOfParent(Context context) throws Exception {
        Client client = context.client();
        ZooKeeper zk = client.zk();
        String path = client.create(context.path("n"), "x");
        Stat empty = zk.exists(path, false);
        client.create(path + "/c", "");
        Stat one = zk.exists(path, false);
        expect(1, one.getCversion(), "cversion after a create");
        expect(zk.exists(path + "/c", false).getCzxid(), one.getPzxid(), "pzxid after a create");
        expect(empty.getMzxid(), one.getMzxid(), "mzxid after a create");
        expect(0, one.getVersion(), "version after a create");
        client.set(path + "/c", "y");
        expect(one, zk.exists(path, false), "after a set of the child");
        zk.delete(path + "/c", -1);
        Stat none = zk.exists(path, false);
        expect(2, none.getCversion(), "cversion after a delete");
        expect(0, none.getNumChildren(), "numChildren after a delete");
        expectTrue(none.getPzxid() > one.getPzxid(), "pzxid grows with a delete");
    }

    private static void sequentialModes(Context context) throws Exception {
        Client client = context.client();
        expect(context.path("a-0000000000"), client.create(context.path("a-"), "", CreateMode.PERSISTENT_SEQUENTIAL), "first");
        client.create(context.path("plain"), "");
        expect(context.path("b-0000000002"), client.create(context.path("b-"), "", CreateMode.EPHEMERAL_SEQUENTIAL), "third");
        client.zk().delete(context.path("b-0000000002"), -1);
        expect(context.path("a-0000000003"), client.create(context.path("a-"), "", CreateMode.PERSISTENT_SEQUENTIAL), "fourth");
    }

    private static void ephemeralModes(Context context) throws Exception {
        Client observer = context.client();
        Client owner = context.client();
        owner.create(context.path("e"), "", CreateMode.EPHEMERAL);
        owner.create(context.path("s-"), "", CreateMode.EPHEMERAL_SEQUENTIAL);
        owner.create(context.path("p"), "", CreateMode.PERSISTENT);
        observer.settle(context.root());
        expect(3, observer.zk().getChildren(context.root(), false).size(), "children while the session lives");
        owner.close();
        observer.settle(context.root());
        expect(List.of("p"), observer.zk().getChildren(context.root(), false), "children after close");
    }

    private static void containerMode(Context context) throws Exception {
        Client client = context.client();
        Stat stat = new Stat();
        String path = client.zk().create(context.path("box"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER, stat);
        expect(context.path("box"), path, "path");
        expect(0L, stat.getEphemeralOwner(), "the owner that a client sees");
        expect(client.zk().exists(path, false), stat, "Stat of create and of exists");
        client.create(path + "/child", "");
        expect(List.of("child"), client.zk().getChildren(path, false), "children");
    }

    private static void ttlModes(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        String path = context.path("t");
        CreateMode plain = CreateMode.PERSISTENT_WITH_TTL;
        if (!context.options().extendedTypes()) {
            expectCode(Code.UNIMPLEMENTED, () -> zk.create(path, DATA, Ids.OPEN_ACL_UNSAFE, plain, null, TTL_MS));
            return;
        }
        Stat stat = new Stat();
        expect(path, zk.create(path, DATA, Ids.OPEN_ACL_UNSAFE, plain, stat, TTL_MS), "path");
        expect(0L, stat.getEphemeralOwner(), "the owner that a client sees");
        expect(zk.exists(path, false), stat, "Stat of create and of exists");
        CreateMode numbered = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL;
        expect(path + "/s-0000000000", zk.create(path + "/s-", DATA, Ids.OPEN_ACL_UNSAFE, numbered, stat, TTL_MS), "sequential");
    }

    private static void allChildrenNumber(Context context) throws Exception {
        Client client = context.client();
        expect(0, client.zk().getAllChildrenNumber(context.root()), "none");
        for (int i = 0; i < 3; i++) {
            client.create(context.path("c" + i), "");
            for (int j = 0; j < 4; j++) {
                client.create(context.path("c" + i + "/d" + j), "");
            }
        }
        client.create(context.root() + "/c1x", "");
        expect(16, client.zk().getAllChildrenNumber(context.root()), "all below");
        expect(4, client.zk().getAllChildrenNumber(context.path("c1")), "below one, not its namesake");
    }

    private static void ephemerals(Context context) throws Exception {
        Client mine = context.client();
        Client other = context.client();
        for (String name : List.of("a1", "a2", "b1")) {
            mine.create(context.path(name), "", CreateMode.EPHEMERAL);
        }
        other.create(context.path("a3"), "", CreateMode.EPHEMERAL);
        expect(Set.of(context.path("a1"), context.path("a2")), Set.copyOf(mine.zk().getEphemerals(context.path("a"))), "a");
        expect(3, mine.zk().getEphemerals().size(), "all own");
        mine.zk().delete(context.path("a1"), -1);
        expect(List.of(context.path("a2")), mine.zk().getEphemerals(context.path("a")), "after a delete");
        expect(List.of(), other.zk().getEphemerals(context.path("b")), "another session's");
    }

    private static void getConfig(Context context) throws Exception {
        Stat stat = new Stat();
        ZooKeeper zk = context.client().zk();
        byte[] config = zk.getConfig(false, stat);
        expect(config == null ? 0 : config.length, stat.getDataLength(), "length of /zookeeper/config");
        expect(0L, stat.getEphemeralOwner(), "owner");
    }

    private static void chroot(Context context) throws Exception {
        Client outside = context.client();
        Client inside = context.track(Client.open(context.options().hosts() + context.root(), Client.TIMEOUT_MS));
        expect("/in", inside.create("/in", "x"), "path seen inside");
        expect("x", outside.get(context.path("in")), "data seen outside");
        inside.zk().getData("/in", inside.watcher, null);
        outside.set(context.path("in"), "y");
        expect(List.of("NodeDataChanged /in"), inside.awaitLog(1), "event inside");
    }

    private static void largeData(Context context) throws Exception {
        Client client = context.client();
        byte[] data = new byte[1_000_000];
        new java.util.Random(7).nextBytes(data);
        client.zk().create(context.path("n"), data, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        expectTrue(java.util.Arrays.equals(data, client.zk().getData(context.path("n"), false, null)), "it came back unchanged");
    }
}
