package clients;

import java.io.IOException;
import java.util.List;

/** The Java client's suite. See {@code run.sh --help}; {@code --api} prints which check makes which call. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws IOException {
        if (List.of(arguments).contains("--api")) {
            ApiTable.print();
            return;
        }
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
        HandleChecks.register(suite);
        ApiChecks.register(suite);
        NewerChecks.register(suite);
        ApiTable.register(suite);
        suite.runAndExit();
    }
}
