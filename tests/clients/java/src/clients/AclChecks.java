package clients;

import static clients.Suite.expect;
import static clients.Suite.expectCode;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/** ACLs and authentication. */
final class AclChecks {
    private static final String OWNER = "owner:secret"; // the suite's clean-up has it, too

    private AclChecks() {}

    static void register(Suite suite) {
        suite.add("acl_get_and_set_with_versions", AclChecks::versions);
        suite.add("acl_creator_all", AclChecks::creatorAll);
        suite.add("acl_digest_and_add_auth_info", AclChecks::digest);
        suite.add("acl_each_permission", AclChecks::eachPermission);
        suite.add("acl_invalid", AclChecks::invalid);
        suite.add("acl_masked_without_admin", AclChecks::masked);
        suite.add("acl_ip", AclChecks::ip);
        suite.add("acl_reader_gets_watch_events", AclChecks::readersWatch);
        suite.add("auth_survives_reconnect", AclChecks::authSurvivesReconnect);
        suite.add("auth_unknown_scheme", AclChecks::unknownScheme);
        suite.add("who_am_i", AclChecks::whoAmI);
        if (!suite.options().superAuth().isEmpty()) {
            suite.add("super_user", AclChecks::superUser);
        }
    }

    private static Client owner(Context context) throws Exception {
        Client client = context.client();
        client.zk().addAuthInfo("digest", OWNER.getBytes());
        return client;
    }

    private static ACL ownerAll() throws Exception {
        return new ACL(Perms.ALL, new Id("digest", DigestAuthenticationProvider.generateDigest(OWNER)));
    }

    private static String create(Client client, String path, List<ACL> acl) throws Exception {
        // a copy, because the library asks the list whether it contains null, which List.of's refuse to answer
        return client.zk().create(path, "x".getBytes(), new ArrayList<>(acl), CreateMode.PERSISTENT);
    }

    private static void versions(Context context) throws Exception {
        Client client = context.client();
        String path = client.create(context.path("n"), "x");
        Stat stat = new Stat();
        expect(Ids.OPEN_ACL_UNSAFE, client.zk().getACL(path, stat), "ACL");
        expect(client.zk().exists(path, false), stat, "Stat of getACL and of exists");
        client.set(path, "y");
        List<ACL> acl = new ArrayList<>(List.of(new ACL(Perms.READ | Perms.ADMIN, Ids.ANYONE_ID_UNSAFE)));
        expect(1, client.zk().setACL(path, acl, 0).getAversion(), "aversion");
        expectCode(Code.BADVERSION, () -> client.zk().setACL(path, acl, 0));
        expect(acl, client.zk().getACL(path, stat), "ACL after set");
        expectCode(Code.NOAUTH, () -> client.zk().setData(path, null, -1));
        expectCode(Code.NONODE, () -> client.zk().setACL(path + "/none", acl, -1));
        expectCode(Code.NONODE, () -> client.zk().getACL(path + "/none", stat));
    }

    private static void creatorAll(Context context) throws Exception {
        Client owner = owner(context);
        String path = create(owner, context.path("n"), Ids.CREATOR_ALL_ACL);
        expect(List.of(ownerAll()), owner.zk().getACL(path, new Stat()), "the expanded ACL");
        Client other = context.client();
        expectCode(Code.NOAUTH, () -> other.get(path));
        expectCode(Code.INVALIDACL, () -> create(other, context.path("m"), Ids.CREATOR_ALL_ACL));
    }

    private static void digest(Context context) throws Exception {
        String path = create(owner(context), context.path("n"), List.of(ownerAll()));
        Client other = context.client();
        List<Callable<?>> calls = List.of(
                () -> other.get(path),
                () -> other.zk().setData(path, null, -1),
                () -> other.zk().getChildren(path, false),
                () -> other.zk().getAllChildrenNumber(path),
                () -> other.create(path + "/c", ""),
                () -> other.zk().setACL(path, Ids.OPEN_ACL_UNSAFE, -1),
                () -> other.zk().getACL(path, new Stat()));
        for (Callable<?> call : calls) {
            expectCode(Code.NOAUTH, call);
        }
        other.zk().addAuthInfo("digest", "owner:wrong".getBytes());
        expectCode(Code.NOAUTH, () -> other.get(path));
        other.zk().addAuthInfo("digest", OWNER.getBytes());
        expect("x", other.get(path), "data after addAuthInfo");
    }

    private static void eachPermission(Context context) throws Exception {
        Client owner = owner(context);
        Client client = context.client();
        int[] perms = {Perms.READ, Perms.WRITE, Perms.CREATE, Perms.DELETE, Perms.ADMIN};
        for (int granted : perms) {
            String path = context.path("n" + granted);
            List<ACL> acl = new ArrayList<>(List.of(ownerAll(), new ACL(granted, Ids.ANYONE_ID_UNSAFE)));
            create(owner, path, acl);
            create(owner, path + "/victim", Ids.OPEN_ACL_UNSAFE);
            for (int needed : perms) {
                Callable<?> call = switch (needed) {
                    case Perms.READ -> () -> client.get(path);
                    case Perms.WRITE -> () -> client.zk().setData(path, null, -1);
                    case Perms.CREATE -> () -> client.create(path + "/new", "");
                    case Perms.DELETE -> () -> {
                        client.zk().delete(path + "/victim", -1);
                        return null;
                    };
                    default -> () -> client.zk().setACL(path, acl, -1);
                };
                if (needed == granted) {
                    call.call();
                } else {
                    expectCode(Code.NOAUTH, call);
                }
            }
        }
    }

    private static void invalid(Context context) throws Exception {
        Client client = context.client();
        for (Id id : List.of(new Id("nosuchscheme", "x"), new Id("digest", "nocolon"), new Id("ip", "none"), new Id("world", "x"))) {
            expectCode(Code.INVALIDACL, () -> create(client, context.path("n"), List.of(new ACL(Perms.ALL, id))));
        }
    }

    private static void masked(Context context) throws Exception {
        List<ACL> acl = List.of(ownerAll(), new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE));
        String path = create(owner(context), context.path("n"), acl);
        Set<String> ids = context.client().zk().getACL(path, new Stat()).stream()
                .map(one -> one.getId().getId()).collect(Collectors.toSet());
        expect(Set.of("owner:x", "anyone"), ids, "ids seen by a reader");
    }

    private static void ip(Context context) throws Exception {
        Client client = context.client();
        String address = client.zk().whoAmI().stream()
                .filter(one -> one.getAuthScheme().equals("ip")).findFirst().orElseThrow().getUser();
        String mine = create(client, context.path("mine"), List.of(new ACL(Perms.ALL, new Id("ip", address))));
        expect("x", client.get(mine), "own address");
        String other = create(client, context.path("other"), List.of(new ACL(Perms.ALL, new Id("ip", "203.0.113.7"))));
        expectCode(Code.NOAUTH, () -> client.get(other));
        client.zk().delete(other, -1); // allowed by the parent; the clean-up could not list it
    }

    private static void readersWatch(Context context) throws Exception {
        Client owner = owner(context);
        Client client = context.client();
        String path = create(owner, context.path("n"), List.of(ownerAll(), new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE)));
        client.zk().getData(path, client.watcher, null);
        owner.set(path, "y");
        expect(List.of("NodeDataChanged " + path), client.awaitLog(1), "a reader's watch");
    }

    private static void authSurvivesReconnect(Context context) throws Exception {
        Relay relay = context.relay();
        Client client = context.track(Client.open(relay.address(), Client.TIMEOUT_MS));
        client.zk().addAuthInfo("digest", OWNER.getBytes());
        String path = create(client, context.path("n"), Ids.CREATOR_ALL_ACL);
        WatchChecks.reconnect(client, relay);
        expect("x", client.get(path), "data after the reconnect");
    }

    private static void unknownScheme(Context context) throws Exception {
        Client client = context.client();
        client.zk().addAuthInfo("nosuchscheme", "x".getBytes());
        client.awaitState(KeeperState.AuthFailed);
        expectCode(Code.AUTHFAILED, () -> client.get(context.root()));
    }

    private static void whoAmI(Context context) throws Exception {
        Client client = context.client();
        Set<String> schemes = schemes(client);
        expect(Set.of("ip"), schemes, "before addAuthInfo");
        client.zk().addAuthInfo("digest", OWNER.getBytes());
        expect(Set.of("ip", "digest"), schemes(client), "after addAuthInfo");
        String user = client.zk().whoAmI().stream()
                .filter(one -> one.getAuthScheme().equals("digest")).findFirst().orElseThrow().getUser();
        expect("owner", user, "the user, without the password's digest");
    }

    private static Set<String> schemes(Client client) throws InterruptedException {
        return client.zk().whoAmI().stream().map(one -> one.getAuthScheme()).collect(Collectors.toSet());
    }

    private static void superUser(Context context) throws Exception {
        String path = create(owner(context), context.path("n"), List.of(ownerAll()));
        Client admin = context.client();
        admin.zk().addAuthInfo("digest", context.options().superAuth().getBytes());
        expect("x", admin.get(path), "the super user reads");
        admin.zk().setACL(path, Ids.OPEN_ACL_UNSAFE, -1);
        expect("x", context.client().get(path), "after the super user opened it");
    }
}
