package clients;

/** The Java client's suite. See {@code run.sh --help}. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        Suite suite = new Suite(
                "java-suite",
                Suite.parse("Check that the unmodified Java client works against a ZooKeeper server.", arguments));
        NodeChecks.register(suite);
        AsyncChecks.register(suite);
        MultiChecks.register(suite);
        WatchChecks.register(suite);
        PersistentWatchChecks.register(suite);
        AclChecks.register(suite);
        SessionChecks.register(suite);
        suite.runAndExit();
    }
}
