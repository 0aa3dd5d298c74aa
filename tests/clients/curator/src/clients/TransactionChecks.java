package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.transaction.CuratorOp;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.data.Stat;

/** Transactions in both forms: their results, each kind of failure, and that nobody sees half of one. */
@SuppressWarnings("deprecation") // inTransaction is the form that older programs use
final class TransactionChecks {
    private TransactionChecks() {}

    static void register(Suite suite) {
        suite.add("transactions", TransactionChecks::transactions);
        suite.add("transaction_fails", TransactionChecks::transactionFails);
        suite.add("transaction_fails_at_each_place", TransactionChecks::failsAtEachPlace);
        suite.add("transaction_in_the_old_form", TransactionChecks::oldForm);
        suite.add("transaction_in_background", TransactionChecks::background);
        suite.add("transactions_under_contention", TransactionChecks::contention);
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

    /** The error vector has 0 before the operation that failed, its code at its place, RuntimeInconsistency after it. */
    private static void failsAtEachPlace(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        curator.create().forPath(context.path("n"));
        for (int place = 0; place < 4; place++) {
            List<CuratorOp> operations = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                operations.add(i == place
                        ? curator.transactionOp().check().withVersion(7).forPath(context.path("n"))
                        : curator.transactionOp().create().forPath(context.path("c" + i)));
            }
            try {
                curator.transaction().forOperations(operations);
                throw new AssertionError("it succeeded");
            } catch (KeeperException.BadVersionException error) {
                List<Integer> codes = new ArrayList<>();
                for (OpResult result : error.getResults()) {
                    codes.add(((OpResult.ErrorResult) result).getErr());
                }
                List<Integer> wanted = new ArrayList<>();
                for (int i = 0; i < 4; i++) {
                    wanted.add(i < place ? 0 : i == place ? -103 : -2);
                }
                expect(wanted, codes, "error vector");
            }
            expect(List.of("n"), curator.getChildren().forPath(context.root()), "children");
        }
    }

    private static void oldForm(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        curator.create().forPath(context.path("old"), "1".getBytes());
        Collection<CuratorTransactionResult> results = curator.inTransaction()
                .check().withVersion(0).forPath(context.path("old"))
                .and().create().withMode(CreateMode.PERSISTENT).forPath(context.path("new"), "2".getBytes())
                .and().setData().forPath(context.path("new"), "3".getBytes())
                .and().delete().forPath(context.path("old"))
                .and().commit();
        expect(List.of(OperationType.CHECK, OperationType.CREATE, OperationType.SET_DATA, OperationType.DELETE),
                results.stream().map(CuratorTransactionResult::getType).toList(), "types");
        expect(List.of(context.path("old"), context.path("new"), context.path("new"), context.path("old")),
                results.stream().map(CuratorTransactionResult::getForPath).toList(), "paths");
        expect(List.of("new"), curator.getChildren().forPath(context.root()), "children");
        expect("3", Frameworks.get(curator, context.path("new")), "data");
    }

    private static void background(Context context) throws Exception {
        CuratorFramework curator = Frameworks.open(context);
        Replies<String> told = new Replies<>();
        for (int i = 0; i < 2; i++) {
            curator.transaction().inBackground((client, event) -> told.add(event.getType() + " " + event.getResultCode()
                            + " " + (event.getOpResults() == null ? 0 : event.getOpResults().size())))
                    .forOperations(curator.transactionOp().create().forPath(context.path("n")),
                            curator.transactionOp().check().withVersion(0).forPath(context.path("n")));
        }
        expect("TRANSACTION 0 2", told.take(), "first");
        expectTrue(told.take().startsWith("TRANSACTION -110 "), "the second finds that the node exists");
    }

    /** Money that goes from one node to another: each step checks both versions, so that none is lost or done twice. */
    private static void contention(Context context) throws Exception {
        CuratorFramework reader = Frameworks.open(context);
        reader.create().forPath(context.path("a"), "100".getBytes());
        reader.create().forPath(context.path("b"), "0".getBytes());
        int each = 5 * context.options().scale();
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            for (int done = 0; done < each; ) {
                done += transfer(curator, context.path("a"), context.path("b")) ? 1 : 0;
            }
        });
        expect(String.valueOf(100 - 4 * each), Frameworks.get(reader, context.path("a")), "what is left");
        expect(String.valueOf(4 * each), Frameworks.get(reader, context.path("b")), "what has gone over");
        expect(4 * each, reader.checkExists().forPath(context.path("b")).getVersion(), "version");
    }

    private static boolean transfer(CuratorFramework curator, String from, String to) throws Exception {
        Stat left = new Stat();
        Stat right = new Stat();
        int source = Integer.parseInt(new String(curator.getData().storingStatIn(left).forPath(from)));
        int target = Integer.parseInt(new String(curator.getData().storingStatIn(right).forPath(to)));
        try {
            curator.transaction().forOperations(
                    curator.transactionOp().setData().withVersion(left.getVersion())
                            .forPath(from, String.valueOf(source - 1).getBytes()),
                    curator.transactionOp().setData().withVersion(right.getVersion())
                            .forPath(to, String.valueOf(target + 1).getBytes()));
            return true;
        } catch (KeeperException.BadVersionException another) {
            return false;
        }
    }
}
