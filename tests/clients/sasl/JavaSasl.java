import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;

/**
 * The Java client against a server with SASL users: right and wrong password, no login, and ACLs that name a user.
 *
 * <p>usage: java JavaSasl.java [--required] host:port, where --required says that the server runs with sessionRequireClientSASLAuth. Its
 * own JAAS file, one section a login, is written to a temporary place.
 */
public final class JavaSasl {
    private static final long WAIT_S = 20;

    private interface Check {
        void run(String hosts, boolean required) throws Exception;
    }

    /** A handle and the states that it went through. */
    private record Client(ZooKeeper zk, BlockingQueue<KeeperState> states) implements AutoCloseable {
        static Client open(String hosts, String section) throws Exception {
            BlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();
            ZKClientConfig config = new ZKClientConfig();
            config.setProperty(ZKClientConfig.ENABLE_CLIENT_SASL_KEY, String.valueOf(section != null));
            if (section != null) {
                config.setProperty(ZKClientConfig.LOGIN_CONTEXT_NAME_KEY, section);
            }
            return new Client(new ZooKeeper(hosts, 15_000, event -> states.add(event.getState()), config), states);
        }

        void await(KeeperState wanted) throws Exception {
            List<KeeperState> seen = new ArrayList<>();
            while (true) {
                KeeperState state = states.poll(WAIT_S, TimeUnit.SECONDS);
                if (state == wanted) {
                    return;
                }
                seen.add(state);
                expect(state != null, "waited for " + wanted + ", saw " + seen);
            }
        }

        @Override
        public void close() throws InterruptedException {
            zk.close();
        }
    }

    private JavaSasl() {}

    public static void main(String[] arguments) throws Exception {
        boolean required = arguments[0].equals("--required");
        String hosts = arguments[arguments.length - 1];
        Path jaas = Files.createTempFile("rk-sasl", ".conf");
        String text = "";
        for (String[] user : new String[][] {
            {"Bob", "bob", "bobsecret"}, {"Super", "super", "adminsecret"}, {"Wrong", "bob", "nope"}, {"Eve", "eve", "nope"},
            {"Umlaut", "jörg", "pässword"}, {"Cyrillic", "юля", "пароль"},
        }) {
            text += user[0] + " { org.apache.zookeeper.server.auth.DigestLoginModule required username=\"" + user[1]
                    + "\" password=\"" + user[2] + "\"; };\n";
        }
        Files.writeString(jaas, text, StandardCharsets.UTF_8);
        System.setProperty("java.security.auth.login.config", jaas.toString());
        int failed = 0;
        int passed = 0;
        String[] names = {"right_password_and_an_acl", "names_beyond_ascii", "wrong_password", "unknown_user", "nobody"};
        Check[] checks = {JavaSasl::right, JavaSasl::names, JavaSasl::wrong, JavaSasl::unknown, JavaSasl::nobody};
        for (int i = 0; i < checks.length; i++) {
            try {
                checks[i].run(hosts, required);
                passed++;
                System.out.println("ok java_" + names[i]);
            } catch (Throwable error) {
                failed++;
                System.out.println("FAIL java_" + names[i] + ": " + error);
            }
        }
        Files.delete(jaas);
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed > 0 ? 1 : 0);
    }

    private static void right(String hosts, boolean required) throws Exception {
        String path = "/sasl-" + UUID.randomUUID();
        try (Client bob = Client.open(hosts, "Bob"); Client other = Client.open(hosts, "Super")) {
            bob.await(KeeperState.SaslAuthenticated);
            List<ACL> acl = new ArrayList<>(List.of(new ACL(Perms.ALL, new Id("sasl", "bob"))));
            bob.zk().create(path, new byte[0], acl, CreateMode.PERSISTENT);
            expect(bob.zk().getACL(path, null).equals(acl), "the ACL");
            String auth = bob.zk().create(path + "/auth", new byte[0], new ArrayList<>(Ids.CREATOR_ALL_ACL), CreateMode.PERSISTENT);
            expect(bob.zk().getACL(auth, null).equals(acl), "the creator's ACL");
            other.await(KeeperState.SaslAuthenticated);
            other.zk().getData(path, false, null);
            if (!required) {
                try (Client nobody = Client.open(hosts, null)) {
                    nobody.zk().getData(path, false, null);
                    expect(false, "read by nobody");
                } catch (KeeperException.NoAuthException refused) {
                    // as it should be
                }
            }
            bob.zk().delete(auth, -1);
            bob.zk().delete(path, -1);
        }
    }

    private static void names(String hosts, boolean required) throws Exception {
        for (String section : new String[] {"Umlaut", "Cyrillic"}) {
            try (Client client = Client.open(hosts, section)) {
                client.await(KeeperState.SaslAuthenticated);
            }
        }
    }

    private static void wrong(String hosts, boolean required) throws Exception {
        refused(hosts, "Wrong");
    }

    private static void unknown(String hosts, boolean required) throws Exception {
        refused(hosts, "Eve");
    }

    private static void refused(String hosts, String section) throws Exception {
        try (Client client = Client.open(hosts, section)) {
            client.await(KeeperState.AuthFailed);
            client.zk().exists("/", false);
            expect(false, "served after a failed login");
        } catch (KeeperException.AuthFailedException | KeeperException.SessionClosedRequireAuthException refused) {
            // as it should be
        }
    }

    /** A client that does not log in connects; where logging in is required, its first request says so. */
    private static void nobody(String hosts, boolean required) throws Exception {
        try (Client client = Client.open(hosts, null)) {
            client.await(KeeperState.SyncConnected);
            client.zk().exists("/", false);
            expect(!required, "served without a login");
        } catch (KeeperException.SessionClosedRequireAuthException refused) {
            expect(required, "" + refused);
        }
    }

    private static void expect(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
