package clients;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.Timer;
import java.util.TimerTask;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooKeeper;

/**
 * The frame of the Java and Curator suites: named checks, one root path per run, a watchdog over all.
 *
 * <p>Owns the run's root path and deletes it at the end. Several checks run side by side, each below a path and with clients of its
 * own, so none may look at what belongs to another. Never sleeps to wait for something: checks wait on latches, queues and
 * replies, each at most {@link #WAIT_MS}. How it fails: an exception in a check is that check's {@code FAIL} line; a hang ends in the
 * watchdog's {@code FAIL} line for each check that still runs. Either way the process exits with 1.
 */
public final class Suite {
    /** The longest that a check waits for one thing, in milliseconds. Only reached on failure. */
    public static final long WAIT_MS = 20_000;

    /** What a check does; it fails by throwing. */
    public interface Check {
        void run(Context context) throws Exception;
    }

    /** The command line; {@code scale} multiplies the rounds of the checks under contention, {@code jobs} run side by side. */
    public record Options(
            String hosts, String superAuth, boolean extendedTypes, boolean reference38, long timeoutMs, String only, int jobs, int scale) {}

    /** Which of the servers the clients of a check are at. */
    enum Servers {
        /** Any of them: the client library chooses. */
        ANY,
        /** All at one. */
        ONE,
        /** Each client at another one than the client before it. */
        SPREAD
    }

    private final Options options;
    private final String root;
    private final Map<String, Check> checks = new LinkedHashMap<>();
    private final Set<String> spread = new HashSet<>();
    private final Set<String> running = new ConcurrentSkipListSet<>();
    private boolean oneServerEach;
    private int passed;
    private int failed;

    /** A suite whose paths start with {@code /<name>-}. */
    public Suite(String name, Options options) {
        this.options = options;
        this.root = "/" + name + "-" + UUID.randomUUID().toString().substring(0, 13);
    }

    /**
     * Each check has all its clients at one server of the ensemble, another check at another: for checks of libraries that read at one client what another
     * has just written, as is right only where both have the same server, or after a sync. {@link #addSpread} makes an exception.
     */
    public Suite oneServerEach() {
        oneServerEach = true;
        return this;
    }

    public Options options() {
        return options;
    }

    /** Register a check; the name is part of its path. */
    public void add(String name, Check check) {
        Check former = checks.put(name, check);
        if (former != null) {
            throw new IllegalStateException("two checks are called " + name);
        }
    }

    /** Register a check whose clients are at one server after the other: it reads nothing that another client has just written without a {@code catchUp}. */
    public void addSpread(String name, Check check) {
        add(name, check);
        spread.add(name);
    }

    private Servers serversOf(String name) {
        if (spread.contains(name)) {
            return Servers.SPREAD;
        }
        return oneServerEach ? Servers.ONE : Servers.ANY;
    }

    /** Run every selected check, clean up, print the last line and exit. */
    public void runAndExit() {
        running.add("start");
        Timer watchdog = new Timer("watchdog", true);
        watchdog.schedule(
                new TimerTask() {
                    @Override
                    public void run() {
                        running.forEach(name -> record(name, "the watchdog ended the run after " + options.timeoutMs() + " ms"));
                        finish();
                    }
                },
                options.timeoutMs());
        runSideBySide();
        running.add("cleanup");
        try (ZooKeeper zk = new ZooKeeper(options.hosts(), 15_000, event -> {})) {
            zk.addAuthInfo("digest", "owner:secret".getBytes());
            ZKUtil.deleteRecursive(zk, root, 500);
        } catch (Exception left) {
            System.err.println("# cleanup: " + left);
        }
        finish();
    }

    private void runSideBySide() {
        ExecutorService pool = Executors.newFixedThreadPool(options.jobs());
        for (Map.Entry<String, Check> entry : checks.entrySet()) {
            if (entry.getKey().contains(options.only())) {
                pool.execute(() -> runOne(entry.getKey(), entry.getValue()));
            }
        }
        running.remove("start");
        pool.shutdown();
        try {
            pool.awaitTermination(options.timeoutMs(), TimeUnit.MILLISECONDS); // the watchdog is there before
        } catch (InterruptedException never) {
            throw new IllegalStateException("nobody interrupts the main thread", never);
        }
    }

    private void runOne(String name, Check check) {
        running.add(name);
        Context context = new Context(options, serversOf(name), root + "/" + name);
        try {
            context.makeRoot();
            check.run(context);
            record(name, null);
        } catch (Throwable error) {
            record(name, error + " " + place(error));
        } finally {
            context.close();
            running.remove(name);
        }
    }

    private static String place(Throwable error) {
        for (StackTraceElement frame : error.getStackTrace()) {
            if (frame.getClassName().endsWith("Checks") || frame.getClassName().contains("Checks$")) {
                return "(" + frame.getFileName() + ":" + frame.getLineNumber() + ")";
            }
        }
        return "";
    }

    private synchronized void record(String name, String failure) {
        if (failure == null) {
            passed++;
            System.out.println("ok " + name);
        } else {
            failed++;
            System.out.println("FAIL " + name + ": " + failure.replaceAll("\\s+", " "));
        }
    }

    private synchronized void finish() {
        System.out.println(passed + " passed, " + failed + " failed");
        System.out.flush();
        Runtime.getRuntime().halt(failed > 0 || passed == 0 ? 1 : 0);
    }

    /** Fail unless the two are equal. */
    public static void expect(Object wanted, Object actual, String what) {
        if (wanted == null ? actual != null : !wanted.equals(actual)) {
            throw new AssertionError(what + ": expected " + wanted + ", got " + actual);
        }
    }

    /** Fail unless {@code holds}. */
    public static void expectTrue(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError("not so: " + what);
        }
    }

    /** Fail unless the call throws a KeeperException with exactly this code. */
    public static KeeperException expectCode(KeeperException.Code wanted, Callable<?> call) throws Exception {
        Object result;
        try {
            result = call.call();
        } catch (KeeperException error) {
            expect(wanted, error.code(), "error code");
            return error;
        }
        throw new AssertionError("expected " + wanted + ", got the result " + result);
    }

    /** Read the command line; prints the usage and exits where it is asked for or wrong. */
    public static Options parse(String what, String[] arguments) {
        String hosts = null;
        String superAuth = "";
        String only = "";
        boolean extendedTypes = true;
        boolean reference38 = false;
        long timeoutMs = 120_000;
        int jobs = 8;
        int scale = 1;
        List<String> rest = new ArrayList<>(List.of(arguments));
        while (!rest.isEmpty()) {
            String argument = rest.remove(0);
            boolean takesValue = List.of("--super", "--timeout", "--only", "--jobs", "--scale").contains(argument);
            if (argument.equals("--help") || argument.equals("-h")) {
                usage(what, 0);
            } else if (takesValue && rest.isEmpty() || argument.startsWith("-") && !takesValue
                    && !List.of("--no-extended-types", "--reference-3.8").contains(argument) || !argument.startsWith("-") && hosts != null) {
                usage(what, 2);
            } else if (argument.equals("--super")) {
                superAuth = rest.remove(0);
            } else if (argument.equals("--only")) {
                only = rest.remove(0);
            } else if (argument.equals("--timeout")) {
                timeoutMs = (long) (Double.parseDouble(rest.remove(0)) * 1000);
            } else if (argument.equals("--jobs")) {
                jobs = Integer.parseInt(rest.remove(0));
            } else if (argument.equals("--scale")) {
                scale = Integer.parseInt(rest.remove(0));
            } else if (argument.equals("--no-extended-types")) {
                extendedTypes = false;
            } else if (argument.equals("--reference-3.8")) {
                reference38 = true;
            } else {
                hosts = argument;
            }
        }
        if (hosts == null) {
            usage(what, 2);
        }
        return new Options(hosts, superAuth, extendedTypes, reference38, timeoutMs, only, jobs, scale);
    }

    private static void usage(String what, int code) {
        (code == 0 ? System.out : System.err).println(what + "\n\n" + """
                usage: run.sh [options] host:port[,host:port]
                  --super USER:PASSWORD  also check the super user
                  --no-extended-types    the server runs without extendedTypesEnabled: TTL nodes are expected to be refused
                  --reference-3.8        the server is ZooKeeper 3.8 itself: leave out what only 3.9 does
                  --timeout SECONDS      the watchdog (default 120)
                  --only TEXT            only checks whose name contains TEXT
                  --jobs N               so many checks side by side (default 8)
                  --scale N              N times the rounds in the checks under contention, and the checks that wait for minutes (default 1)
                  --client VERSION       the client library: 3.8.0 (default; Debian's) or 3.9.5 (out of PyPI's pyspark)
                  --api                  only print which check makes which call of the client (the Java suite)
                  --help                 this text""");
        System.exit(code);
    }
}
