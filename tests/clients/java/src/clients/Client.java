package clients;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * A ZooKeeper handle and the log of what it received, in the order of the wire: the library runs watchers and completions on one
 * thread, in the order in which their frames came.
 */
public final class Client implements AutoCloseable {
    /** The session timeout of an ordinary client, in milliseconds. */
    public static final int TIMEOUT_MS = 15_000;

    /** The session timeout that is asked for where a check waits for expiry, in milliseconds. */
    public static final int SHORT_TIMEOUT_MS = 4_000;

    private final List<String> log = new ArrayList<>();
    private final List<KeeperState> states = new ArrayList<>();
    private ZooKeeper zk;

    /** A watcher that logs into this client's log as {@code <type> <path>}. */
    public final Watcher watcher = watcher("");

    private Client() {}

    /** Connect and wait until connected. */
    public static Client open(String hosts, int timeoutMs) throws Exception {
        Client client = new Client();
        client.start(new ZooKeeper(hosts, timeoutMs, client::stateChanged));
        client.awaitState(KeeperState.SyncConnected);
        return client;
    }

    /** Resume a session; the caller waits for the state that it expects. */
    public static Client resume(String hosts, long sessionId, byte[] password) throws IOException {
        Client client = new Client();
        client.start(new ZooKeeper(hosts, TIMEOUT_MS, client::stateChanged, sessionId, password));
        return client;
    }

    /** Makes a handle with the given default watcher. */
    interface Maker {
        ZooKeeper make(Watcher watcher) throws IOException;
    }

    /** A client whose handle was made in another way; waits until it is connected. */
    static Client of(Maker maker) throws Exception {
        Client client = new Client();
        client.start(maker.make(client::stateChanged));
        client.awaitState(KeeperState.SyncConnected);
        return client;
    }

    private synchronized void start(ZooKeeper handle) {
        zk = handle;
    }

    public synchronized ZooKeeper zk() {
        return zk;
    }

    /** A watcher that logs as {@code <prefix><type> <path>}; each is a watcher of its own. */
    public Watcher watcher(String prefix) {
        return new Watcher() {
            @Override
            public void process(WatchedEvent event) {
                if (event.getType() != EventType.None) {
                    note(prefix + event.getType() + " " + event.getPath());
                }
            }
        };
    }

    private synchronized void stateChanged(WatchedEvent event) {
        if (event.getType() == EventType.None) {
            states.add(event.getState());
        } else {
            log.add("default " + event.getType() + " " + event.getPath());
        }
        notifyAll();
    }

    /** Add an entry to the log: completions use it to mark their place. */
    public synchronized void note(String entry) {
        log.add(entry);
        notifyAll();
    }

    /** The log so far. */
    public synchronized List<String> log() {
        return List.copyOf(log);
    }

    /** Wait until the log has this many entries, then return it. */
    public List<String> awaitLog(int count) throws InterruptedException {
        await(ignored -> log.size() >= count, count + " log entries");
        return log();
    }

    /** Wait until this state has been entered after the states that earlier waits took. */
    public void awaitState(KeeperState wanted) throws InterruptedException {
        await(ignored -> states.contains(wanted), "state " + wanted);
        synchronized (this) {
            states.subList(0, states.indexOf(wanted) + 1).clear();
        }
    }

    private synchronized void await(Predicate<Client> holds, String what) throws InterruptedException {
        long deadline = System.nanoTime() + Suite.WAIT_MS * 1_000_000;
        while (!holds.test(this)) {
            long left = (deadline - System.nanoTime()) / 1_000_000;
            if (left <= 0) {
                throw new AssertionError("waited for " + what + "; log " + log + ", states " + states);
            }
            wait(left);
        }
    }

    /** Create a persistent open node. */
    public String create(String path, String data) throws KeeperException, InterruptedException {
        return create(path, data, CreateMode.PERSISTENT);
    }

    /** Create an open node. */
    public String create(String path, String data, CreateMode mode) throws KeeperException, InterruptedException {
        return zk().create(path, data.getBytes(), Ids.OPEN_ACL_UNSAFE, mode);
    }

    /** Set any version. */
    public void set(String path, String data) throws KeeperException, InterruptedException {
        zk().setData(path, data.getBytes(), -1);
    }

    /** The node's data as text. */
    public String get(String path) throws KeeperException, InterruptedException {
        return new String(zk().getData(path, false, null));
    }

    /**
     * Go through the server and the event thread once: every event that the server sent before is in the log afterwards.
     * Also {@code sync}, so that in an ensemble other clients' finished writes are seen.
     */
    public void settle(String path) throws Exception {
        Replies<Integer> reply = new Replies<>();
        zk().sync(path, (rc, p, ctx) -> reply.add(rc), null);
        Suite.expect(0, reply.take(), "sync");
    }

    @Override
    public void close() throws InterruptedException {
        zk().close();
    }
}
