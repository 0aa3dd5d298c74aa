package clients;

import static clients.Suite.expect;
import static clients.Suite.expectTrue;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.x.discovery.DownInstancePolicy;
import org.apache.curator.x.discovery.ProviderStrategy;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.curator.x.discovery.details.ServiceCacheListener;
import org.apache.curator.x.discovery.strategies.RandomStrategy;
import org.apache.curator.x.discovery.strategies.RoundRobinStrategy;
import org.apache.curator.x.discovery.strategies.StickyStrategy;

/** Service discovery: what is registered is found, by query, by provider and by cache, and comes back after a lost session. */
final class DiscoveryChecks {
    private DiscoveryChecks() {}

    static void register(Suite suite) {
        suite.add("service_discovery", DiscoveryChecks::registerAndQuery);
        suite.add("service_discovery_many_registrations", DiscoveryChecks::manyRegistrations);
        suite.add("service_discovery_after_its_session_was_lost", DiscoveryChecks::afterLoss);
        suite.add("service_provider_strategies", DiscoveryChecks::strategies);
        suite.add("service_provider_leaves_out_what_is_down", DiscoveryChecks::down);
        suite.add("service_cache", DiscoveryChecks::cache);
        suite.add("service_cache_after_a_cut", DiscoveryChecks::cacheAfterCut);
    }

    private static ServiceDiscovery<String> start(Context context, CuratorFramework curator) throws Exception {
        ServiceDiscovery<String> discovery = context.track(
                ServiceDiscoveryBuilder.builder(String.class).client(curator).basePath(context.path("services")).build());
        discovery.start();
        return discovery;
    }

    private static ServiceDiscovery<String> start(Context context) throws Exception {
        return start(context, Frameworks.open(context));
    }

    private static ServiceInstance<String> instance(String name, String id, String payload) throws Exception {
        return ServiceInstance.<String>builder().name(name).id(id).address("127.0.0.1").port(8080).payload(payload).build();
    }

    private static Set<String> ids(Iterable<ServiceInstance<String>> instances) {
        Set<String> ids = new TreeSet<>();
        instances.forEach(one -> ids.add(one.getId()));
        return ids;
    }

    private static void registerAndQuery(Context context) throws Exception {
        ServiceDiscovery<String> mine = start(context);
        ServiceDiscovery<String> theirs = start(context);
        ServiceInstance<String> first = instance("web", "one", "first");
        mine.registerService(first);
        mine.registerService(instance("web", "two", "second"));
        mine.registerService(instance("mail", "three", "third"));
        expect(Set.of("web", "mail"), Set.copyOf(theirs.queryForNames()), "names");
        expect(Set.of("one", "two"), ids(theirs.queryForInstances("web")), "instances");
        expect(first, theirs.queryForInstance("web", "one"), "instance");
        expect("first", theirs.queryForInstance("web", "one").getPayload(), "payload");
        mine.updateService(instance("web", "one", "changed"));
        expect("changed", theirs.queryForInstance("web", "one").getPayload(), "payload after the update");
        mine.unregisterService(first);
        expect(null, theirs.queryForInstance("web", "one"), "after it was unregistered");
        mine.close();
        Frameworks.eventually("nothing is left after close", () -> theirs.queryForInstances("web").isEmpty());
    }

    private static void manyRegistrations(Context context) throws Exception {
        ServiceDiscovery<String> reader = start(context);
        int each = 5 * context.options().scale();
        Set<String> wanted = new TreeSet<>();
        List<ServiceDiscovery<String>> all = new ArrayList<>();
        Frameworks.sideBySide(context, 4, (curator, worker) -> {
            ServiceDiscovery<String> mine =
                    ServiceDiscoveryBuilder.builder(String.class).client(curator).basePath(context.path("services")).build();
            mine.start();
            for (int i = 0; i < each; i++) {
                mine.registerService(instance("web", worker + "-" + i, "x"));
            }
            synchronized (wanted) {
                all.add(mine);
                for (int i = 0; i < each; i++) {
                    wanted.add(worker + "-" + i);
                }
            }
        });
        expect(wanted, ids(reader.queryForInstances("web")), "instances");
        for (ServiceDiscovery<String> one : all) {
            one.close();
        }
    }

    private static void afterLoss(Context context) throws Exception {
        Relay relay = context.relay();
        ServiceDiscovery<String> lost = start(context, Frameworks.open(context, relay.address(), Client.SHORT_TIMEOUT_MS));
        ServiceDiscovery<String> reader = start(context);
        lost.registerService(instance("web", "one", "first"));
        expect(Set.of("one"), ids(reader.queryForInstances("web")), "before the cut");
        relay.cut();
        Frameworks.eventually("the session expires", () -> reader.queryForInstances("web").isEmpty());
        relay.restore();
        Frameworks.eventually("it is registered again", () -> ids(reader.queryForInstances("web")).equals(Set.of("one")));
        expect("first", reader.queryForInstance("web", "one").getPayload(), "payload");
    }

    private static ServiceProvider<String> provider(
            Context context, ServiceDiscovery<String> discovery, ProviderStrategy<String> strategy) throws Exception {
        ServiceProvider<String> provider = context.track(discovery.serviceProviderBuilder().serviceName("web")
                .providerStrategy(strategy).downInstancePolicy(new DownInstancePolicy(1, TimeUnit.HOURS, 1)).build());
        provider.start();
        return provider;
    }

    private static void registerThree(ServiceDiscovery<String> discovery) throws Exception {
        for (String id : List.of("one", "two", "three")) {
            discovery.registerService(instance("web", id, "x"));
        }
    }

    private static Map<String, Integer> counted(ServiceProvider<String> provider, int times) throws Exception {
        Map<String, Integer> counts = new HashMap<>();
        for (int i = 0; i < times; i++) {
            counts.merge(provider.getInstance().getId(), 1, Integer::sum);
        }
        return counts;
    }

    private static void strategies(Context context) throws Exception {
        registerThree(start(context));
        ServiceDiscovery<String> reader = start(context);
        ServiceProvider<String> inTurn = provider(context, reader, new RoundRobinStrategy<>());
        expect(Set.of("one", "two", "three"), ids(inTurn.getAllInstances()), "all");
        expect(Map.of("one", 4, "two", 4, "three", 4), counted(inTurn, 12), "in turn");
        ServiceProvider<String> random = provider(context, reader, new RandomStrategy<>());
        expectTrue(Set.of("one", "two", "three").containsAll(counted(random, 30).keySet()), "at random");
        ServiceProvider<String> sticky = provider(context, reader, new StickyStrategy<>(new RoundRobinStrategy<>()));
        expect(1, counted(sticky, 12).size(), "instances of one that sticks");
    }

    private static void down(Context context) throws Exception {
        ServiceDiscovery<String> writer = start(context);
        registerThree(writer);
        ServiceProvider<String> provider = provider(context, start(context), new RoundRobinStrategy<>());
        ServiceInstance<String> bad = provider.getInstance();
        provider.noteError(bad);
        expect(null, counted(provider, 12).get(bad.getId()), "uses of what is down");
        writer.close();
        Frameworks.eventually("none is left", () -> provider.getInstance() == null);
    }

    private static ServiceCache<String> startCache(Context context, ServiceDiscovery<String> discovery, Replies<String> told)
            throws Exception {
        ServiceCache<String> cache = context.track(discovery.serviceCacheBuilder().name("web").build());
        cache.addListener(new ServiceCacheListener() {
            @Override
            public void cacheChanged() {
                told.add("changed");
            }

            @Override
            public void stateChanged(CuratorFramework curator, ConnectionState state) {}
        });
        cache.start();
        return cache;
    }

    private static void cache(Context context) throws Exception {
        ServiceDiscovery<String> writer = start(context);
        writer.registerService(instance("web", "one", "first"));
        Replies<String> told = new Replies<>();
        ServiceCache<String> cache = startCache(context, start(context), told);
        expect(Set.of("one"), ids(cache.getInstances()), "at the start");
        writer.registerService(instance("web", "two", "second"));
        told.take();
        expect(Set.of("one", "two"), ids(cache.getInstances()), "after a registration");
        writer.updateService(instance("web", "two", "changed"));
        told.take();
        expect(List.of("changed"), cache.getInstances().stream().filter(one -> one.getId().equals("two"))
                .map(ServiceInstance::getPayload).toList(), "after an update");
        writer.unregisterService(instance("web", "one", "first"));
        told.take();
        expect(Set.of("two"), ids(cache.getInstances()), "after it was unregistered");
    }

    private static void cacheAfterCut(Context context) throws Exception {
        ServiceDiscovery<String> writer = start(context);
        writer.registerService(instance("web", "one", "first"));
        Relay relay = context.relay();
        ServiceCache<String> cache =
                startCache(context, start(context, Frameworks.openPatient(context, relay)), new Replies<>());
        expect(Set.of("one"), ids(cache.getInstances()), "at the start");
        relay.cut();
        writer.registerService(instance("web", "two", "second"));
        writer.unregisterService(instance("web", "one", "first"));
        expect(Set.of("one"), ids(cache.getInstances()), "while it is cut off");
        relay.restore();
        Frameworks.eventually("it has caught up", () -> ids(cache.getInstances()).equals(Set.of("two")));
    }
}
