package clients;

import static clients.Suite.expect;
import static clients.Suite.expectCode;
import static clients.Suite.expectTrue;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.ZooKeeper.States;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.client.HostProvider;
import org.apache.zookeeper.client.StaticHostProvider;
import org.apache.zookeeper.client.ZKClientConfig;

/** The handle itself: each constructor, what it tells of its session, its list of servers, its default watcher, its end. */
final class HandleChecks {
    private static final int TIMEOUT_MS = Client.TIMEOUT_MS;

    private HandleChecks() {}

    static void register(Suite suite) {
        suite.add("api_each_constructor", HandleChecks::constructors);
        suite.add("api_each_constructor_that_resumes", HandleChecks::resumingConstructors);
        suite.add("api_each_constructor_of_the_admin", HandleChecks::adminConstructors);
        suite.add("api_state_and_description", HandleChecks::state);
        suite.add("api_register_another_default_watcher", HandleChecks::register);
        suite.add("api_update_server_list", HandleChecks::updateServerList);
        suite.add("api_injected_expiration", HandleChecks::testable);
        suite.add("api_close_with_a_limit", HandleChecks::closeWithin);
    }

    private static HostProvider provider(Context context) {
        List<InetSocketAddress> servers = new ArrayList<>();
        for (String host : context.options().hosts().split(",")) {
            int colon = host.lastIndexOf(':');
            servers.add(InetSocketAddress.createUnresolved(host.substring(0, colon), Integer.parseInt(host.substring(colon + 1))));
        }
        return new StaticHostProvider(servers);
    }

    /** It is connected to a server that writes, and its calls are answered. */
    private static void usable(Context context, Client.Maker maker) throws Exception {
        try (Client client = Client.of(maker)) {
            expect(States.CONNECTED, client.zk().getState(), "state");
            expect(0, client.zk().exists(context.root(), false).getVersion(), "version of the check's node");
        }
    }

    private static void constructors(Context context) throws Exception {
        String hosts = context.options().hosts();
        usable(context, watcher -> new ZooKeeper(hosts, TIMEOUT_MS, watcher));
        usable(context, watcher -> new ZooKeeper(hosts, TIMEOUT_MS, watcher, new ZKClientConfig()));
        usable(context, watcher -> new ZooKeeper(hosts, TIMEOUT_MS, watcher, true));
        usable(context, watcher -> new ZooKeeper(hosts, TIMEOUT_MS, watcher, true, new ZKClientConfig()));
        usable(context, watcher -> new ZooKeeper(hosts, TIMEOUT_MS, watcher, true, provider(context)));
        usable(context, watcher -> new ZooKeeper(hosts, TIMEOUT_MS, watcher, true, provider(context), new ZKClientConfig()));
    }

    /** Makes the second handle of a session. */
    private interface Resuming {
        ZooKeeper make(org.apache.zookeeper.Watcher watcher, long id, byte[] password) throws IOException;
    }

    private static void resumes(Context context, Resuming resuming) throws Exception {
        Relay relay = context.relay();
        ZooKeeper first = context.track(Client.open(relay.address(), TIMEOUT_MS)).zk();
        relay.refuse(); // so that the first one does not take its session back
        usable(context, watcher -> resuming.make(watcher, first.getSessionId(), first.getSessionPasswd()));
    }

    private static void resumingConstructors(Context context) throws Exception {
        String hosts = context.options().hosts();
        resumes(context, (watcher, id, password) -> new ZooKeeper(hosts, TIMEOUT_MS, watcher, id, password));
        resumes(context, (watcher, id, password) -> new ZooKeeper(hosts, TIMEOUT_MS, watcher, id, password, true));
        resumes(context, (watcher, id, password) -> new ZooKeeper(hosts, TIMEOUT_MS, watcher, id, password, true, provider(context)));
        resumes(context, (watcher, id, password) ->
                new ZooKeeper(hosts, TIMEOUT_MS, watcher, id, password, true, provider(context), new ZKClientConfig()));
    }

    private static void adminConstructors(Context context) throws Exception {
        String hosts = context.options().hosts();
        usable(context, watcher -> new ZooKeeperAdmin(hosts, TIMEOUT_MS, watcher));
        usable(context, watcher -> new ZooKeeperAdmin(hosts, TIMEOUT_MS, watcher, new ZKClientConfig()));
        usable(context, watcher -> new ZooKeeperAdmin(hosts, TIMEOUT_MS, watcher, true));
        usable(context, watcher -> new ZooKeeperAdmin(hosts, TIMEOUT_MS, watcher, true, new ZKClientConfig()));
    }

    private static void state(Context context) throws Exception {
        ZKClientConfig config = new ZKClientConfig();
        Client client = context.track(
                Client.of(watcher -> new ZooKeeperAdmin(context.options().hosts(), TIMEOUT_MS, watcher, config)));
        ZooKeeper zk = client.zk();
        expectTrue(zk.getState().isConnected() && zk.getState().isAlive(), "connected and alive");
        expect(config, zk.getClientConfig(), "configuration");
        expectTrue(zk.getSaslClient() == null || !zk.getSaslClient().isComplete(), "no SASL where none is configured");
        String text = ((ZooKeeperAdmin) zk).toString();
        expectTrue(text.contains("0x" + Long.toHexString(zk.getSessionId())), "the session's id in " + text);
        ZooKeeper plain = context.client().zk();
        expectTrue(plain.toString().contains("0x" + Long.toHexString(plain.getSessionId())), "the session's id");
        client.close();
        expect(States.CLOSED, zk.getState(), "state after close");
        expectCode(Code.SESSIONEXPIRED, () -> zk.exists("/", false));
    }

    private static void register(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "");
        client.zk().register(client.watcher("second "));
        client.zk().getData(path, true, null);
        client.set(path, "x");
        expect(List.of("second NodeDataChanged " + path), client.awaitLog(1), "events");
    }

    /** The server that it is connected to is on the list no more: it goes to another, and its session with it. */
    private static void updateServerList(Context context) throws Exception {
        Relay relay = context.relay();
        Client client = context.track(Client.open(relay.address(), TIMEOUT_MS));
        long id = client.zk().getSessionId();
        String path = client.create(context.path("e"), "", CreateMode.EPHEMERAL);
        client.zk().updateServerList(context.options().hosts());
        client.awaitState(KeeperState.Disconnected);
        client.awaitState(KeeperState.SyncConnected);
        relay.cut();
        expect(id, client.zk().exists(path, false).getEphemeralOwner(), "owner, seen without the relay");
    }

    private static void testable(Context context) throws Exception {
        Client observer = context.client();
        Client client = context.client();
        String path = client.create(context.path("e"), "", CreateMode.EPHEMERAL);
        client.zk().getTestable().injectSessionExpiration();
        client.awaitState(KeeperState.Expired);
        expect(false, client.zk().getState().isAlive(), "alive");
        expectTrue(observer.zk().exists(path, false) != null, "the server's session, which has not expired");
    }

    private static void closeWithin(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("e"), "", CreateMode.EPHEMERAL);
        expect(true, client.zk().close((int) Suite.WAIT_MS), "its threads have ended");
        Client observer = context.client();
        observer.settle(path);
        expect(null, observer.zk().exists(path, false), "its ephemeral");
    }
}
