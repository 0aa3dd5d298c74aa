package clients;

import static clients.Suite.expect;
import static clients.Suite.expectCode;

import java.util.ArrayList;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.OpResult.CreateResult;
import org.apache.zookeeper.OpResult.ErrorResult;
import org.apache.zookeeper.OpResult.GetChildrenResult;
import org.apache.zookeeper.OpResult.GetDataResult;
import org.apache.zookeeper.OpResult.SetDataResult;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** multi, Transaction and the read-only multi. */
final class MultiChecks {
    private static final byte[] DATA = "data".getBytes();

    private MultiChecks() {}

    static void register(Suite suite) {
        suite.add("multi_succeeds", MultiChecks::succeeds);
        suite.add("multi_fails_as_a_whole", MultiChecks::fails);
        suite.add("multi_error_of_each_kind", MultiChecks::errorKinds);
        suite.add("multi_create_modes", MultiChecks::createModes);
        suite.add("multi_async", MultiChecks::async);
        suite.add("multi_async_error_vector", MultiChecks::asyncErrors);
        suite.add("multi_empty", MultiChecks::empty);
        suite.add("transaction", MultiChecks::transaction);
        suite.add("multi_read", MultiChecks::read);
        suite.add("multi_read_errors_per_operation", MultiChecks::readErrors);
    }

    private static Op create(String path) {
        return Op.create(path, DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    private static List<Integer> errors(List<OpResult> results) {
        List<Integer> codes = new ArrayList<>();
        for (OpResult result : results) {
            codes.add(result instanceof ErrorResult error ? error.getErr() : 1);
        }
        return codes;
    }

    private static void succeeds(Context context) throws Exception {
        Client client = context.client();
        ZooKeeper zk = client.zk();
        client.create(context.path("old"), "x");
        client.create(context.path("gone"), "x");
        List<OpResult> results = zk.multi(List.of(
                Op.check(context.path("old"), 0), create(context.path("a")), create(context.path("a/b")),
                Op.setData(context.path("old"), DATA, 0), Op.delete(context.path("gone"), 0)));
        expect(5, results.size(), "results");
        expect(context.path("a"), ((CreateResult) results.get(1)).getPath(), "created path");
        expect(zk.exists(context.path("old"), false), ((SetDataResult) results.get(3)).getStat(), "Stat of the set");
        long zxid = zk.exists(context.path("a"), false).getCzxid();
        expect(zxid, zk.exists(context.path("a/b"), false).getCzxid(), "one zxid for both creates");
        expect(zxid, zk.exists(context.path("old"), false).getMzxid(), "and for the set");
        expect(zxid, zk.exists(context.root(), false).getPzxid(), "and for the delete");
        expect(null, zk.exists(context.path("gone"), false), "deleted");
    }

    private static void fails(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("n"), "x");
        KeeperException error = expectCode(Code.NONODE, () -> client.zk().multi(List.of(
                create(context.path("a")), Op.setData(context.path("n"), DATA, 0),
                Op.delete(context.path("none"), -1), create(context.path("b")))));
        List<Integer> wanted = List.of(0, 0, Code.NONODE.intValue(), Code.RUNTIMEINCONSISTENCY.intValue());
        expect(wanted, errors(error.getResults()), "error vector");
        expect(List.of("n"), client.zk().getChildren(context.root(), false), "children");
        expect("x", client.get(context.path("n")), "data");
    }

    private static void errorKinds(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("n"), "x");
        client.create(context.path("n/c"), "x");
        client.create(context.path("e"), "x", CreateMode.EPHEMERAL);
        record Case(Code code, Op op) {}
        for (Case one : List.of(
                new Case(Code.NODEEXISTS, create(context.path("n"))),
                new Case(Code.NONODE, create(context.path("none/c"))),
                new Case(Code.NOCHILDRENFOREPHEMERALS, create(context.path("e/c"))),
                new Case(Code.NOTEMPTY, Op.delete(context.path("n"), -1)),
                new Case(Code.BADVERSION, Op.delete(context.path("n/c"), 3)),
                new Case(Code.BADVERSION, Op.setData(context.path("n"), DATA, 3)),
                new Case(Code.BADVERSION, Op.check(context.path("n"), 3)),
                new Case(Code.NONODE, Op.check(context.path("none"), -1)),
                new Case(Code.NONODE, Op.setData(context.path("none"), DATA, -1)))) {
            KeeperException error =
                    expectCode(one.code(), () -> client.zk().multi(List.of(create(context.path("first")), one.op())));
            expect(List.of(0, one.code().intValue()), errors(error.getResults()), "error vector");
        }
        expect(null, client.zk().exists(context.path("first"), false), "nothing of them was done");
    }

    private static void createModes(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        List<Op> ops = new ArrayList<>(List.of(
                Op.create(context.path("s-"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL),
                Op.create(context.path("s-"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL),
                Op.create(context.path("c"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER)));
        List<String> wanted =
                new ArrayList<>(List.of(context.path("s-0000000000"), context.path("s-0000000001"), context.path("c")));
        if (context.options().extendedTypes()) {
            ops.add(Op.create(context.path("t"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 60_000));
            wanted.add(context.path("t"));
        }
        List<String> paths = new ArrayList<>();
        for (OpResult result : zk.multi(ops)) {
            paths.add(((CreateResult) result).getPath());
        }
        expect(wanted, paths, "paths");
        expect(zk.getSessionId(), zk.exists(context.path("s-0000000001"), false).getEphemeralOwner(), "owner");
    }

    private static void async(Context context) throws Exception {
        Replies<List<Object>> replies = new Replies<>();
        context.client().zk().multi(List.of(create(context.path("a")), create(context.path("b"))),
                (rc, path, ctx, results) -> replies.add(List.of(rc, results.size())), null);
        expect(List.of(0, 2), replies.take(), "code and results");
    }

    private static void asyncErrors(Context context) throws Exception {
        Replies<List<Object>> replies = new Replies<>();
        context.client().zk().multi(
                List.of(create(context.path("a")), create(context.path("a")), create(context.path("b"))),
                (rc, path, ctx, results) -> replies.add(List.of(rc, errors(results))), null);
        List<Integer> vector = List.of(0, Code.NODEEXISTS.intValue(), Code.RUNTIMEINCONSISTENCY.intValue());
        expect(List.of(Code.NODEEXISTS.intValue(), vector), replies.take(), "code and error vector");
    }

    private static void empty(Context context) throws Exception {
        expect(List.of(), context.client().zk().multi(List.of()), "results of nothing");
    }

    private static void transaction(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("n"), "x");
        List<OpResult> results = client.zk().transaction()
                .check(context.path("n"), 0)
                .create(context.path("a"), DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)
                .setData(context.path("n"), DATA, 0)
                .delete(context.path("a"), 0)
                .commit();
        expect(4, results.size(), "results");
        expect("data", client.get(context.path("n")), "data");
        expect(List.of("n"), client.zk().getChildren(context.root(), false), "children");
        Replies<Integer> replies = new Replies<>();
        client.zk().transaction().check(context.path("n"), 7)
                .commit((rc, path, ctx, vector) -> replies.add(rc), null);
        expect(Code.BADVERSION.intValue(), replies.take(), "asynchronous commit");
    }

    private static void read(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("a"), "one");
        client.create(context.path("b"), "two");
        List<OpResult> results = client.zk().multi(
                List.of(Op.getData(context.path("a")), Op.getChildren(context.root()), Op.getData(context.path("b"))));
        expect(3, results.size(), "results");
        expect("one", new String(((GetDataResult) results.get(0)).getData()), "first data");
        expect(client.zk().exists(context.path("a"), false), ((GetDataResult) results.get(0)).getStat(), "first Stat");
        expect(List.of("a", "b"), ((GetChildrenResult) results.get(1)).getChildren().stream().sorted().toList(), "children");
        expect("two", new String(((GetDataResult) results.get(2)).getData()), "second data");
    }

    /** Unlike a writing multi, each read stands for itself: the others' results come all the same. */
    private static void readErrors(Context context) throws Exception {
        Client client = context.client();
        client.create(context.path("a"), "one");
        Replies<List<OpResult>> replies = new Replies<>();
        client.zk().multi(
                List.of(Op.getData(context.path("none")), Op.getData(context.path("a")), Op.getChildren(context.path("none"))),
                (rc, path, ctx, results) -> replies.add(results), null);
        List<OpResult> results = replies.take();
        int none = Code.NONODE.intValue();
        expect(List.of(none, 1, none), errors(results), "which operations failed");
        expect("one", new String(((GetDataResult) results.get(1)).getData()), "the one that did not");
    }
}
