package clients;

import static clients.Suite.expect;
import static clients.Suite.expectCode;

import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.WatcherType;

/** addWatch in both modes, and the removal of every kind of watch. */
final class PersistentWatchChecks {
    private PersistentWatchChecks() {}

    static void register(Suite suite) {
        suite.add("add_watch_persistent", PersistentWatchChecks::persistent);
        suite.add("add_watch_persistent_recursive", PersistentWatchChecks::recursive);
        suite.add("add_watch_async_and_default_watcher", PersistentWatchChecks::async);
        if (!suite.options().reference38()) { // ZooKeeper 3.8 keeps one mode per watcher and path (ZOOKEEPER-4466)
            suite.add("add_watch_beside_one_shot", PersistentWatchChecks::besideOneShot);
        }
        suite.add("add_watch_ordering", PersistentWatchChecks::ordering);
        suite.add("reconnect_rearms_persistent_watches", PersistentWatchChecks::reconnect);
        for (WatcherType type : List.of(WatcherType.Children, WatcherType.Data, WatcherType.Any)) { // 3.9 has more: NewerChecks
            suite.add("remove_watches_" + type.name().toLowerCase(), context -> remove(context, type, false));
            suite.add("remove_all_watches_" + type.name().toLowerCase(), context -> remove(context, type, true));
        }
        suite.add("remove_persistent_watch", context -> removePersistent(context, AddWatchMode.PERSISTENT));
        suite.add("remove_persistent_recursive_watch", context -> removePersistent(context, AddWatchMode.PERSISTENT_RECURSIVE));
        suite.add("remove_one_of_two_watches", PersistentWatchChecks::removeOneOfTwo);
        suite.add("remove_watch_that_is_not_there", PersistentWatchChecks::removeNone);
        suite.add("remove_watches_async", PersistentWatchChecks::removeAsync);
    }

    private static void persistent(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = context.path("n");
        client.zk().addWatch(path, client.watcher, AddWatchMode.PERSISTENT);
        writer.create(path, "");
        writer.set(path, "x");
        writer.create(path + "/c", "");
        writer.set(path + "/c", "not for this watch");
        writer.zk().delete(path + "/c", -1);
        writer.set(path, "y");
        writer.zk().delete(path, -1);
        writer.create(path, "");
        expect(List.of("NodeCreated " + path, "NodeDataChanged " + path, "NodeChildrenChanged " + path,
                "NodeChildrenChanged " + path, "NodeDataChanged " + path, "NodeDeleted " + path, "NodeCreated " + path),
                client.awaitLog(7), "events");
        client.settle(path);
        expect(7, client.log().size(), "no more events");
    }

    private static void recursive(Context context) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = context.path("n");
        client.zk().addWatch(path, client.watcher, AddWatchMode.PERSISTENT_RECURSIVE);
        writer.create(path, "");
        writer.create(path + "/a", "");
        writer.create(path + "/a/b", "");
        writer.set(path + "/a/b", "x");
        writer.zk().delete(path + "/a/b", -1);
        writer.create(context.path("nn"), "a sibling whose name starts alike");
        writer.set(path, "x");
        expect(List.of("NodeCreated " + path, "NodeCreated " + path + "/a", "NodeCreated " + path + "/a/b",
                "NodeDataChanged " + path + "/a/b", "NodeDeleted " + path + "/a/b", "NodeDataChanged " + path),
                client.awaitLog(6), "events");
        client.settle(path);
        expect(6, client.log().size(), "no more events, none of children");
    }

    private static void async(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        Replies<List<Object>> replies = new Replies<>();
        client.zk().addWatch(path, client.watcher, AddWatchMode.PERSISTENT, (rc, p, ctx) -> replies.add(List.of(rc, p)), null);
        expect(List.of(0, path), replies.take(), "with a watcher");
        client.zk().addWatch(path, AddWatchMode.PERSISTENT, (rc, p, ctx) -> replies.add(List.of(rc, p)), null);
        expect(List.of(0, path), replies.take(), "with the default watcher");
        client.set(path, "x");
        expect(List.of("NodeDataChanged " + path, "default NodeDataChanged " + path).stream().sorted().toList(),
                client.awaitLog(2).stream().sorted().toList(), "events");
        client.zk().addWatch(context.root(), AddWatchMode.PERSISTENT_RECURSIVE);
    }

    private static void besideOneShot(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        client.zk().addWatch(path, client.watcher("persistent "), AddWatchMode.PERSISTENT);
        client.zk().getData(path, client.watcher("once "), null);
        client.set(path, "x");
        client.set(path, "y");
        client.settle(path);
        expect(List.of("once NodeDataChanged " + path, "persistent NodeDataChanged " + path,
                "persistent NodeDataChanged " + path), client.log().stream().sorted().toList(), "events");
    }

    /** A write's events come before its reply and after the replies before it. */
    private static void ordering(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        client.zk().addWatch(context.root(), client.watcher, AddWatchMode.PERSISTENT_RECURSIVE);
        for (int i = 0; i < 100; i++) {
            String reply = "reply " + i;
            client.zk().setData(path, new byte[0], i, (rc, p, ctx, stat) -> client.note(reply), null);
        }
        List<String> log = client.awaitLog(200);
        for (int i = 0; i < 100; i++) {
            expect(List.of("NodeDataChanged " + path, "reply " + i), log.subList(2 * i, 2 * i + 2), "wire");
        }
    }

    private static void reconnect(Context context) throws Exception {
        Client writer = context.client();
        Relay relay = context.relay();
        Client client = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        String one = writer.create(context.path("one"), "");
        String tree = writer.create(context.path("tree"), "");
        client.settle(context.root());
        client.zk().addWatch(one, client.watcher, AddWatchMode.PERSISTENT);
        client.zk().addWatch(tree, client.watcher, AddWatchMode.PERSISTENT_RECURSIVE);
        WatchChecks.reconnect(client, relay);
        client.settle(one); // setWatches goes out after the client calls itself connected; persistent watches may have that gap
        writer.set(one, "x");
        writer.create(tree + "/a", "");
        writer.set(one, "y");
        expect(List.of("NodeDataChanged " + one, "NodeCreated " + tree + "/a", "NodeDataChanged " + one),
                client.awaitLog(3), "events");
    }

    /** Set a data and a child watch, remove by type, change both: what was removed stays silent, what was not fires. */
    private static void remove(Context context, WatcherType type, boolean all) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = writer.create(context.path("n"), "");
        Watcher data = client.watcher("data ");
        Watcher children = client.watcher("children ");
        client.settle(path);
        client.zk().getData(path, data, null);
        client.zk().getChildren(path, children);
        if (all) {
            client.zk().removeAllWatches(path, type, false);
        } else {
            if (type != WatcherType.Children) {
                client.zk().removeWatches(path, data, type, false);
            }
            if (type != WatcherType.Data) {
                client.zk().removeWatches(path, children, type, false);
            }
        }
        int removed = type == WatcherType.Any ? 2 : 1;
        List<String> wanted = switch (type) {
            case Data -> List.of("data DataWatchRemoved " + path);
            case Children -> List.of("children ChildWatchRemoved " + path);
            default -> List.of("children ChildWatchRemoved " + path, "data DataWatchRemoved " + path);
        };
        expect(wanted, client.awaitLog(removed).stream().sorted().toList(), "events of the removal");
        writer.set(path, "x");
        writer.create(path + "/c", "");
        client.settle(path);
        List<String> after = switch (type) {
            case Data -> List.of("children NodeChildrenChanged " + path);
            case Children -> List.of("data NodeDataChanged " + path);
            default -> List.of();
        };
        expect(after, client.log().subList(removed, client.log().size()), "events of the change");
    }

    private static void removePersistent(Context context, AddWatchMode mode) throws Exception {
        Client client = context.client();
        Client writer = context.client();
        String path = writer.create(context.path("n"), "");
        client.settle(path);
        client.zk().addWatch(path, client.watcher, mode);
        writer.set(path, "x");
        client.awaitLog(1);
        client.zk().removeWatches(path, client.watcher, WatcherType.Any, false);
        expect(List.of("NodeDataChanged " + path, "PersistentWatchRemoved " + path), client.awaitLog(2), "events");
        writer.set(path, "y");
        writer.create(path + "/c", "");
        client.settle(path);
        expect(2, client.log().size(), "silence after the removal");
    }

    private static void removeOneOfTwo(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        Watcher first = client.watcher("first ");
        Watcher second = client.watcher("second ");
        client.zk().getData(path, first, null);
        client.zk().getData(path, second, null);
        client.zk().removeWatches(path, first, WatcherType.Data, false);
        client.awaitLog(1);
        client.set(path, "x");
        client.settle(path);
        expect(List.of("first DataWatchRemoved " + path, "second NodeDataChanged " + path), client.log(), "events");
    }

    private static void removeNone(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        expectCode(Code.NOWATCHER, () -> {
            client.zk().removeWatches(path, client.watcher, WatcherType.Any, false);
            return "removed";
        });
        expectCode(Code.NOWATCHER, () -> {
            client.zk().removeAllWatches(path, WatcherType.Any, false);
            return "removed";
        });
    }

    private static void removeAsync(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        client.zk().getData(path, client.watcher, null);
        Replies<List<Object>> replies = new Replies<>();
        client.zk().removeWatches(path, client.watcher, WatcherType.Data, false, (rc, p, ctx) -> replies.add(List.of(rc, p)), null);
        expect(List.of(0, path), replies.take(), "removeWatches");
        client.zk().removeAllWatches(path, WatcherType.Data, false, (rc, p, ctx) -> replies.add(List.of(rc, p)), null);
        expect(List.of(Code.NOWATCHER.intValue(), path), replies.take(), "removeAllWatches of none");
    }
}
