package clients;

import java.io.IOException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs.Ids;

/** One check's surroundings: its own path, and clients and relays that are closed when it ends, newest first. */
public final class Context implements AutoCloseable {
    private final Suite.Options options;
    private final Suite.Servers servers;
    private final String root;
    private final Deque<AutoCloseable> open = new ArrayDeque<>();
    private final AtomicInteger clients = new AtomicInteger();

    Context(Suite.Options options, Suite.Servers servers, String root) {
        this.options = options;
        this.servers = servers;
        this.root = root;
    }

    /** The check's own node. */
    public String root() {
        return root;
    }

    /** A path below the check's own node. */
    public String path(String name) {
        return root + "/" + name;
    }

    public Suite.Options options() {
        return options;
    }

    /** Where the next client is to connect to. */
    public String hosts() {
        String[] all = options.hosts().split(",");
        return switch (servers) {
            case ANY -> options.hosts();
            case ONE -> all[Math.floorMod(root.hashCode(), all.length)];
            case SPREAD -> all[Math.floorMod(root.hashCode() + clients.getAndIncrement(), all.length)];
        };
    }

    /** May two clients of this check be at two servers? */
    public boolean isSpread() {
        return servers == Suite.Servers.SPREAD;
    }

    /** A connected client. */
    public Client client() throws Exception {
        return track(Client.open(hosts(), Client.TIMEOUT_MS));
    }

    /** A relay to the server, for a client whose connection will be cut. */
    public Relay relay() throws IOException {
        return track(new Relay(hosts()));
    }

    /** Close this with the check. */
    public <T extends AutoCloseable> T track(T closeable) {
        open.push(closeable);
        return closeable;
    }

    void makeRoot() throws Exception {
        try (Client client = Client.open(hosts(), Client.TIMEOUT_MS)) {
            String parent = root.substring(0, root.lastIndexOf('/'));
            for (String path : new String[] {parent, root}) {
                try {
                    client.zk().create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
                } catch (KeeperException.NodeExistsException present) {
                    // an earlier check made the suite's root
                }
            }
        }
    }

    @Override
    public void close() {
        while (!open.isEmpty()) {
            try {
                open.pop().close();
            } catch (Exception late) {
                // a client that was cut off may fail to say goodbye; its session then expires
            }
        }
    }
}
