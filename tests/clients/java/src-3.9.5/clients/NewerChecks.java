package clients;

import static clients.Suite.expect;
import static clients.Suite.expectCode;

import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.CreateOptions;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** What the client of 3.9 has more than that of 3.8. */
final class NewerChecks {
    private NewerChecks() {}

    static void register(Suite suite) {
        suite.add("api_sync", NewerChecks::sync);
        suite.add("api_multi_with_create_options", NewerChecks::createOptions);
        suite.add("api_closed_socket", NewerChecks::closeSocket);
        for (WatcherType type : List.of(WatcherType.Persistent, WatcherType.PersistentRecursive)) {
            suite.add("remove_watches_" + type.name().toLowerCase(), context -> removeByType(context, type, false));
            suite.add("remove_all_watches_" + type.name().toLowerCase(), context -> removeByType(context, type, true));
        }
    }

    private static void sync(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        zk.sync(context.root());
        zk.sync(context.path("none")); // the server does not look at the path
        Relay relay = context.relay();
        Client cutOff = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        relay.cut();
        expectCode(Code.CONNECTIONLOSS, () -> {
            cutOff.zk().sync(context.root());
            return "synced";
        });
    }

    private static void createOptions(Context context) throws Exception {
        ZooKeeper zk = context.client().zk();
        List<OpResult> results = zk.multi(List.of(
                Op.create(context.path("s-"), null, CreateOptions.newBuilder(Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL).build())));
        String path = ((OpResult.CreateResult) results.get(0)).getPath();
        expect(context.path("s-0000000000"), path, "path");
        expect(zk.getSessionId(), zk.exists(path, false).getEphemeralOwner(), "owner");
    }

    private static void closeSocket(Context context) throws Exception {
        Client client = context.client();
        long id = client.zk().getSessionId();
        client.zk().getTestable().closeSocket();
        client.awaitState(KeeperState.Disconnected);
        client.awaitState(KeeperState.SyncConnected);
        expect(id, client.zk().getSessionId(), "session id");
    }

    /** Of four watches on one node exactly the one of that type goes; what it was to tell is told by the others only. */
    private static void removeByType(Context context, WatcherType type, boolean all) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = writer.create(context.path("n"), "");
        Watcher persistent = client.watcher("persistent ");
        Watcher recursive = client.watcher("recursive ");
        client.zk().addWatch(path, persistent, AddWatchMode.PERSISTENT);
        client.zk().addWatch(path, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        client.zk().getData(path, client.watcher("data "), null);
        boolean gone = type == WatcherType.Persistent;
        if (all) {
            client.zk().removeAllWatches(path, type, false);
        } else {
            client.zk().removeWatches(path, gone ? persistent : recursive, type, false);
        }
        expect(List.of((gone ? "persistent " : "recursive ") + "PersistentWatchRemoved " + path), client.awaitLog(1), "the removal");
        writer.set(path, "x");
        client.settle(path);
        String left = gone ? "recursive " : "persistent ";
        expect(List.of("data NodeDataChanged " + path, left + "NodeDataChanged " + path),
                client.log().subList(1, client.log().size()).stream().sorted().toList(), "events of the change");
        expectCode(Code.NOWATCHER, () -> {
            client.zk().removeAllWatches(path, type, false);
            return "removed";
        });
    }
}
