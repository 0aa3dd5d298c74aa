package clients;

/** The Curator suite. See {@code run.sh --help}. */
public final class CuratorMain {
    private CuratorMain() {}

    public static void main(String[] arguments) {
        Suite suite = new Suite(
                "curator-suite", Suite.parse("Check that unmodified Curator recipes work against a ZooKeeper server.", arguments))
                .oneServerEach();
        FrameworkChecks.register(suite);
        TransactionChecks.register(suite);
        LockChecks.register(suite);
        LeaderChecks.register(suite);
        SemaphoreChecks.register(suite);
        CounterChecks.register(suite);
        BarrierChecks.register(suite);
        QueueChecks.register(suite);
        PersistentNodeChecks.register(suite);
        DiscoveryChecks.register(suite);
        CacheChecks.register(suite);
        CacheConvergenceChecks.register(suite);
        suite.runAndExit();
    }
}
