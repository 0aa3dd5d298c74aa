package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;

/** One-shot watches: what fires, how often, in which order with replies, and what setWatches makes of them after a reconnect. */
final class WatchChecks {
    private WatchChecks() {}

    static void register(Suite suite) {
        suite.add("watch_exists_create_set_delete", WatchChecks::existsWatch);
        suite.add("watch_data_set_delete", WatchChecks::dataWatch);
        suite.add("watch_children", WatchChecks::childWatch);
        suite.add("watch_default_watcher", WatchChecks::defaultWatcher);
        suite.add("watch_fires_once", WatchChecks::firesOnce);
        suite.add("watch_failed_get_sets_none", WatchChecks::failedGet);
        suite.add("watch_event_before_own_reply", WatchChecks::eventBeforeOwnReply);
        suite.add("watch_event_before_reads_that_show_it", WatchChecks::eventBeforeReads);
        suite.add("watch_events_in_zxid_order", WatchChecks::eventOrder);
        suite.add("watch_session_close_fires", WatchChecks::sessionClose);
        suite.add("reconnect_rearms_watches", WatchChecks::reconnectRearms);
        suite.add("reconnect_tells_what_was_missed", WatchChecks::reconnectTellsMissed);
        suite.add("reconnect_tells_nothing_that_was_seen", WatchChecks::reconnectTellsNothingSeen);
        suite.add("reconnect_with_many_watches", WatchChecks::reconnectManyWatches);
    }

    private static void existsWatch(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = context.path("n");
        client.zk().exists(path, client.watcher);
        writer.create(path, "");
        client.awaitLog(1);
        client.zk().exists(path, client.watcher);
        writer.set(path, "x");
        client.awaitLog(2);
        client.zk().exists(path, client.watcher);
        writer.zk().delete(path, -1);
        expect(List.of("NodeCreated " + path, "NodeDataChanged " + path, "NodeDeleted " + path), client.awaitLog(3), "events");
    }

    private static void dataWatch(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = writer.create(context.path("n"), "");
        client.settle(path);
        client.zk().getData(path, client.watcher, null);
        writer.set(path, "x");
        client.awaitLog(1);
        client.zk().getData(path, client.watcher, null);
        writer.zk().delete(path, -1);
        expect(List.of("NodeDataChanged " + path, "NodeDeleted " + path), client.awaitLog(2), "events");
    }

    private static void childWatch(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = writer.create(context.path("n"), "");
        client.settle(path);
        client.zk().getChildren(path, client.watcher);
        writer.set(path, "the data is not the children");
        writer.create(path + "/c", "");
        client.awaitLog(1);
        client.zk().getChildren(path, client.watcher, null);
        writer.zk().delete(path + "/c", -1);
        client.awaitLog(2);
        client.zk().getChildren(path, client.watcher);
        writer.zk().delete(path, -1);
        expect(List.of("NodeChildrenChanged " + path, "NodeChildrenChanged " + path, "NodeDeleted " + path),
                client.awaitLog(3), "events");
    }

    private static void defaultWatcher(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        client.zk().getData(path, true, null);
        client.set(path, "x");
        expect(List.of("default NodeDataChanged " + path), client.awaitLog(1), "events");
    }

    private static void firesOnce(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = writer.create(context.path("n"), "");
        client.settle(path);
        client.zk().getData(path, client.watcher("a "), null);
        client.zk().exists(path, client.watcher("b "));
        for (int i = 0; i < 5; i++) {
            writer.set(path, "x" + i);
        }
        client.settle(path);
        List<String> seen = new ArrayList<>(client.log());
        seen.sort(null);
        expect(List.of("a NodeDataChanged " + path, "b NodeDataChanged " + path), seen, "events");
    }

    private static void failedGet(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = context.path("n");
        for (int i = 0; i < 2; i++) {
            try {
                Object unexpected = i == 0
                        ? client.zk().getData(path, client.watcher, null)
                        : client.zk().getChildren(path, client.watcher);
                throw new AssertionError("a missing node was read: " + unexpected);
            } catch (KeeperException.NoNodeException wanted) {
                // no watch was set
            }
        }
        writer.create(path, "");
        client.settle(path);
        expect(List.of(), client.log(), "events");
    }

    private static void eventBeforeOwnReply(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        client.zk().getData(path, client.watcher, null);
        client.zk().setData(path, "x".getBytes(), -1, (rc, p, ctx, stat) -> client.note("reply " + rc), null);
        expect(List.of("NodeDataChanged " + path, "reply 0"), client.awaitLog(2), "wire");
    }

    /** Many rounds of another client's write beside this one's pipelined reads: no read shows the new data before the event. */
    private static void eventBeforeReads(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = writer.create(context.path("n"), "0");
        client.settle(path);
        for (int round = 1; round <= 50; round++) {
            String wanted = String.valueOf(round);
            int before = client.log().size();
            client.zk().getData(path, client.watcher, null);
            writer.zk().setData(path, wanted.getBytes(), -1, (rc, p, ctx, stat) -> {}, null);
            String shown;
            do {
                for (int i = 0; i < 8; i++) {
                    client.zk().getData(path, false,
                            (rc, p, ctx, data, stat) -> client.note(new String(data).equals(wanted) ? "new" : "old"), null);
                }
                client.settle(path);
                List<String> log = client.log();
                shown = log.get(log.size() - 1);
            } while (!shown.equals("new"));
            List<String> log = client.log().subList(before, client.log().size());
            int event = log.indexOf("NodeDataChanged " + path);
            expectTrue(event >= 0 && event < log.indexOf("new"), "the event comes before the first new data in " + log);
            expectTrue(log.lastIndexOf("old") < log.indexOf("new"), "no read goes back in " + log);
        }
    }

    private static void eventOrder(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            client.zk().exists(context.path("n" + i), client.watcher, (rc, p, ctx, stat) -> {}, null);
            wanted.add("NodeCreated " + context.path("n" + i));
        }
        client.settle(context.root());
        for (int i = 0; i < 200; i++) {
            writer.zk().create(context.path("n" + i), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                    (rc, p, ctx, name) -> {}, null);
        }
        expect(wanted, client.awaitLog(200), "events");
    }

    private static void sessionClose(Context context) throws Exception {
        Client client = context.client();
        Client owner = context.client();
        String path = owner.create(context.path("e"), "", CreateMode.EPHEMERAL);
        client.settle(path);
        client.zk().exists(path, client.watcher);
        client.zk().getChildren(context.root(), client.watcher);
        owner.close();
        List<String> seen = new ArrayList<>(client.awaitLog(2));
        seen.sort(null);
        expect(List.of("NodeChildrenChanged " + context.root(), "NodeDeleted " + path), seen, "events");
    }

    /** Set one watch of each kind through a relay; returns the client. */
    private static Client watching(Context context, Relay relay) throws Exception {
        Client client = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        client.settle(context.root());
        client.zk().getData(context.path("data"), client.watcher, null);
        client.zk().exists(context.path("exists"), client.watcher);
        client.zk().getChildren(context.path("children"), client.watcher);
        return client;
    }

    private static void makeWatched(Context context, Client writer) throws Exception {
        writer.create(context.path("data"), "");
        writer.create(context.path("children"), "");
    }

    private static void change(Context context, Client writer) throws Exception {
        writer.set(context.path("data"), "x");
        writer.create(context.path("exists"), "");
        writer.create(context.path("children/c"), "");
    }

    private static List<String> changes(Context context) {
        return sorted("NodeDataChanged " + context.path("data"), "NodeCreated " + context.path("exists"),
                "NodeChildrenChanged " + context.path("children"));
    }

    private static List<String> sorted(String... entries) {
        return Arrays.stream(entries).sorted().toList();
    }

    private static void reconnectRearms(Context context) throws Exception {
        Client writer = context.client();
        makeWatched(context, writer);
        Relay relay = context.relay();
        Client client = watching(context, relay);
        reconnect(client, relay);
        client.settle(context.root());
        expect(List.of(), client.log(), "events before the change");
        change(context, writer);
        expect(changes(context), client.awaitLog(3).stream().sorted().toList(), "events after the change");
    }

    private static void reconnectTellsMissed(Context context) throws Exception {
        Client writer = context.client();
        makeWatched(context, writer);
        writer.create(context.path("gone"), "");
        Relay relay = context.relay();
        Client client = watching(context, relay);
        client.zk().getData(context.path("gone"), client.watcher, null);
        relay.cut();
        client.awaitState(KeeperState.Disconnected);
        change(context, writer);
        writer.zk().delete(context.path("gone"), -1);
        relay.restore();
        client.awaitState(KeeperState.SyncConnected);
        List<String> wanted = new ArrayList<>(changes(context));
        wanted.add("NodeDeleted " + context.path("gone"));
        wanted.sort(null);
        expect(wanted, client.awaitLog(4).stream().sorted().toList(), "events");
        client.settle(context.root());
        expect(4, client.log().size(), "each once");
    }

    /** What the client has seen is not told again: relativeZxid is the last zxid that it got from a reply. */
    private static void reconnectTellsNothingSeen(Context context) throws Exception {
        Client writer = context.client();
        String path = writer.create(context.path("n"), "0");
        Relay relay = context.relay();
        Client client = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        for (int i = 1; i <= 5; i++) {
            writer.set(path, String.valueOf(i));
            client.settle(path);
            expect(String.valueOf(i), new String(client.zk().getData(path, client.watcher, null)), "data");
            reconnect(client, relay);
            client.settle(path);
            expect(i - 1, client.log().size(), "events before the next change");
        }
    }

    private static void reconnectManyWatches(Context context) throws Exception {
        Client writer = context.client();
        Relay relay = context.relay();
        Client client = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        String name = "a-long-name-so-that-the-client-has-to-split-its-list-of-watches-".repeat(3);
        for (int i = 0; i < 1500; i++) {
            client.zk().exists(context.path(name + i), client.watcher, (rc, p, ctx, stat) -> {}, null);
        }
        client.settle(context.root());
        reconnect(client, relay);
        for (int i = 0; i < 1500; i += 100) {
            writer.create(context.path(name + i), "");
        }
        expect(15, client.awaitLog(15).size(), "events");
    }

    /** Break the connection and wait until the client is back. */
    static void reconnect(Client client, Relay relay) throws InterruptedException {
        relay.cut();
        client.awaitState(KeeperState.Disconnected);
        relay.restore();
        client.awaitState(KeeperState.SyncConnected);
    }
}
