package clients;

import static clients.Suite.expect;
import static clients.Suite.expectCode;
import static clients.Suite.expectTrue;

import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** Sessions: resumed with id and password, taken over, refused, expired, closed. */
final class SessionChecks {
    private SessionChecks() {}

    static void register(Suite suite) {
        suite.add("session_reconnect_keeps_it", SessionChecks::reconnect);
        suite.add("session_resumed_with_password", SessionChecks::resumed);
        suite.add("session_taken_over_closes_the_former_connection", SessionChecks::takenOver);
        suite.add("session_wrong_password", SessionChecks::wrongPassword);
        suite.add("session_closed_cannot_be_resumed", SessionChecks::closed);
        suite.add("session_expiry", SessionChecks::expiry);
        suite.add("session_negotiated_timeout", SessionChecks::negotiatedTimeout);
        suite.add("session_pending_requests_fail_with_connection_loss", SessionChecks::connectionLoss);
        suite.add("session_frame_over_the_limit", SessionChecks::oversized);
    }

    private static void reconnect(Context context) throws Exception {
        Relay relay = context.relay();
        Client client = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        long id = client.zk().getSessionId();
        String path = client.create(context.path("e"), "", CreateMode.EPHEMERAL);
        for (int i = 0; i < 3; i++) {
            WatchChecks.reconnect(client, relay);
            expect(id, client.zk().exists(path, false).getEphemeralOwner(), "owner");
        }
        expect(id, client.zk().getSessionId(), "session id");
    }

    private static void resumed(Context context) throws Exception {
        Relay relay = context.relay();
        Client first = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        String path = first.create(context.path("e"), "", CreateMode.EPHEMERAL);
        ZooKeeper zk = first.zk();
        relay.cut();
        Client second = context.track(Client.resume(context.options().hosts(), zk.getSessionId(), zk.getSessionPasswd()));
        second.awaitState(KeeperState.SyncConnected);
        expect(zk.getSessionId(), second.zk().getSessionId(), "session id");
        expect(zk.getSessionId(), second.zk().exists(path, false).getEphemeralOwner(), "owner");
        expect(List.of(path), second.zk().getEphemerals(), "its ephemerals");
        second.close();
        Client observer = context.client();
        observer.settle(path);
        expect(null, observer.zk().exists(path, false), "the ephemeral after close");
    }

    private static void takenOver(Context context) throws Exception {
        Relay relay = context.relay();
        Client first = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        ZooKeeper zk = first.zk();
        relay.refuse();
        // The relay's first connection goes to the first server. At another one the former connection would stay until it asks for something.
        String server = context.options().hosts().split(",")[0];
        Client second = context.track(Client.resume(server, zk.getSessionId(), zk.getSessionPasswd()));
        second.awaitState(KeeperState.SyncConnected);
        first.awaitState(KeeperState.Disconnected);
        second.create(context.path("n"), "");
    }

    private static void wrongPassword(Context context) throws Exception {
        Client owner = context.client();
        String path = owner.create(context.path("e"), "", CreateMode.EPHEMERAL);
        byte[] forged = owner.zk().getSessionPasswd().clone();
        forged[0] ^= 1;
        Client thief = context.track(Client.resume(context.options().hosts(), owner.zk().getSessionId(), forged));
        thief.awaitState(KeeperState.Expired);
        Client observer = context.client();
        observer.settle(path);
        expect(owner.zk().getSessionId(), observer.zk().exists(path, false).getEphemeralOwner(), "owner");
    }

    private static void closed(Context context) throws Exception {
        Client first = context.client();
        first.close();
        ZooKeeper zk = first.zk();
        Client second = context.track(Client.resume(context.options().hosts(), zk.getSessionId(), zk.getSessionPasswd()));
        second.awaitState(KeeperState.Expired);
        expectCode(Code.SESSIONEXPIRED, () -> second.get(context.root()));
    }

    /** Not before its time, its ephemerals go in one, and the client learns of it when it comes back. */
    private static void expiry(Context context) throws Exception {
        Client observer = context.client();
        Relay relay = context.relay();
        Client client = context.track(Client.open(relay.address(), Client.SHORT_TIMEOUT_MS));
        long timeoutMs = client.zk().getSessionTimeout();
        String path = client.create(context.path("e"), "", CreateMode.EPHEMERAL);
        observer.zk().exists(path, observer.watcher);
        long start = System.nanoTime();
        client.settle(path);
        relay.cut();
        expect(List.of("NodeDeleted " + path), observer.awaitLog(1), "events");
        long elapsedMs = (System.nanoTime() - start) / 1_000_000;
        expectTrue(elapsedMs >= timeoutMs * 9 / 10, "expired after " + elapsedMs + " ms of " + timeoutMs);
        relay.restore();
        client.awaitState(KeeperState.Expired);
        expectCode(Code.SESSIONEXPIRED, () -> client.get(context.root()));
    }

    private static void negotiatedTimeout(Context context) throws Exception {
        int shortest = context.track(Client.open(context.options().hosts(), 1500)).zk().getSessionTimeout();
        int longest = context.track(Client.open(context.options().hosts(), 100_000_000)).zk().getSessionTimeout();
        expectTrue(shortest >= 1500, "never less than asked for, got " + shortest);
        expectTrue(longest < 100_000_000 && longest >= shortest, "the longest is the server's, got " + longest);
        int between = (shortest + longest) / 2;
        int granted = context.track(Client.open(context.options().hosts(), between)).zk().getSessionTimeout();
        expect(between, granted, "a timeout between the two");
    }

    private static void connectionLoss(Context context) throws Exception {
        Relay relay = context.relay();
        Client client = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        relay.cut();
        client.awaitState(KeeperState.Disconnected);
        Replies<Integer> replies = new Replies<>();
        client.zk().setData(context.root(), null, -1, (rc, p, ctx, stat) -> replies.add(rc), null);
        int rc = replies.take();
        relay.restore();
        client.awaitState(KeeperState.SyncConnected);
        expect(Code.CONNECTIONLOSS.intValue(), rc, "result of the request");
        expect(0, client.zk().exists(context.root(), false).getVersion(), "it was not done");
    }

    private static void oversized(Context context) throws Exception {
        Client client = context.client();
        long id = client.zk().getSessionId();
        String path = client.create(context.path("n"), "kept");
        expectCode(Code.CONNECTIONLOSS, () -> client.zk().setData(path, new byte[1_200_000], -1));
        client.awaitState(KeeperState.SyncConnected);
        expect("kept", client.get(path), "data");
        expect(id, client.zk().getSessionId(), "session id");
        expectCode(Code.CONNECTIONLOSS,
                () -> client.zk().create(path + "/c", new byte[1_200_000], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
    }
}
